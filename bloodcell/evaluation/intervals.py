"""Confidence intervals of scores, which count independent groups, not images.

Images of one group (copies of a photograph, cells of a patient) are correlated. A score is a weighted mean of losses
(`bloodcell.evaluation.scores.Losses`); its variance follows from the variance of the losses and their correlation
within groups. All groups share one correlation, so a large group without errors does not look certain. The interval is
Jeffreys' (Brown, Cai and DasGupta, "Interval estimation for a binomial proportion", Statistical Science 16, 2001) at
the effective sample size (Korn and Graubard, "Confidence intervals for proportions with small expected number of
positive counts estimated from survey data", Survey Methodology 24, 1998), with the correlation as a ratio of mean
squares (Fleiss and Cuzick, "The reliability of dichotomous judgments", Applied Psychological Measurement 3, 1979).
Saha, Miller and Wang compare such intervals ("A comparison of some approximate confidence intervals for a single
proportion for clustered binary outcome data", International Journal of Biostatistics 12, 2016).

Known weakness: if a class of few large groups is much harder than the others, 95 % intervals contain the truth in 85 to
93 % of simulations (`experiments/benchmarks/coverage.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats

from bloodcell.evaluation.predictions import arrays_of
from bloodcell.evaluation.probabilities import predicted_classes
from bloodcell.evaluation.scores import SCORES, Losses, Predictions, Score, ScoreByGroup

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CONFIDENCE = 0.95
LEVEL = (1 + CONFIDENCE) / 2
PAIRS_AT_ONCE = 10_000
"""Pairs whose differences are in memory at the same time, if not all pairs are compared."""
PSEUDO_ERRORS = {True: 0.5, False: 1.0}
"""Pseudo-errors in groups that are wrong as a whole, for losses that are 0 or 1 (True) and for others, whose size is
less certain (False). They shrink the correlation within groups towards 1 if few groups are wrong. Chosen by
simulation."""
FEWEST_GROUPS = 5
"""With fewer groups there is no interval."""

FEW_GROUPS = 20.0
"""With effectively fewer groups, intervals contain the truth less often than they say; see `effective_number`."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """The ends of an interval; NaN if there are too few groups."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class TrainingVariance:
    """The variance of a score between trainings of one configuration.

    Attributes
    ----------
    variance, degrees
        Shape (c,), between the seeds of each configuration, and its degrees of freedom. For one that was trained once
        the pooled variance of the others; 0, with infinite degrees, if all were.
    trainings
        Shape (c,), the number of trainings.
    """

    variance: Floats
    degrees: Floats
    trainings: Integers

    @property
    def known(self) -> bool:
        """Whether any configuration was trained more than once."""
        return bool((self.trainings > 1).any())


def accuracy_intervals(table: pd.DataFrame, *, classes: Sequence[str]) -> dict[str, float]:
    """Return 95 % intervals of accuracy by image, by source and as mean of groups.

    These are ``accuracy_low, accuracy_high``, and the same of ``photograph_accuracy`` and ``group_mean_accuracy``, in
    0..1; NaN if there are too few groups.

    Raises
    ------
    ValueError
        When the table has no image, lacks a class, or an image has a label that is none of the classes.

    Examples
    --------
    Of forty images 32 are right. The interval is wider if every four are of one group.

    >>> import pandas as pd
    >>> from bloodcell.evaluation.intervals import accuracy_intervals
    >>> right = [1.0] * 28 + [0.0] * 8 + [1.0] * 4
    >>> table = pd.DataFrame({"path": range(40), "label": "x", "p_x": right, "p_y": [1 - each for each in right]})
    >>> for group in (table["path"], table["path"] // 4):
    ...     ends = accuracy_intervals(table.assign(group=group, source=group), classes=["x", "y"])
    ...     print(f"{ends['accuracy_low']:.2f} to {ends['accuracy_high']:.2f}")
    0.65 to 0.90
    0.45 to 0.97
    """
    groups, sources = (
        np.unique(table[column].to_numpy(dtype=np.str_), return_inverse=True)[1] for column in ("group", "source")
    )
    labels, probabilities = arrays_of(table, classes)
    predictions = Predictions(labels=labels, probabilities=probabilities, groups=groups, sources=sources)
    accuracy = SCORES["accuracy"]
    found = {
        "accuracy": score_interval(accuracy, [predictions]),
        "photograph_accuracy": score_interval(accuracy, [predictions.by_source()]),
        "group_mean_accuracy": score_interval(accuracy, [predictions], group_mean=True),
    }
    return {f"{name}_{end}": getattr(each, end) for name, each in found.items() for end in ("low", "high")}


