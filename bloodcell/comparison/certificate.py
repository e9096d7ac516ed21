"""Simulations of a comparison: coverage, false differences and power on data of its shape.

Pairs of models are simulated on groups of the same sizes and classes, with the observed accuracy and correlation within
groups. Half of the simulations draw the accuracy of each group from a beta distribution, half from a probit-normal one,
to depend less on either.

Known weakness: with few groups of unequal size, if some are fully correlated and others not at all, the coverage
is lower than simulated: by up to 11 points with 30 groups, by 2 to 6 points with 180.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from bloodcell.comparison.verdicts import SIGNIFICANCE, compare_pairs
from bloodcell.evaluation.intervals import FEWEST_GROUPS, effective_number, loss_interval
from bloodcell.evaluation.probabilities import predicted_classes
from bloodcell.evaluation.scores import Losses, Predictions, ScoreByGroup
from bloodcell.wording import PHOTOGRAPH, counted, plural

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

DIFFERENCE = 0.05
"""The difference in accuracy whose power is simulated."""
MIN_COVERAGE = 0.90
"""With a lower coverage, all verdicts are inconclusive."""
MAX_IMAGES = 4000
"""More images are simulated with proportionally smaller groups, which hardly changes the results."""
N_SIMULATED = 1000
SIMULATED_AT_ONCE = 200_000
"""Simulations times groups in memory at the same time."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """The simulated properties of a comparison by accuracy.

    Attributes
    ----------
    coverage
        The share of 95 % intervals that contain the true accuracy.
    false_differences
        The share of equally accurate pairs that are called different.
    power
        The share of differences of `DIFFERENCE` that are detected.
    n_effective
        The effective number of groups (Kish 1965).
    accuracy, correlation
        The accuracy of the simulated models, and the correlation of their errors within groups.
    n_simulated
        The number of simulations; 0 if groups are too few.
    """

    coverage: float
    false_differences: float
    power: float
    n_groups: int
    n_effective: float
    accuracy: float
    correlation: float
    n_simulated: int
    group_name: str = PHOTOGRAPH

    @property
    def enough(self) -> bool:
        """Whether the coverage suffices for verdicts."""
        return self.coverage >= MIN_COVERAGE

    def __str__(self) -> str:
        """Return a sentence."""
        groups = plural(self.group_name)
        if not self.n_simulated:
            return f"Too few {groups} for intervals and verdicts: {self.n_groups}; at least {FEWEST_GROUPS} are needed."
        shape = f"{counted(self.n_groups, self.group_name)}, effectively {self.n_effective:.0f}"
        return (
            f"In {self.n_simulated:,} simulations of such data ({shape}), 95 % intervals contain the true accuracy in "
            f"{100 * self.coverage:.0f} %, equally accurate models are called different in "
            f"{100 * self.false_differences:.0f} %, and a difference of {100 * DIFFERENCE:.0f} points is detected in "
            f"{100 * self.power:.0f} %."
        )


def certify(predictions: Sequence[Predictions], *, n_simulated: int = N_SIMULATED, seed: int = 0) -> Certificate:
    """Simulate comparisons on groups of the same sizes and classes.

    The models' predictions are for the same images; their mean accuracy and correlation are simulated.
    """
    first = predictions[0]
    found = [_correlation(each) for each in predictions]
    accuracy, correlation = (float(np.mean(each)) for each in zip(*found, strict=True))
    sizes = first.images
    order = np.lexsort((sizes, first.strata))
    return _simulate(
        sizes=tuple(sizes[order].tolist()),
        strata=tuple(first.strata[order].tolist()),
        accuracy=round(min(max(accuracy, 0.02), 0.98), 2),
        correlation=round(min(max(correlation, 0.02), 0.95), 2),
        n_simulated=n_simulated,
        seed=seed,
    )


def _correlation(predictions: Predictions) -> tuple[float, float]:
    """Return accuracy and correlation within groups (Fleiss and Cuzick 1979)."""
    right = predicted_classes(predictions.probabilities) == predictions.labels
    sizes, mean = predictions.images, float(right.mean())
    shares = np.bincount(predictions.groups, weights=right) / sizes
    within = float((sizes * shares * (1 - shares)).sum())
    total = (sizes.sum() - sizes.size) * mean * (1 - mean)
    return mean, 1 - within / total if total > 0 else 1.0


@lru_cache(maxsize=64)
def _simulate(
    *,
    sizes: tuple[int, ...],
    strata: tuple[int, ...],
    accuracy: float,
    correlation: float,
    n_simulated: int,
    seed: int,
) -> Certificate:
    rng = np.random.default_rng(seed)
    whole = np.array(sizes)
    images = np.maximum(np.round(whole * min(1.0, MAX_IMAGES / whole.sum())), 1).astype(np.int64)
    classes = np.array(strata)
    weights = images / images.sum()
    known = {"n_groups": whole.size, "n_effective": effective_number(whole.astype(float))}
    known |= {"accuracy": accuracy, "correlation": correlation}
    if whole.size < FEWEST_GROUPS:
        return Certificate(coverage=0.0, false_differences=0.0, power=0.0, n_simulated=0, **known)  # type: ignore[arg-type]
    latent = _latent_correlation(accuracy, correlation)
    worse = max(accuracy - DIFFERENCE, 0.01)
    held, different, detected = 0, 0, 0
    at_once = max(SIMULATED_AT_ONCE // images.size, 1)
    for start in range(0, n_simulated, at_once):
        right = np.array(
            [
                [
                    rng.binomial(
                        images,
                        _group_accuracies(
                            rng, images.size, level, correlation=correlation, latent=latent, beta=bool(number % 2)
                        ),
                    )
                    for level in (accuracy, accuracy, worse)
                ]
                for number in range(start, min(start + at_once, n_simulated))
            ]
        )
        for one in right[:, 0]:
            low, high = _interval(one, images)
            held += low <= accuracy <= high
        p, difference = _compared_with_first(right, images, weights=weights, strata=classes)
        different += int((p[:, 0] < SIGNIFICANCE).sum())
        detected += int(((p[:, 1] < SIGNIFICANCE) & (difference[:, 1] > 0)).sum())
    return Certificate(
        coverage=held / n_simulated,
        false_differences=different / n_simulated,
        power=detected / n_simulated,
        n_simulated=n_simulated,
        **known,  # type: ignore[arg-type]
    )


def _latent_correlation(accuracy: float, correlation: float) -> float:
    """Return the correlation of latent normal variables for a correlation of errors."""
    level, variance = stats.norm.ppf(accuracy), accuracy * (1 - accuracy)

    def excess(latent: float) -> float:
        both = stats.multivariate_normal.cdf([level, level], cov=[[1, latent], [latent, 1]])
        return float((both - accuracy**2) / variance - correlation)

    return float(optimize.brentq(excess, 0.0, 0.999)) if excess(0.999) > 0 else 0.999


def _group_accuracies(
    rng: np.random.Generator, n: int, accuracy: float, *, correlation: float, latent: float, beta: bool
) -> Floats:
    """Draw the true accuracy of each group, shape (n,)."""
    if beta:
        scale = 1 / correlation - 1
        return rng.beta(accuracy * scale, (1 - accuracy) * scale, n)
    level = stats.norm.ppf(accuracy) - latent**0.5 * rng.standard_normal(n)
    return np.asarray(stats.norm.cdf(level / (1 - latent) ** 0.5))


def _interval(right: Integers, images: Integers) -> tuple[float, float]:
    groups = np.repeat(np.arange(images.size), images)
    first = np.cumsum(images) - images
    is_right = np.arange(groups.size) - first[groups] < right[groups]
    losses = Losses(values=(~is_right).astype(np.float64), weights=np.full(groups.size, 1 / groups.size))
    low, high = loss_interval(losses, groups)
    return 1 - high, 1 - low


def _compared_with_first(
    right: Integers, images: Integers, *, weights: Floats, strata: Integers
) -> tuple[Floats, Floats]:
    """Return p-values and differences between the first and each other model of every simulation.

    From the images that are right, shape (simulations, models, groups), to (simulations, models - 1) each.
    """
    n, models, _ = right.shape
    values = right.sum(axis=2) / images.sum()
    contributions = (right - images * values[:, :, None]) / images.sum()
    scored = [
        [ScoreByGroup(value=float(value), contributions=each, weights=weights)]
        for value, each in zip(values.ravel(), contributions.reshape(n * models, -1), strict=True)
    ]
    with_first = np.zeros((models, models), dtype=bool)
    with_first[0] = True
    among = np.kron(np.eye(n, dtype=bool), with_first)
    pairs = compare_pairs(scored, strata=strata, max_difference=1.0, among=among)
    return pairs.p_value.reshape(n, -1), pairs.difference.reshape(n, -1)
