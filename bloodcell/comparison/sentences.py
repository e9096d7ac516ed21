"""What a comparison says, in sentences that a person can quote."""

import math
from collections.abc import Collection

import numpy as np
import pandas as pd
from scipy import stats

from bloodcell.comparison.verdicts import BETTER, EQUAL, SIGNIFICANCE, UNKNOWN, WORSE
from bloodcell.evaluation.scores import Score
from bloodcell.wording import PHOTOGRAPH, counted, plural

POWER = 0.8
"""How often a difference that is there is to be found."""
SPOKEN = {"auroc": "AUROC", "macro_f1": "macro F1", "brier": "Brier score"}
MANY = 1000
"""How many times as many groups are not worth naming their number."""


def amount(value: float, score: Score, *, signed: bool = False) -> str:
    """Return a score, or a difference of two: shares in points of a hundred, others as they are."""
    if math.isinf(value):
        return "+∞" if value > 0 else "-∞"
    digits, times = (1, 100) if score.is_share else (3, 1)
    rounded = round(times * value, digits) + 0.0  # and no minus before a zero
    return f"{rounded:{'+' if signed and rounded else ''}.{digits}f}"


def with_interval(row: pd.Series, score: Score) -> str:
    """Return a row of the estimates as its value and, in brackets, its interval."""
    if not math.isfinite(row["value"]):
        return "not defined"
    if not math.isfinite(row["low"]):
        return f"{amount(row['value'], score)} (too few groups for an interval)"
    return f"{amount(row['value'], score)} ({amount(row['low'], score)} to {amount(row['high'], score)})"


def verdict_sentence(
    row: pd.Series,
    *,
    score: Score,
    n_groups: int,
    n_pairs: int,
    group_name: str = PHOTOGRAPH,
    settling: str = "",
    leak: str = "",
    once: bool = False,
) -> str:
    """Return what is to be said of a pair.

    Parameters
    ----------
    row
        Of the verdicts.
    score
        Its score.
    n_groups
        How many groups there are.
    n_pairs
        For how many pairs p-values were corrected.
    group_name
        What a group is called.
    settling
        What would settle it, see `settling_sentence`.
    leak
        Why the one that would be better cannot be called so; empty if it does not leak.
    once
        Whether both were trained once, so that nothing is known of another seed.
    """
    a, b = row["a"], row["b"]
    groups = counted(n_groups, group_name)
    seeds = " One training of each; another seed was not tried." if once else ""
    if row["verdict"] in (BETTER, WORSE):
        low, high = sorted((row["low"], row["high"]), key=abs)
        better, worse = (a, b) if row["verdict"] == BETTER else (b, a)
        by = f"by {amount(abs(row['difference']), score)}{_unit(score)}"
        interval = f"95 % interval {amount(abs(low), score)} to {amount(abs(high), score)}"
        return f"{better} is better than {worse} {by} ({interval}, {groups}).{seeds}"
    if np.isfinite(row["difference"]) and not np.isfinite(row["low"]):
        size = f"{amount(row['difference'], score, signed=True)}{_unit(score)}"
        return f"Between {a} and {b} we cannot tell: {groups} are too few for an interval ({size})."
    interval = (
        f"{amount(row['difference'], score, signed=True)}{_unit(score)}, 95 % interval "
        f"{amount(row['low'], score, signed=True)} to {amount(row['high'], score, signed=True)}, {groups}"
    )
    if row["verdict"] == EQUAL:
        return f"{a} and {b} are practically equal ({interval}).{seeds}"
    if not np.isfinite(row["difference"]):
        return f"Between {a} and {b} we cannot tell: {spoken(score)} is not defined of one of them."
    if leak:
        return f"Between {a} and {b} we cannot tell: the one that looks better leaks, as {leak} ({interval})."
    corrected = ""
    if row["low"] * row["high"] > 0:
        ends = (
            f"{amount(row['low_corrected'], score, signed=True)} to {amount(row['high_corrected'], score, signed=True)}"
        )
        corrected = f"; corrected for {n_pairs} pairs {ends}, p = {row['p_adjusted']:.2g}"
    return f"Between {a} and {b} we cannot tell{settling} ({interval}{corrected}).{seeds}"


