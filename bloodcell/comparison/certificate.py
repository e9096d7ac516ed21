"""How far a comparison can be trusted on data of its own shape: by simulation.

Two models are simulated again and again on groups of the same sizes and classes, with the accuracy and the correlation
within groups that were found. Half of the simulations draw each group's chance of being classified correctly from a
beta distribution, half through a probit of a normal one, so that the answer does not depend on one generator.

Known weakness: if few groups of unequal size are classified either as a whole or with independent images, intervals
hold the truth less often than is said, by up to 11 points with 30 groups, by 2 to 6 points with 180.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from bloodcell.comparison.verdicts import SIGNIFICANCE, measure_pairs
from bloodcell.evaluation.intervals import FEWEST_GROUPS, effective, loss_interval
from bloodcell.evaluation.probabilities import predicted_classes
from bloodcell.evaluation.scores import Answers, Losses, Scored
from bloodcell.wording import PHOTOGRAPH, counted, plural

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

DIFFERENCE = 0.05
"""Of accuracy, that is looked for."""
LEAST_COVERAGE = 0.90
"""Below it no verdict is given."""
MOST_IMAGES = 4000
"""Groups of more images are simulated with proportionally fewer: which share of a group is right hardly changes."""
N_SIMULATED = 1000


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What was found in simulations of a comparison by accuracy.

    Attributes
    ----------
    coverage
        Share of 95 % intervals that hold the true accuracy.
    false_differences
        Share of pairs of equally good models that are called different.
    power
        Share of differences of `DIFFERENCE` that are found.
    n_groups, n_effective
        The number of groups, and as how many of equal size they count (Kish 1965).
    accuracy, correlation
        Of the models that were simulated: the accuracy, and the correlation of answers within groups.
    n_simulated
        The number of simulated comparisons.
    group_name
        What a group is called.
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
        """Whether there are enough groups for verdicts."""
        return self.coverage >= LEAST_COVERAGE

    def __str__(self) -> str:
        """Return it as a sentence."""
        groups = plural(self.group_name)
        if not self.n_simulated:
            return f"Too few {groups} for intervals and verdicts: {self.n_groups}, at least {FEWEST_GROUPS} are needed."
        shape = f"{counted(self.n_groups, self.group_name)} that count as {self.n_effective:.0f} of equal size"
        return (
            f"On data of this shape ({shape}), 95 % intervals contain the true accuracy in {100 * self.coverage:.0f} % "
            f"of {self.n_simulated:,} simulations, equally good models are called different in "
            f"{100 * self.false_differences:.0f} %, and a difference of {100 * DIFFERENCE:.0f} points is found in "
            f"{100 * self.power:.0f} %."
        )


def certify(answers: Sequence[Answers], *, n_simulated: int = N_SIMULATED, seed: int = 0) -> Certificate:
    """Simulate comparisons on groups like those of some answers.

    Parameters
    ----------
    answers
        Of each model, all of the same images; their mean accuracy and correlation within groups are taken.
    n_simulated
        How many comparisons to simulate.
    seed
        Of the simulations.
    """
    first = answers[0]
    found = [_correlation(each) for each in answers]
    accuracy, correlation = (float(np.mean(each)) for each in zip(*found, strict=True))
    sizes = first.images
    order = np.lexsort((sizes, first.strata))
    return _simulated(
        sizes=tuple(sizes[order].tolist()),
        strata=tuple(first.strata[order].tolist()),
        accuracy=round(min(max(accuracy, 0.02), 0.98), 2),
        correlation=round(min(max(correlation, 0.02), 0.95), 2),
        n_simulated=n_simulated,
        seed=seed,
    )


def _correlation(answers: Answers) -> tuple[float, float]:
    """Return a model's accuracy, and the correlation of right answers within groups (Fleiss and Cuzick 1979)."""
    right = predicted_classes(answers.probabilities) == answers.labels
    sizes, mean = answers.images, float(right.mean())
    shares = np.bincount(answers.groups, weights=right) / sizes
    within = float((sizes * shares * (1 - shares)).sum())
    total = (sizes.sum() - sizes.size) * mean * (1 - mean)
    return mean, 1 - within / total if total > 0 else 1.0


