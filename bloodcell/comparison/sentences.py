"""The sentences of a comparison, made to be quoted."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from bloodcell.comparison.verdicts import BETTER, EQUIVALENT, INCONCLUSIVE, SIGNIFICANCE, WORSE
from bloodcell.evaluation.scores import Score
from bloodcell.wording import PHOTOGRAPH, counted, plural

POWER = 0.8
"""The probability with which an existing difference shall be found."""
MAX_TIMES = 1000
"""A sample size of more than this many times the groups is not reported."""
CONFIDENCE = f"{100 * (1 - SIGNIFICANCE):.0f} % confidence"


Row = pd.Series | Mapping[Any, Any]
"""A row of a table."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What all pairs of a comparison share; ``equivalence`` is in the metric's unit."""

    score: Score
    n_groups: int
    n_pairs: int
    equivalence: float
    group_name: str = PHOTOGRAPH


def format_score(value: float, score: Score, *, signed: bool = False) -> str:
    """Format a score or a difference: shares in percent, others with three decimals."""
    if math.isinf(value):
        return "+∞" if value > 0 else "-∞"
    digits, times = (1, 100) if score.is_share else (3, 1)
    rounded = round(times * value, digits) + 0.0  # and no minus before a zero
    return f"{rounded:{'+' if signed and rounded else ''}.{digits}f}"


def format_interval(row: Row, score: Score) -> str:
    """Format a row of the estimates as its value with the interval in brackets."""
    if not math.isfinite(row["value"]):
        return "undefined"
    if not math.isfinite(row["low"]):
        return f"{format_score(row['value'], score)} (too few groups for an interval)"
    low, high = (format_score(row[end], score) for end in ("low", "high"))
    return f"{format_score(row['value'], score)} ({low} to {high})"


def verdict_sentence(
    row: Row, context: Context, *, sample_size: str = "", barred: str = "", trained_once: bool = False
) -> str:
    """Return the verdict on a pair as a sentence.

    Parameters
    ----------
    row
        A row of the verdicts.
    sample_size
        The sentence of `sample_size_sentence`; may be empty.
    barred
        Why the one with the better score cannot win, as a clause; empty if it can.
    trained_once
        Whether both were trained once, so that the variance between seeds is unknown.
    """
    a, b, score = row["a"], row["b"], context.score
    groups = counted(context.n_groups, context.group_name)
    unit = " points" if score.is_share else f" of {score.label}"
    seeds = " Each was trained once; other seeds were not tried." if trained_once else ""
    p = f"p = {row['p_adjusted']:.2g}"
    corrected = f", corrected for {context.n_pairs} pairs" if context.n_pairs > 1 else ""
    if row["verdict"] in (BETTER, WORSE):
        better, worse = (a, b) if row["verdict"] == BETTER else (b, a)
        ends = row["low_corrected"], row["high_corrected"]
        low, high = ends if row["difference"] > 0 else (-ends[1], -ends[0])
        by = f"{format_score(abs(row['difference']), score)}{unit}"
        interval = f"95 % interval {format_score(low, score)} to {format_score(high, score)}"
        return f"{better} is better than {worse} by {by} ({interval}, {p}{corrected}, {groups}).{seeds}"
    inconclusive = f"The comparison of {a} and {b} is inconclusive"
    if not np.isfinite(row["difference"]):
        return f"{inconclusive}: {score.label} is undefined for one of them."
    difference, low, high = (
        format_score(row[name], score, signed=True) for name in ("difference", "low_corrected", "high_corrected")
    )
    if not np.isfinite(row["low"]):
        return f"{inconclusive}: {groups} are too few for an interval (difference {difference}{unit})."
    interval = f"difference {difference}{unit}, 95 % interval {low} to {high}"
    if row["verdict"] == EQUIVALENT:
        margin = 100 * context.equivalence if score.is_share else context.equivalence
        within = f"{margin:g}{unit.removesuffix('s') if score.is_share and margin == 1 else unit}"
        return f"{a} and {b} are equivalent within {within} ({interval}{corrected}, {groups}).{seeds}"
    tested = f"{interval}, {p}{corrected}, {groups}"
    if barred:
        return f"{inconclusive}: the one with the better {score.label} {barred} ({tested})."
    return f"{inconclusive} ({tested}).{sample_size}{seeds}"


