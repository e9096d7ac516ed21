"""Confidence intervals of scores, which count independent groups and not images.

Images of one group (the copies of a photograph, the cells of a patient) are classified correctly or wrongly together. A
score is a weighted mean of what each image loses (`bloodcell.evaluation.scores.Losses`). Its variance follows from how
much the losses differ and from their correlation within groups. That is estimated from all groups, and so also says
what a large group may do that happened to be classified correctly. The interval is Jeffreys' (Brown, Cai and DasGupta,
"Interval estimation for a binomial proportion", Statistical Science 16, 2001) at the effective number of answers (Korn
and Graubard, "Confidence intervals for proportions with small expected number of positive counts estimated from survey
data", Survey Methodology 24, 1998), with the correlation as a ratio of mean squares (Fleiss and Cuzick, "The
reliability of dichotomous judgments", Applied Psychological Measurement 3, 1979), as Saha, Miller and Wang compare them
("A comparison of some approximate confidence intervals for a single proportion for clustered binary outcome data",
International Journal of Biostatistics 12, 2016).

Known weakness: one correlation and one variance for all. If a class of few large groups is much harder than the others,
95 % intervals hold the truth in 85 to 93 % of simulations (`experiments/benchmarks/coverage.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats

from bloodcell.evaluation.predictions import label_indices, probabilities_of
from bloodcell.evaluation.scores import SCORES, Answers, Losses, Score, Scored

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CONFIDENCE = 0.95
LEVEL = (1 + CONFIDENCE) / 2
SUPPOSED_ERRORS = {True: 0.5, False: 1.0}
"""Pseudo-errors in groups that are wrong as a whole, for losses that are 0 or 1 (True) and for others, whose size is
less certain (False). They shrink the correlation within groups towards 1 if few groups are wrong. Chosen by
simulation."""
FEWEST_GROUPS = 5
"""Of fewer groups there is no interval."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Two ends, ``low`` at most ``high``; NaN where there are too few groups for an interval."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Training:
    """How much a score varies from training to training of each configuration.

    Attributes
    ----------
    variance
        Shape (c,), of a score, among the trainings of each configuration that differ in their seed only; of one that
        was trained once the mean of the others', 0 if nothing was trained twice.
    degrees
        Shape (c,), degrees of freedom of the variance; infinite if nothing was trained twice.
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
    """Return 95 % intervals of the accuracy by image, by photograph and as the mean of groups; all count groups.

    Parameters
    ----------
    table
        A predictions table with each image once.
    classes
        Its class names, in order.

    Returns
    -------
    dict
        ``accuracy_low, accuracy_high``, and the same of ``photograph_accuracy`` and ``group_mean_accuracy``, in 0..1;
        NaN where there are too few groups.

    Raises
    ------
    ValueError
        When the table has no image, lacks a class, or an image has a label that is none of the classes.
    """
    groups, sources = (
        np.unique(table[column].to_numpy(dtype=np.str_), return_inverse=True)[1] for column in ("group", "source")
    )
    answers = Answers(
        labels=label_indices(table, classes),
        probabilities=probabilities_of(table, classes),
        groups=groups,
        sources=sources,
    )
    accuracy = SCORES["accuracy"]
    found = {
        "accuracy": score_interval(accuracy, [answers]),
        "photograph_accuracy": score_interval(accuracy, [answers.by_photograph()]),
        "group_mean_accuracy": score_interval(accuracy, [answers], group_mean=True),
    }
    return {f"{name}_{end}": getattr(each, end) for name, each in found.items() for end in ("low", "high")}


def score_interval(
    score: Score, answers: Sequence[Answers], *, training_error: float = 0.0, group_mean: bool = False
) -> Interval:
    """Return the 95 % interval of a score.

    Parameters
    ----------
    score
        The score.
    answers
        Those of one model, or of several trainings of one configuration, whose mean score the interval is of.
    training_error
        Half the width that the variance between trainings alone would have. It is combined with the groups' by squares
        (Zou and Donner, "Construction of confidence limits about effect measures: a general approach", Statistics in
        Medicine 27, 2008).
    group_mean
        Whether it is of the mean of the groups' own scores, for a score that is a plain mean over images.
    """
    values = [
        score.group_mean(each) if group_mean else score.function(each.labels, each.probabilities) for each in answers
    ]
    value = float(np.mean(values))
    nothing = Interval(low=float("nan"), high=float("nan"))
    if not np.isfinite(value) or answers[0].n_groups < FEWEST_GROUPS:
        return nothing
    if score.losses is None:
        ends = [_of_parts(score.measure(each), each.strata) for each in answers]
    else:
        losses = [
            score.group_losses(each) if group_mean else score.losses(each.labels, each.probabilities)
            for each in answers
        ]
        ends = [loss_interval(lost, each.groups) for lost, each in zip(losses, answers, strict=True)]
        if score.greater_is_better:
            ends = [(1 - high, 1 - low) for low, high in ends]
    low, high = np.mean(ends, axis=0)
    low, high = min(low, value), max(high, value)
    low = value - np.hypot(value - low, training_error)
    high = value + np.hypot(high - value, training_error)
    if not np.isfinite([low, high]).all():
        return nothing
    return Interval(low=float(min(max(low, score.lowest), value)), high=float(max(min(high, score.highest), value)))


def loss_interval(losses: Losses, groups: Integers) -> tuple[float, float]:
    """Return the ends of the 95 % interval of a mean loss.

    Parameters
    ----------
    losses
        What n images lose.
    groups
        Shape (n,), in 0..g-1; g is at least `FEWEST_GROUPS`.

    Notes
    -----
    With weights v of images and w of groups, variance T of the losses and B of the groups' means, the correlation
    within groups is 1 - (T - B) / ((1 - a) T + s), where a is the sum over groups of sum(v^2) / w, and s what
    `SUPPOSED_ERRORS` add. One over the effective number of answers is correlation * sum(w^2) + (1 - correlation) *
    sum(v^2), times the squared ratio of Student's to the normal quantile. If every group is classified correctly, the
    upper end is at least that of the rule of three for groups. One error more never makes the upper end of a share of
    errors smaller: the end is the highest that any number of the errors, the worst groups' first, would give.
    """
    n_groups = int(groups.max()) + 1
    weights = np.bincount(groups, weights=losses.weights)
    own = (np.bincount(groups, weights=losses.weights * losses.each) / weights)[groups]
    together, apart = float((weights**2).sum()), float((losses.weights**2).sum())
    alone = float((np.bincount(groups, weights=losses.weights**2) / weights).sum())
    wider = (stats.t.ppf(LEVEL, n_groups - 1) / stats.norm.ppf(LEVEL)) ** 2
    binary = losses.most == 1 and bool(np.isin(losses.each, (0, 1)).all())
    supposed = SUPPOSED_ERRORS[binary] * apart * losses.if_wrong

    def quantile(level: float, mean: Floats, square: Floats, square_of_groups: Floats) -> Floats:
        """Return Jeffreys' quantile, given means of losses, of their squares and of the groups' means' squares."""
        total, between = square - mean**2, square_of_groups - mean**2
        extra = supposed * losses.if_wrong
        correlation = np.maximum(1 - (total - between) / ((1 - alone) * total + extra), 0)
        unit = losses.shared_by**2 * wider * (correlation * together + (1 - correlation) * apart)
        if not binary:
            expected = mean + supposed
            unit = unit * (total + extra) / (expected * (1 - expected / losses.most))
        if np.isinf(losses.most):
            return np.asarray(unit * special.gammaincinv(mean / unit + 0.5, level))
        shape = mean / unit + 0.5, (losses.most - mean) / unit + 0.5
        return np.asarray(losses.most * special.betaincinv(*shape, level))

    seldom = 1 - (1 - CONFIDENCE) ** (1 / n_groups)
    if not binary:
        moments = [np.asarray((losses.weights * each).sum()) for each in (losses.each, losses.each**2, own**2)]
        low, high = (float(quantile(level, *moments)) for level in (1 - LEVEL, LEVEL))
        least = losses.if_right + seldom * (losses.if_wrong - losses.if_right)
        return (low if moments[0] > 0 else 0.0), max(high, least)

    def highest(each: Floats, own: Floats) -> float:
        wrong = np.flatnonzero(each)
        if wrong.size == each.size:
            return 1.0
        wrong = wrong[np.argsort(-own[wrong], kind="stable")]
        mean, square_of_groups = np.cumsum([losses.weights[wrong], losses.weights[wrong] * own[wrong]], axis=1)
        return float(max([seldom, *quantile(LEVEL, mean, mean, square_of_groups)]))

    return 1 - highest(1 - losses.each, 1 - own), highest(losses.each, own)