def score_interval(
    score: Score,
    predictions: Sequence[Predictions],
    *,
    training_error: float = 0.0,
    group_mean: bool = False,
    values: Sequence[float] | None = None,
) -> Interval:
    """Return the 95 % interval of a score.

    Parameters
    ----------
    predictions
        Of one model, or of several trainings of one configuration: the interval is of their mean score.
    training_error
        Half the width of the interval from the variance between trainings alone. Squares are added (Zou and Donner,
        "Construction of confidence limits about effect measures: a general approach", Statistics in Medicine 27, 2008).
    group_mean
        Whether to average the groups' scores; for scores that are a mean over images.
    values
        The score of each training, if it is known.
    """
    if values is None:
        values = [
            score.group_mean(each) if group_mean else score.function(each.labels, each.probabilities)
            for each in predictions
        ]
    value = float(np.mean(values))
    undefined = Interval(low=float("nan"), high=float("nan"))
    if not np.isfinite(value) or predictions[0].n_groups < FEWEST_GROUPS:
        return undefined
    low, high = np.mean([_interval(score, each, group_mean=group_mean) for each in predictions], axis=0)
    low, high = min(low, value), max(high, value)
    low = value - np.hypot(value - low, training_error)
    high = value + np.hypot(high - value, training_error)
    if not np.isfinite([low, high]).all():
        return undefined
    return Interval(low=float(min(max(low, score.lowest), value)), high=float(max(min(high, score.highest), value)))


def share_interval(correct: NDArray[np.bool_], groups: NDArray[Any], *, weights: Floats | None = None) -> Interval:
    """Return the 95 % interval of the share of correct images.

    Parameters
    ----------
    correct, groups
        Shape (n,), whether each image is correct, and its group.
    weights
        Shape (n,), above 0; None: all images weigh the same.
    """
    names, numbers = np.unique(groups, return_inverse=True)
    if names.size < FEWEST_GROUPS:
        return Interval(low=float("nan"), high=float("nan"))
    shares = np.ones(correct.size) if weights is None else weights
    losses = Losses(values=(~correct).astype(np.float64), weights=shares / shares.sum())
    low, high = loss_interval(losses, numbers.ravel().astype(np.int64))
    share = float((losses.weights * correct).sum())
    return Interval(low=min(1 - high, share), high=max(1 - low, share))


def class_intervals(table: pd.DataFrame, *, classes: Sequence[str]) -> pd.DataFrame:
    """Return 95 % intervals of precision, recall and F1 of each class.

    Precision is a share of the images predicted as the class, recall one of those labelled so. F1 is a share of both
    together, in which an image that is both counts twice.

    Returns
    -------
    pandas.DataFrame
        One row per class, in their order: ``groups`` (int64, those with an image of the class), and ``precision``,
        ``recall`` and ``f1``, each with ``_low`` and ``_high`` (float64 in 0..1, NaN if there are too few groups).

    Raises
    ------
    ValueError
        When the table lacks a class, or an image has a label that is none of the classes.
    """
    labels, probabilities = arrays_of(table, classes)
    predicted, groups = predicted_classes(probabilities), table["group"].to_numpy(dtype=np.str_)
    rows = []
    for number in range(len(classes)):
        is_label, is_predicted = labels == number, predicted == number
        row: dict[str, float] = {"groups": np.unique(groups[is_label]).size}
        for name, counts in (
            ("precision", is_predicted.astype(np.float64)),
            ("recall", is_label.astype(np.float64)),
            ("f1", is_label + is_predicted.astype(np.float64)),
        ):
            chosen = counts > 0
            found = share_interval((labels == predicted)[chosen], groups[chosen], weights=counts[chosen])
            row |= {f"{name}_low": found.low, f"{name}_high": found.high}
        rows.append(row)
    return pd.DataFrame(rows)


def _interval(score: Score, predictions: Predictions, *, group_mean: bool) -> tuple[float, float]:
    """Return the ends of the interval of one training's score."""
    if score.losses is None:
        return _student_interval(score.by_group(predictions), predictions.strata)
    if group_mean:
        losses = score.group_losses(predictions)
    else:
        losses = score.losses(predictions.labels, predictions.probabilities)
    low, high = loss_interval(losses, predictions.groups)
    return (1 - high, 1 - low) if score.greater_is_better else (low, high)