def settling_sentence(
    row: pd.Series,
    *,
    n_groups: int,
    n_pairs: int,
    error: float,
    of_groups: float,
    unseen: float,
    equivalence: float,
    group_name: str = PHOTOGRAPH,
) -> str:
    """Return about how many more groups would settle what a pair leaves open, and what they would show.

    With so many, a difference of the size that was found would be found in four of five cases; or, if it is smaller
    than what counts, practical equality: errors go with the root of the number (Cohen, "Statistical Power Analysis for
    the Behavioral Sciences", 1988).

    Parameters
    ----------
    row
        Of the verdicts.
    n_groups
        How many groups there are.
    n_pairs
        For how many pairs p-values were corrected.
    error
        The standard error of the difference.
    of_groups
        The part of its square that more groups make smaller, in 0..1.
    unseen
        As of `bloodcell.comparison.verdicts.Pairs`.
    equivalence
        How small a difference does not count.
    group_name
        What a group is called.

    Returns
    -------
    str
        With a colon before it; empty where it is no question of groups, or of more than a thousand times as many.
    """
    size = abs(row["difference"])
    if row["verdict"] != UNKNOWN or not np.isfinite(size) or not 0 < error < math.inf:
        return ""
    corrected = row["p_adjusted"] / row["p_value"] if 0 < row["p_adjusted"] < 1 else n_pairs
    least = stats.norm.ppf(1 - SIGNIFICANCE / max(corrected, 1.0) / 2)

    def times(margin: float, more: float) -> float:
        left = (margin / (least + more)) ** 2 - error**2 * (1 - of_groups) if margin > 0 else 0.0
        return error**2 * of_groups / left if left > 0 else math.inf

    if size >= equivalence:
        needed, shown = times(size, stats.norm.ppf(POWER)), "settle a difference of this size"
    else:
        # To be equal both of two tests have to say so, which is harder the nearer the difference is to the middle.
        needed = max(times(equivalence - size, stats.norm.ppf((1 + POWER) / 2)), unseen / equivalence)
        shown = "show that they are practically equal"
    if not 1 < needed < MANY:
        return ""
    more_groups = (needed - 1) * n_groups
    digits = 10 ** max(0, math.floor(math.log10(max(more_groups, 1))) - 1)
    return f": about {math.ceil(more_groups / digits) * digits:,} more {plural(group_name)} would {shown}"


def best_sentence(ranking: pd.DataFrame, *, score: Score, trivial: Collection[str]) -> str:
    """Return which candidates can be the best, and how sure that is.

    Parameters
    ----------
    ranking
        See `Comparison.ranking`.
    score
        What it is by.
    trivial
        The names of those that say the same of every image.
    """
    models = ranking[~ranking["run"].isin(trivial)]
    if models.empty:
        return "There is no model but a baseline."
    counted = ranking[ranking["p_best"].notna()]
    if not set(models["run"]) & set(counted["run"]):
        why = "all leak" if (models["leak"] != "").all() else f"{spoken(score)} is not defined"
        return f"No model can be called the best, as {why}."
    names = counted.loc[counted["can_be_best"], "run"].tolist()
    sure = f"wrong in at most {100 * SIGNIFICANCE:.0f} of 100 such comparisons"
    if not set(names) - set(trivial):
        return f"No model is better than the baseline, {names[0]}, by {spoken(score)} ({sure})."
    if len(names) == 1:
        return f"The best by {spoken(score)} is {names[0]} ({sure})."
    if len(names) == len(counted):
        return f"Any of the {len(names)} can be the best by {spoken(score)}: the data cannot decide."
    return f"The best by {spoken(score)} is one of {len(names)} of {len(counted)}: {', '.join(names)} ({sure})."


def spoken(score: Score) -> str:
    """Return a score's name as it is said."""
    return SPOKEN.get(score.name, score.name.replace("_", " "))


def _unit(score: Score) -> str:
    return " points" if score.is_share else f" of {spoken(score)}"
