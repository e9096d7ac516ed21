"""Verdicts on pairs of models, from their difference on the same images.

A score is, to first order, a sum over groups (`bloodcell.evaluation.scores.ScoreByGroup`). The difference between two
models has the

    variance = between sampled groups: that of a stratified sample, by class
             + one unsampled group: 1/2 (its difference / (effective groups + 1))^2
             + between trainings: each configuration's variance / its trainings, if configurations are compared

Interval and p-value are Student's with Satterthwaite's degrees of freedom: Welch's t test by strata (Biometrika 34,
1947). With few trainings these degrees find too many differences (8 % instead of 5 % with three trainings). So the
quantiles of groups and of trainings are averaged, weighted by their variances (Cochran and Cox, "Experimental
Designs", 1957, section 4.14).

The second term is for differences that few groups cannot show: one more group, a quarter of it in each cell of the
models' 2 x 2 table (Perks, "Some observations on inverse probability", Journal of the Institute of Actuaries 73, 1947;
Agresti and Min, "Effects and non-effects of paired identical observations", Statistics in Medicine 24, 2005, add twice
as much). With the probability 2 / (k + 1) it differs as much as a group can (Laplace's rule of succession for either
model, k groups of its class differing); otherwise as much as the most different group.

Known weakness: no interval holds for every distribution (Bahadur and Savage, Annals of Mathematical Statistics 27,
1956). If one model fails rarely but on a whole group, and the other on single images, a sample without such a group
calls equal models different too often: in 20 % of samples of 12 groups (a permutation test, in 30 %).

P-values are corrected for the number of all pairs (Holm), within each metric, also if only some are compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from bloodcell.comparison.candidates import Candidate
from bloodcell.evaluation.intervals import (
    FEWEST_GROUPS,
    TrainingVariance,
    difference_variances,
    effective_number,
    training_variance,
)
from bloodcell.evaluation.multiple_testing import holm
from bloodcell.evaluation.scores import Score, ScoreByGroup

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SIGNIFICANCE = 0.05
BETTER, WORSE, EQUIVALENT, INCONCLUSIVE = "better", "worse", "equivalent", "inconclusive"
REVERSED = {BETTER: WORSE, WORSE: BETTER, EQUIVALENT: EQUIVALENT, INCONCLUSIVE: INCONCLUSIVE}
"""The verdict on the second of a pair, by that on the first."""
BISECTIONS = 50
"""Steps of the search for a tail probability."""
PROBABILITY_TOLERANCE = 1e-5
"""Probabilities that differ by less are the same but for rounding."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Pairs of candidates, compared by one score; every array has shape (p,).

    Attributes
    ----------
    first, second
        Indices of the candidates.
    n_all
        The number of all pairs of candidates, for which p-values and intervals are corrected.
    difference
        The first's score less the second's; NaN if one is undefined.
    error, degrees
        Standard error of the difference, infinite if it is unknown, as with fewer than five groups, and the degrees of
        freedom of its part between groups.
    training_degrees
        Those of the part between trainings; ``degrees`` if there is no such part.
    group_share
        The share of the squared error that more groups reduce, in 0..1; the rest is between trainings.
    n_differing
        In how many groups the two differ.
    undetected
        The largest difference that one sample of twenty misses, because it contains no group that shows it.
    """

    first: Integers
    second: Integers
    n_all: int
    difference: Floats
    error: Floats
    degrees: Floats
    training_degrees: Floats
    group_share: Floats
    n_differing: Integers
    undetected: float

    def half_width(self, *, n_pairs: int = 1) -> Floats:
        """Return half the width of each 95 % interval, Bonferroni-corrected; may be NaN."""
        error = np.where(np.isfinite(self.error), self.error, np.nan)
        return self._quantile(SIGNIFICANCE / n_pairs / 2) * error

    @property
    def p_value(self) -> Floats:
        """The two-sided p-values of no difference, in 0..1.

        At least that of a sign test if all groups that differ did so in the same direction: no test of symmetry can
        have less.
        """
        p = np.nan_to_num(2 * self.upper_tail(np.abs(self.t(self.difference))), nan=1.0)
        return np.asarray(np.maximum(p, np.minimum(2 * 0.5**self.n_differing, 1.0)))

    def p_equivalence(self, margin: float) -> Floats:
        """Return p-values of two one-sided tests of equivalence (Schuirmann 1987)."""
        if self.undetected > margin:
            return np.ones(self.difference.size)
        return np.asarray(np.nan_to_num(self.upper_tail(self.t(margin - np.abs(self.difference))), nan=1.0))

    def t(self, difference: Floats) -> Floats:
        """Return differences over standard errors, shape (p,); NaN if unknown."""
        with np.errstate(divide="ignore", invalid="ignore"):  # a constant score has no error
            return np.where(np.isfinite(self.error), difference / self.error, np.nan)

    def upper_tail(self, t: Floats) -> Floats:
        """Return the probability of t or more, shape (p,); NaN of NaN."""
        ends = np.stack([stats.t.sf(t, self.degrees), stats.t.sf(t, self.training_degrees)])
        low, high = ends.min(axis=0), ends.max(axis=0)
        if np.array_equal(low, high, equal_nan=True):
            return np.asarray(low)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            above = self._quantile(middle) > t
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return np.asarray(high)

    def _quantile(self, tail: float | Floats) -> Floats:
        """Return t of an upper tail: averaged quantiles of groups and trainings."""
        group, training = (stats.t.isf(tail, degrees) for degrees in (self.degrees, self.training_degrees))
        return np.asarray(training + self.group_share * (group - training))


def compare_pairs(
    scores: Sequence[Sequence[ScoreByGroup]],
    *,
    strata: Integers,
    max_difference: float,
    among: NDArray[np.bool_] | None = None,
) -> Pairs:
    """Compare pairs of candidates by one score.

    Time grows with pairs and with groups; memory with each of them, not with their product.

    Parameters
    ----------
    scores
        For each candidate, the score of each training.
    strata
        Shape (g,), of the groups.
    max_difference
        How much two models can differ in one group.
    among
        Shape (c, c), which pairs of candidates to compare, above the diagonal; None: all.
    """
    values = np.array([np.mean([each.value for each in trainings]) for trainings in scores])
    contributions = np.stack([np.mean([each.contributions for each in trainings], axis=0) for trainings in scores])
    weights = scores[0][0].weights
    every = np.ones((values.size, values.size), dtype=bool)
    first, second = np.nonzero(np.triu(every if among is None else among, k=1))
    known = np.isfinite(contributions).all(axis=1) & np.isfinite(values)
    finite = np.nan_to_num(contributions)
    variance, squares = difference_variances(finite, first, second, strata=strata, weights=weights)
    group_scores = finite / weights + np.nan_to_num(values)[:, None]
    n_differing, undrawn = _undrawn_group(
        group_scores, first, second, strata=strata, weights=weights, max_difference=max_difference
    )
    variance = variance + 0.5 * undrawn / (effective_number(weights) + 1) ** 2
    training_values = [[each.value for each in trainings] for trainings in scores]
    added, added_degrees = _variance_between_trainings(training_variance(training_values), first, second)
    total = variance + added
    degrees = np.divide(variance**2, squares, out=np.full(first.size, np.inf), where=squares > 0)
    defined = known[first] & known[second]
    return Pairs(
        first=first,
        second=second,
        n_all=len(values) * (len(values) - 1) // 2,
        difference=np.where(defined, values[first] - values[second], np.nan),
        error=np.where(defined & (weights.size >= FEWEST_GROUPS), np.sqrt(total), np.inf),
        degrees=degrees,
        training_degrees=np.where(added > 0, added_degrees, degrees),
        group_share=np.divide(variance, total, out=np.ones(first.size), where=total > 0),
        n_differing=n_differing,
        undetected=max_difference * undetected_share(weights),
    )


def _undrawn_group(
    group_scores: Floats,
    first: Integers,
    second: Integers,
    *,
    strata: Integers,
    weights: Floats,
    max_difference: float,
) -> tuple[Integers, Floats]:
    """Return each pair's number of differing groups, and square for one more group, of scores (candidates, g)."""
    members = np.unique(strata)[:, None] == strata
    share = members @ weights / weights.sum()
    counts, squares = [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
    numbers, starts = np.unique(first, return_index=True)
    for number, start, end in zip(numbers, starts, np.append(starts, first.size)[1:], strict=True):
        difference = np.abs(group_scores[number] - group_scores[second[start:end]])
        by_stratum = (difference > 1e-9) @ members.T.astype(np.int64)
        extreme = np.minimum(2 / (by_stratum + 1), 1.0) @ share
        counts.append(by_stratum.sum(axis=1))
        largest = np.minimum(difference.max(axis=1), max_difference)
        squares.append(extreme * max_difference**2 + (1 - extreme) * largest**2)
    return np.concatenate(counts), np.concatenate(squares)


def _variance_between_trainings(training: TrainingVariance, first: Integers, second: Integers) -> tuple[Floats, Floats]:
    """Return the variance between trainings, and Satterthwaite's degrees of freedom.

    A configuration that was trained once has the pooled variance of the others, each in its own part of it.
    """
    if not training.known:
        return np.zeros(first.size), np.full(first.size, np.inf)
    several = training.trainings > 1
    freedom = np.where(several, training.trainings - 1, 0)
    shares = np.where(several[:, None], np.eye(several.size), freedom / freedom.sum()) / training.trainings[:, None]
    terms = ((shares[first] + shares[second]) * training.variance)[:, several]
    variance, squares = terms.sum(axis=1), (terms**2 / freedom[several]).sum(axis=1)
    return variance, np.divide(variance**2, squares, out=np.full(first.size, np.inf), where=squares > 0)


def undetected_share(weights: Floats) -> float:
    """Return the largest share of images whose kind of group a sample may miss.

    If each of the k largest groups, with the share W of all weight, differs as a whole with probability q, none does
    with probability (1 - q)^k, which is 0.05 for q = 1 - 0.05^(1/k) (Clopper and Pearson, Biometrika 26, 1934; about
    3/k: Hanley and Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 249, 1983): the largest W q.
    """
    largest = np.sort(weights)[::-1].cumsum() / weights.sum()
    return float((largest * -np.expm1(np.log(SIGNIFICANCE) / np.arange(1, weights.size + 1))).max())


def verdict_table(pairs: Pairs, *, score: Score, candidates: Sequence[Candidate], equivalence: float) -> pd.DataFrame:
    """Return the verdict of each pair.

    ``equivalent``: two one-sided tests find the difference smaller than ``equivalence``, with Holm's correction, or the
    predictions are the same. ``better`` or ``worse`` (the first): the adjusted p-value is below 0.05; a model that
    is barred (`Candidate.barred`) cannot be better. Otherwise ``inconclusive``.

    Returns
    -------
    DataFrame
        ``metric, a, b, difference, low, high, low_corrected, high_corrected, p_value, p_adjusted, verdict``, a row for
        each pair: its 95 % interval by itself, and corrected for the number of pairs (Bonferroni).
    """
    same = _identical(pairs, candidates)
    p = np.where(same, 1.0, pairs.p_value)
    adjusted = holm(p, n_tests=pairs.n_all)
    # Both tests at half the level, as the interval's.
    equivalent = same | (holm(pairs.p_equivalence(equivalence), n_tests=pairs.n_all) < SIGNIFICANCE / 2)
    half, corrected = (np.where(same, 0.0, pairs.half_width(n_pairs=n)) for n in (1, max(pairs.n_all, 1)))
    score_range = score.highest - score.lowest
    first_wins = (pairs.difference > 0) == score.greater_is_better
    barred = np.array([bool(candidate.barred) for candidate in candidates])
    winner_barred = barred[np.where(first_wins, pairs.first, pairs.second)]
    differs = (adjusted < SIGNIFICANCE) & ~equivalent & ~winner_barred
    names = np.array([candidate.name for candidate in candidates], dtype=object)
    return pd.DataFrame(
        {
            "metric": score.name,
            "a": names[pairs.first],
            "b": names[pairs.second],
            "difference": pairs.difference,
            "low": np.maximum(pairs.difference - half, -score_range),
            "high": np.minimum(pairs.difference + half, score_range),
            "low_corrected": np.maximum(pairs.difference - corrected, -score_range),
            "high_corrected": np.minimum(pairs.difference + corrected, score_range),
            "p_value": p,
            "p_adjusted": adjusted,
            "verdict": np.select(
                [equivalent, differs & first_wins, differs], [EQUIVALENT, BETTER, WORSE], INCONCLUSIVE
            ),
        }
    )


def _identical(pairs: Pairs, candidates: Sequence[Candidate]) -> NDArray[np.bool_]:
    """Return which pairs predict the same probabilities for every image, shape (p,)."""
    mean = [np.mean(candidate.probabilities, axis=0) for candidate in candidates]
    alike = np.zeros(pairs.first.size, dtype=bool)
    for number in np.flatnonzero(pairs.difference == 0):
        one, other = mean[pairs.first[number]], mean[pairs.second[number]]
        alike[number] = np.allclose(one, other, rtol=0, atol=PROBABILITY_TOLERANCE)
    return alike


def p_value_best(pairs: Pairs, *, eligible: Sequence[bool], greater_is_better: bool) -> Floats:
    """Return the p-value that each candidate is the best.

    It is the smallest one-sided p-value against any other, times their number (Hsu, "Constrained simultaneous
    confidence intervals for multiple comparisons with the best", Annals of Statistics 12, 1984, by Bonferroni's
    inequality). With 95 % confidence, the best is among the candidates with a p-value of 0.05 or more.

    Parameters
    ----------
    pairs
        In which every candidate is. If they are not all pairs, p-values are too large rather than too small.
    eligible
        Shape (c,), which candidates are ranked: others are neither the best nor better than any.

    Returns
    -------
    numpy.ndarray
        Shape (c,), in 0..1; NaN if not eligible.
    """
    ranked = np.asarray(eligible, dtype=bool)
    lead = pairs.t(pairs.difference) * (1 if greater_is_better else -1)
    compared = ranked[pairs.first] & ranked[pairs.second] & np.isfinite(lead)
    smallest = np.ones(ranked.size)
    for beaten, t in ((pairs.second, lead), (pairs.first, -lead)):
        np.minimum.at(smallest, beaten[compared], pairs.upper_tail(t)[compared])
    return np.where(ranked, np.minimum(smallest * max(int(ranked.sum()) - 1, 1), 1.0), np.nan)