def training_of(values: Sequence[Sequence[float]]) -> Training:
    """Return how much a score varies from training to training.

    Each configuration has a variance of its own (Welch, Biometrika 34, 1947): an unstable one says nothing of a stable
    one. One that was trained once is given the pooled variance of the others. Known weakness: if it varies much more
    than they do, nothing shows it.

    Parameters
    ----------
    values
        Of each configuration, the score of each training.
    """
    trainings = np.array([len(each) for each in values], dtype=np.int64)
    several = trainings > 1
    own = np.array([np.var(each, ddof=1) if len(each) > 1 else 0.0 for each in values])
    freedom = np.where(several, trainings - 1, 0)
    if not several.any():
        return Training(variance=own, degrees=np.full(own.size, np.inf), trainings=trainings)
    pooled = float((freedom * own).sum() / freedom.sum())
    return Training(
        variance=np.where(several, own, pooled),
        degrees=np.where(several, freedom, freedom.sum()).astype(np.float64),
        trainings=trainings,
    )


def training_errors(training: Training) -> Floats:
    """Return half the width of the 95 % interval that the trainings alone give each mean score, shape (c,)."""
    error = np.sqrt(training.variance / training.trainings)
    return np.asarray(stats.t.ppf(LEVEL, training.degrees) * error)


