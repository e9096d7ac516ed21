"""Common questions about a data set, answered by the findings of an audit."""

from collections.abc import Sequence

from bloodcell.audit.finding import Finding

QUESTIONS = {
    "Do training, validation and test share photographs?": (
        *("shared-photographs", "photographs-unknown", "overlapping-photographs"),
    ),
    "Would a random split by file leak?": ("random-split",),
    "Are there label errors?": (
        *("conflicting-labels", "cells-with-two-labels", "suspicious-labels", "test-labels", "several-cells"),
    ),
    "Do the splits differ from each other?": ("splits-differ", "drift", "splits-not-compared"),
    "Can a model use a shortcut instead of the cell?": (
        *("background-shortcut", "border-shortcut"),
        *("size-shortcut", "format-shortcut", "camera-shortcut", "name-shortcut"),
    ),
}


def answers(findings: Sequence[Finding]) -> dict[str, list[Finding]]:
    """Return the findings that answer each question, without questions that no finding answers."""
    found = {
        question: [finding for code in codes for finding in findings if finding.code == code]
        for question, codes in QUESTIONS.items()
    }
    return {question: findings for question, findings in found.items() if findings}
