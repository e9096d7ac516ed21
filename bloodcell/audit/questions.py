"""Questions that people ask when test is worse than validation, answered by what an audit found."""

from collections.abc import Sequence
from dataclasses import dataclass

from bloodcell.audit.finding import Finding

QUESTIONS = {
    "Are there copies of one photograph on both sides?": (
        "shared-photographs",
        "photographs-unknown",
        "overlapping-photographs",
    ),
    "Can a validation accuracy from a random split be believed?": ("random-split",),
    "Are the test labels wrong, or other cells mixed into a class?": (
        *("test-labels", "suspicious-labels", "conflicting-labels", "several-cells"),
    ),
    "Was the test set made differently?": ("splits-differ", "drift", "splits-not-compared"),
    "Could a model learn something that is not the cell?": ("background-shortcut", "border-shortcut"),
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A question, and the findings that answer it."""

    question: str
    findings: Sequence[Finding]


def answers(findings: Sequence[Finding]) -> list[Answer]:
    """Answer every question that something was found out about."""
    found = [
        Answer(question=question, findings=[finding for code in codes for finding in findings if finding.code == code])
        for question, codes in QUESTIONS.items()
    ]
    return [answer for answer in found if answer.findings]