def loss_interval(losses: Losses, groups: Integers) -> tuple[float, float]:
    """Return the two ends of the 95 % interval of a mean loss.

    Parameters
    ----------
    losses, groups
        Losses and group of n images; groups in 0..g-1, where g is at least `FEWEST_GROUPS`.

    Notes
    -----
    With weights v of images and w of groups, variance T of the losses and B of the groups' means, the correlation
    within groups is 1 - (T - B) / ((1 - a) T + s), where a is the sum over groups of sum(v^2) / w, and s what
    `PSEUDO_ERRORS` add. One over the effective sample size is correlation * sum(w^2) + (1 - correlation) *
    sum(v^2), times the squared ratio of Student's to the normal quantile. If every group is classified correctly, the
    upper end is at least that of the rule of three for groups. One error more never makes the upper end of a share of
    errors smaller: the end is the highest that any number of the errors, the worst groups' first, would give.
    """
    n_groups = int(groups.max()) + 1
    weights = np.bincount(groups, weights=losses.weights)
    group_means = (np.bincount(groups, weights=losses.weights * losses.values) / weights)[groups]
    if_dependent, if_independent = float((weights**2).sum()), float((losses.weights**2).sum())
    within_share = float((np.bincount(groups, weights=losses.weights**2) / weights).sum())
    student_factor = _student_factor(n_groups)
    binary = losses.maximum == 1 and bool(np.isin(losses.values, (0, 1)).all())
    pseudo_errors = PSEUDO_ERRORS[binary] * if_independent * losses.if_wrong

    def unit_of(mean: Floats, square: Floats, square_of_groups: Floats) -> Floats:
        """Return one over the effective sample size from the moments of losses and group means."""
        total, between = square - mean**2, square_of_groups - mean**2
        extra = pseudo_errors * losses.if_wrong
        correlation = np.maximum(1 - (total - between) / ((1 - within_share) * total + extra), 0)
        unit = losses.shared_by**2 * student_factor * (correlation * if_dependent + (1 - correlation) * if_independent)
        if not binary:
            expected = mean + pseudo_errors
            unit = unit * (total + extra) / (expected * (1 - expected / losses.maximum))
        return np.asarray(unit)

    rule_of_three: float = 1 - (1 - CONFIDENCE) ** (1 / n_groups)
    if not binary:
        moments = [
            np.asarray((losses.weights * each).sum()) for each in (losses.values, losses.values**2, group_means**2)
        ]
        mean, unit = moments[0], unit_of(*moments)
        if np.isinf(losses.maximum):
            low, high = (float(unit * special.gammaincinv(mean / unit + 0.5, each)) for each in (1 - LEVEL, LEVEL))
        else:
            shape = mean / unit + 0.5, (losses.maximum - mean) / unit + 0.5
            low, high = (float(losses.maximum * special.betaincinv(*shape, each)) for each in (1 - LEVEL, LEVEL))
        least = losses.if_right + rule_of_three * (losses.if_wrong - losses.if_right)
        return (low if mean > 0 else 0.0), max(high, least)

    def highest(each: Floats, group_means: Floats) -> float:
        wrong = np.flatnonzero(each)
        if wrong.size in (0, each.size):
            return 1.0 if wrong.size else rule_of_three
        wrong = wrong[np.argsort(-group_means[wrong], kind="stable")]
        mean, square_of_groups = np.cumsum([losses.weights[wrong], losses.weights[wrong] * group_means[wrong]], axis=1)
        unit = unit_of(mean, mean, square_of_groups)
        return max(rule_of_three, highest_quantile(mean / unit + 0.5, (1 - mean) / unit + 0.5))

    return 1 - highest(1 - losses.values, 1 - group_means), highest(losses.values, group_means)


def highest_quantile(a: Floats, b: Floats) -> float:
    """Return the highest upper quantile of beta distributions with the shape parameters a and b, shape (n,).

    It is computed of those that can have it: a beta distribution is sub-Gaussian with a variance of at most
    1 / (4 (a + b + 1)) (Marchal and Arbel, "On the sub-Gaussianity of the Beta and Dirichlet distributions", Electronic
    Communications in Probability 22, 2017), which bounds its quantile.
    """
    bound = a / (a + b) + np.sqrt(-np.log(1 - LEVEL) / (2 * (a + b + 1)))
    first = int(bound.argmax())
    least = float(special.betaincinv(a[first], b[first], LEVEL))
    able = bound >= least
    return float(special.betaincinv(a[able], b[able], LEVEL).max(initial=least))


@cache
def _student_factor(n_groups: int) -> float:
    """Return the squared ratio of Student's to the normal quantile."""
    return float((stats.t.ppf(LEVEL, n_groups - 1) / stats.norm.ppf(LEVEL)) ** 2)