def sample_size_sentence(row: Row, context: Context, *, error: float, group_share: float, undetected: float) -> str:
    """Return about how many more groups an inconclusive pair needs.

    With them, a difference of the size found is detected with the probability `POWER`; or, if it is smaller than
    ``equivalence``, equivalence. Errors shrink with the root of the number of groups (Cohen, "Statistical Power
    Analysis for the Behavioral Sciences", 1988).

    Parameters
    ----------
    row
        A row of the verdicts.
    error
        The standard error of the difference.
    group_share, undetected
        As in `bloodcell.comparison.verdicts.Pairs`.

    Returns
    -------
    str
        A sentence after a space; empty if groups cannot decide, or more than `MAX_TIMES` as many were needed.
    """
    size = abs(row["difference"])
    if row["verdict"] != INCONCLUSIVE or not np.isfinite(size) or not 0 < error < math.inf:
        return ""
    correction = row["p_adjusted"] / row["p_value"] if 0 < row["p_adjusted"] < 1 else context.n_pairs
    critical = ndtri(1 - SIGNIFICANCE / max(correction, 1.0) / 2)

    def times(margin: float, power_quantile: float) -> float:
        left = (margin / (critical + power_quantile)) ** 2 - error**2 * (1 - group_share) if margin > 0 else 0.0
        return error**2 * group_share / left if left > 0 else math.inf

    if size >= context.equivalence:
        needed, purpose = times(size, ndtri(POWER)), "detect a difference of this size"
    else:
        # Both one-sided tests have to reject, which is harder the nearer the difference is to the middle.
        tests = times(context.equivalence - size, ndtri((1 + POWER) / 2))
        needed, purpose = max(tests, undetected / context.equivalence), "show that they are equivalent"
    if not 1 < needed < MAX_TIMES:
        return ""
    more_groups = (needed - 1) * context.n_groups
    digits = 10 ** max(0, math.floor(math.log10(max(more_groups, 1))) - 1)
    number = math.ceil(more_groups / digits) * digits
    return f" About {number:,} more {plural(context.group_name)} would {purpose}."


def best_sentence(ranking: pd.DataFrame, *, score: Score, trivial: Collection[str]) -> str:
    """Return which candidates of `Comparison.ranking` may be the best, with the confidence.

    ``trivial`` has the names of the trivial baselines.
    """
    models = ranking[~ranking["run"].isin(trivial)]
    if models.empty:
        return "There is no model besides the baseline."
    ranked = ranking[ranking["p_best"].notna()]
    if not set(models["run"]) & set(ranked["run"]):
        barred = (models["barred"] != "").all()
        why = "all of them leak or are debug runs" if barred else f"{score.label} is undefined"
        return f"No model can be the best: {why}."
    names = set(ranked.loc[ranked["can_be_best"], "run"])
    if baselines := [name for name in trivial if name in names]:
        clearly = "clearly " if names - set(trivial) else ""
        return f"No model is {clearly}better than the baseline, {baselines[0]}, by {score.label} ({CONFIDENCE})."
    n_models, first = len(set(ranked["run"]) - set(trivial)), ranked["run"].iloc[0]
    if n_models == 1:
        return f"{first} is better than the baseline by {score.label} ({CONFIDENCE})."
    if len(names) == 1:
        return f"{first} is the best of {n_models} models by {score.label} ({CONFIDENCE})."
    if len(names) == n_models:
        which = "either model" if n_models == 2 else f"any of the {n_models} models"
    else:
        which = f"{len(names)} of {n_models} models"
    return f"No clear winner: {which} may be the best by {score.label} ({CONFIDENCE})."