@lru_cache(maxsize=64)
def _simulated(
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
    images = np.maximum(np.round(whole * min(1.0, MOST_IMAGES / whole.sum())), 1).astype(np.int64)
    classes = np.array(strata)
    weights = images / images.sum()
    known = {"n_groups": whole.size, "n_effective": effective(whole.astype(float))}
    known |= {"accuracy": accuracy, "correlation": correlation}
    if whole.size < FEWEST_GROUPS:
        return Certificate(coverage=0.0, false_differences=0.0, power=0.0, n_simulated=0, **known)  # type: ignore[arg-type]
    latent = _latent_correlation(accuracy, correlation)
    worse = max(accuracy - DIFFERENCE, 0.01)
    held, different, detected = 0, 0, 0
    for number in range(n_simulated):
        beta = bool(number % 2)
        one, equal, poor = (
            rng.binomial(images, _chances(rng, images.size, level, correlation=correlation, latent=latent, beta=beta))
            for level in (accuracy, accuracy, worse)
        )
        low, high = _interval(one, images)
        held += low <= accuracy <= high
        different += _p_value(one, equal, images, weights=weights, strata=classes)[0] < SIGNIFICANCE
        p, difference = _p_value(one, poor, images, weights=weights, strata=classes)
        detected += p < SIGNIFICANCE and difference > 0
    return Certificate(
        coverage=held / n_simulated,
        false_differences=different / n_simulated,
        power=detected / n_simulated,
        n_simulated=n_simulated,
        **known,  # type: ignore[arg-type]
    )


def _latent_correlation(accuracy: float, correlation: float) -> float:
    """Return the correlation of normal variables that gives right answers this correlation."""
    level, variance = stats.norm.ppf(accuracy), accuracy * (1 - accuracy)

    def excess(latent: float) -> float:
        both = stats.multivariate_normal.cdf([level, level], cov=[[1, latent], [latent, 1]])
        return float((both - accuracy**2) / variance - correlation)

    return float(optimize.brentq(excess, 0.0, 0.999)) if excess(0.999) > 0 else 0.999


def _chances(
    rng: np.random.Generator, n: int, accuracy: float, *, correlation: float, latent: float, beta: bool
) -> Floats:
    """Draw each group's chance of a right answer, whose mean is the accuracy."""
    if beta:
        scale = 1 / correlation - 1
        return rng.beta(accuracy * scale, (1 - accuracy) * scale, n)
    level = stats.norm.ppf(accuracy) - latent**0.5 * rng.standard_normal(n)
    return np.asarray(stats.norm.cdf(level / (1 - latent) ** 0.5))


def _interval(right: Integers, images: Integers) -> tuple[float, float]:
    groups = np.repeat(np.arange(images.size), images)
    first = np.cumsum(images) - images
    is_right = np.arange(groups.size) - first[groups] < right[groups]
    losses = Losses(each=(~is_right).astype(np.float64), weights=np.full(groups.size, 1 / groups.size))
    low, high = loss_interval(losses, groups)
    return 1 - high, 1 - low


def _p_value(
    one: Integers, other: Integers, images: Integers, *, weights: Floats, strata: Integers
) -> tuple[float, float]:
    """Return the p-value and the difference of two models' accuracies."""
    scored = [
        [
            Scored(
                value=(value := float(right.sum() / images.sum())),
                parts=(right - images * value) / images.sum(),
                weights=weights,
            )
        ]
        for right in (one, other)
    ]
    pairs = measure_pairs(scored, strata=strata, unit=1.0)
    return float(pairs.p_value[0]), float(pairs.difference[0])
