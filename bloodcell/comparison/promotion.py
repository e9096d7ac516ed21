"""The decision on a promotion: whether a candidate takes the place of the champion, from their comparison."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bloodcell.comparison.comparing import Comparison
from bloodcell.comparison.sentences import Row
from bloodcell.comparison.verdicts import BETTER, EQUIVALENT, INCONCLUSIVE, REVERSED, WORSE
from bloodcell.evaluation.intervals import FEW_GROUPS
from bloodcell.wording import counted, plural

Outcome = Literal["promoted", "not promoted", "cannot tell"]

COSTS = {"parameters": "parameters", "flops": "floating-point operations per image"}
"""The costs that decide between equivalent models, the first that differs, with their labels."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether a candidate is promoted.

    Attributes
    ----------
    outcome
        ``promoted``, ``not promoted`` or ``cannot tell``.
    verdict
        On the candidate: ``better``, ``worse``, ``equivalent`` or ``inconclusive``.
    sentence
        The verdict with its interval, and what else decided.
    """

    outcome: Outcome
    verdict: str
    sentence: str


def decide(
    comparison: Comparison, *, candidate: str, champion: str | None, costs: Mapping[str, Mapping[str, float]]
) -> Decision:
    """Decide on a promotion by the first metric.

    The candidate is promoted if it is better than the champion, or equivalent and cheaper. Without a champion it is
    promoted if it is better than the baseline.

    Parameters
    ----------
    comparison
        Of the candidate, the champion and the baseline.
    candidate, champion
        Their names in the comparison; ``champion``: None without one.
    costs
        The known costs of each by the keys of `COSTS`.
    """
    other = comparison.aligned.baseline if champion is None else champion
    verdict, sentence = _verdict_on(comparison, candidate, other)
    if verdict == BETTER:
        return Decision(outcome="promoted", verdict=verdict, sentence=sentence)
    if champion is not None and verdict == EQUIVALENT:
        cheaper, why = _is_cheaper(costs.get(candidate, {}), costs.get(champion, {}))
        outcome: Outcome = "promoted" if cheaper else "not promoted"
        return Decision(outcome=outcome, verdict=verdict, sentence=f"{sentence} {why}")
    if champion is not None and verdict == WORSE:
        return Decision(outcome="not promoted", verdict=verdict, sentence=sentence)
    return Decision(outcome="cannot tell", verdict=verdict, sentence=sentence)


def _verdict_on(comparison: Comparison, candidate: str, other: str) -> tuple[str, str]:
    """Return the verdict on the candidate against another, and its sentence."""
    metric = comparison.scores[0].name
    for row, sentence in zip(comparison.verdicts.to_dict("records"), comparison.sentences, strict=True):
        if row["metric"] == metric and {row["a"], row["b"]} == {candidate, other}:
            verdict = row["verdict"] if row["a"] == candidate else REVERSED[row["verdict"]]
            return verdict, sentence + (_more_groups(comparison, row, sentence) if verdict == INCONCLUSIVE else "")
    return INCONCLUSIVE, f"{candidate} is the baseline."


def _more_groups(comparison: Comparison, row: Row, sentence: str) -> str:
    """Return how many more groups would decide an inconclusive pair, if its sentence does not say it and groups can."""
    groups = plural(comparison.group_name)
    barred = {each.name for each in comparison.aligned.candidates if each.barred}
    if f"more {groups} would" in sentence or not np.isfinite(row["difference"]) or barred & {row["a"], row["b"]}:
        return ""
    if not comparison.certificate.enough:
        missing = max(math.ceil(FEW_GROUPS - comparison.certificate.n_effective), 1)
        n_groups = counted(comparison.n_groups, comparison.group_name)
        return f" {n_groups} are too few for reliable intervals: at least {missing} more are needed."
    low, high = row["low"], row["high"]
    # A large difference needs more groups only to be tested: sizes are computed for many groups.
    is_large = abs(row["difference"]) > (high - low) / 4
    if low * high > 0 or is_large or max(abs(low), abs(high)) < comparison.equivalence:
        return f" A few more {groups} would probably decide."
    return f" No realistic number of further {groups} would decide."


def _is_cheaper(candidate: Mapping[str, float], champion: Mapping[str, float]) -> tuple[bool, str]:
    """Return whether the candidate costs less than the champion, by the first cost that differs, and a sentence."""
    equal = []
    for cost, label in COSTS.items():
        if cost not in candidate or cost not in champion:
            continue
        ours, theirs = candidate[cost], champion[cost]
        if ours != theirs:
            compared = f"{ours:,.0f} {label}, the champion {theirs:,.0f}"
            return (
                ours < theirs,
                f"The candidate is {'cheaper' if ours < theirs else 'not cheaper'}: it has {compared}.",
            )
        equal.append(label)
    if equal:
        return False, f"The candidate is not cheaper: both have as many {' and '.join(equal)}."
    return False, "Which one is cheaper is unknown: a run did not record its costs."