def _of_parts(scored: Scored, strata: Integers) -> tuple[float, float]:
    """Return the ends of Student's interval, for a score of which no more is known than the groups' parts."""
    against_none = np.stack([scored.parts, np.zeros_like(scored.parts)])
    (variance,), (squares,) = differences_of_groups(
        against_none, np.array([0]), np.array([1]), strata=strata, weights=scored.weights
    )
    half = float(stats.t.ppf(LEVEL, variance**2 / squares) * np.sqrt(variance)) if variance != 0 else 0.0
    return scored.value - half, scored.value + half


def differences_of_groups(
    parts: Floats, first: Integers, second: Integers, *, strata: Integers, weights: Floats
) -> tuple[Floats, Floats]:
    """Return variances of differences of sums over groups, and what their degrees need.

    The variance is that of a stratified sample; the degrees of freedom, variance^2 over the second array, are
    Satterthwaite's over strata ("An approximate distribution of estimates of variance components", Biometrics Bulletin
    2, 1946), each with Bell and McCaffrey's for groups of unequal weights ("Bias reduction in standard errors for
    linear regression with multi-stage samples", Survey Methodology 28, 2002).

    Parameters
    ----------
    parts
        Shape (c, g), by how much each group moves each score.
    first, second
        Shape (p,), the rows of ``parts`` whose differences are meant.
    strata, weights
        Shape (g,), of the groups; strata of one group are joined, see `pooled`.

    Returns
    -------
    tuple
        Both shape (p,): the variance, and the sum of the strata's squared variances over their degrees of freedom.
    """
    strata = pooled(strata)
    variance, squares = np.zeros((2, first.size))
    for stratum in np.unique(strata):
        inside = parts[:, strata == stratum]
        n = inside.shape[1]
        if n > 1:
            products = n * np.atleast_2d(np.cov(inside))
            own = np.maximum(products[first, first] + products[second, second] - 2 * products[first, second], 0.0)
            variance += own
            squares += own**2 / max(effective(weights[strata == stratum] ** 2) - 1, 1.0)
    return variance, squares


def effective(weights: Floats) -> float:
    """Return as how many equal weights unequal ones count (Kish, "Survey Sampling", 1965)."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def pooled(strata: Integers) -> Integers:
    """Join strata of one group, which show no variance, with each other or with the smallest other stratum.

    That makes intervals wider rather than narrower (collapsed strata: Cochran, "Sampling Techniques", 1977, 5A.12).
    """
    names, counts = np.unique(strata, return_counts=True)
    alone = int((counts == 1).sum())
    if not alone:
        return strata
    joined = names[np.argsort(counts, kind="stable")][: max(alone, 2)]
    return np.where(np.isin(strata, joined), joined[0], strata)