def training_variance(values: Sequence[Sequence[float]]) -> TrainingVariance:
    """Estimate the variance of a score between the trainings of each configuration.

    Each configuration has its own variance (Welch, Biometrika 34, 1947), as some are less stable than others. One that
    was trained once gets the pooled variance of the others. Known weakness: it may vary more than they do.
    """
    trainings = np.array([len(each) for each in values], dtype=np.int64)
    several = trainings > 1
    variances = np.array([np.var(each, ddof=1) if len(each) > 1 else 0.0 for each in values])
    freedom = np.where(several, trainings - 1, 0)
    if not several.any():
        return TrainingVariance(variance=variances, degrees=np.full(variances.size, np.inf), trainings=trainings)
    pooled = float((freedom * variances).sum() / freedom.sum())
    return TrainingVariance(
        variance=np.where(several, variances, pooled),
        degrees=np.where(several, freedom, freedom.sum()).astype(np.float64),
        trainings=trainings,
    )


def training_half_widths(training: TrainingVariance) -> Floats:
    """Return half the width of 95 % intervals from trainings alone, shape (c,)."""
    error = np.sqrt(training.variance / training.trainings)
    return np.asarray(stats.t.ppf(LEVEL, training.degrees) * error)


def _student_interval(score: ScoreByGroup, strata: Integers) -> tuple[float, float]:
    """Return the ends of Student's interval, from the contributions of groups alone."""
    against_zero = np.stack([score.contributions, np.zeros_like(score.contributions)])
    (variance,), (squares,) = difference_variances(
        against_zero, np.array([0]), np.array([1]), strata=strata, weights=score.weights
    )
    half = float(stats.t.ppf(LEVEL, variance**2 / squares) * np.sqrt(variance)) if variance != 0 else 0.0
    return score.value - half, score.value + half


def difference_variances(
    contributions: Floats, first: Integers, second: Integers, *, strata: Integers, weights: Floats
) -> tuple[Floats, Floats]:
    """Return variances of differences, and terms of their degrees of freedom.

    The variance is that of a stratified sample; the degrees of freedom, variance^2 over the second array, are
    Satterthwaite's over strata ("An approximate distribution of estimates of variance components", Biometrics Bulletin
    2, 1946), each with Bell and McCaffrey's for groups of unequal weights ("Bias reduction in standard errors for
    linear regression with multi-stage samples", Survey Methodology 28, 2002).

    Parameters
    ----------
    contributions
        Shape (c, g), of each group to each score.
    first, second
        Shape (p,), the rows to compare.
    strata, weights
        Shape (g,), of the groups; strata of one group are collapsed, see `collapse_strata`.

    Returns
    -------
    tuple
        Both shape (p,): the variance, and the sum of the strata's squared variances over their degrees of freedom.
    """
    strata = collapse_strata(strata)
    variance, squares = np.zeros((2, first.size))
    for stratum in np.unique(strata):
        inside = contributions[:, strata == stratum]
        n = inside.shape[1]
        if n > 1:
            stratum_variance = _variances_of_sums(inside, first, second)
            variance += stratum_variance
            squares += stratum_variance**2 / max(effective_number(weights[strata == stratum] ** 2) - 1, 1.0)
    return variance, squares


def _variances_of_sums(values: Floats, first: Integers, second: Integers) -> Floats:
    """Return the variance of the sum of the n differences between two rows of values (c, n), shape (p,)."""
    n = values.shape[1]
    if 2 * first.size < len(values) * (len(values) - 1):  # not all pairs: the matrix of all covariances would be larger
        starts = range(0, first.size, PAIRS_AT_ONCE)
        parts = [slice(start, start + PAIRS_AT_ONCE) for start in starts]
        variances = [np.var(values[first[part]] - values[second[part]], axis=1, ddof=1) for part in parts]
        return np.asarray(n * np.concatenate(variances))
    products = n * np.atleast_2d(np.cov(values))
    return np.asarray(np.maximum(products[first, first] + products[second, second] - 2 * products[first, second], 0.0))


def effective_number(weights: Floats) -> float:
    """Return the effective number of unequal weights (Kish, "Survey Sampling", 1965)."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def collapse_strata(strata: Integers) -> Integers:
    """Collapse strata of one group with each other or the smallest stratum.

    Intervals become wider rather than narrower (Cochran, "Sampling Techniques", 1977, 5A.12).
    """
    names, counts = np.unique(strata, return_counts=True)
    n_single = int((counts == 1).sum())
    if not n_single:
        return strata
    collapsed = names[np.argsort(counts, kind="stable")][: max(n_single, 2)]
    return np.where(np.isin(strata, collapsed), collapsed[0], strata)
