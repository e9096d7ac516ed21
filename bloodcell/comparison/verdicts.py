"""Which of two models is better: differences on the same images, how sure they are, and what follows.

A score is, to first order, a sum over groups (`bloodcell.evaluation.scores.Scored.parts`). Of the difference of two
models

    variance = of the groups that were drawn: a stratified sample's, by class
             + of a group that was not: 1/2 (its difference / (effective groups + 1))^2
             + of trainings: each configuration's variance / its trainings, where configurations are compared

and interval and p-value are Student's, of the groups with Satterthwaite's degrees of freedom: Welch's t test by strata
(Biometrika 34, 1947). Of few trainings these degrees would find too many differences (up to 8 % instead of 5 % of three
trainings); so the quantiles of groups and of trainings are averaged, weighted by their variances (Cochran and Cox,
"Experimental Designs", 1957, section 4.14).

The second term is what few groups cannot show: one more group, of which a quarter goes into each cell of the table of
both models' answers (Perks, "Some observations on inverse probability", Journal of the Institute of Actuaries 73, 1947;
Agresti and Min, "Effects and non-effects of paired identical observations", Statistics in Medicine 24, 2005, add twice
as much). It differs as much as a group can with the probability 2 / (k + 1), of a kind that none of the k groups of
its class that differ has shown, for either model (Laplace's rule of succession); else as much as the group that differs
most.

Known weakness: no interval holds for every distribution (Bahadur and Savage, Annals of Mathematical Statistics 27,
1956). If one model fails rarely but then on a whole group, and the other on single images, equal models are called
different too often where no such group was drawn: in 20 % of samples of 12 groups (by a permutation test, in 30 %).

Pairs are corrected for their number after Holm ("A simple sequentially rejective multiple test procedure",
Scandinavian Journal of Statistics 6, 1979), within each metric.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from bloodcell.comparison.candidates import Candidate
from bloodcell.evaluation.intervals import FEWEST_GROUPS, Training, differences_of_groups, effective, training_of
from bloodcell.evaluation.scores import Score, Scored

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SIGNIFICANCE = 0.05
BETTER, WORSE, EQUAL, UNKNOWN = "better", "worse", "practically equal", "cannot tell"
HALVINGS = 50
"""Of the interval in which a tail probability is searched for."""
SAME = 1e-5
"""By how much probabilities may differ that are the same but for how they were computed."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """All pairs of candidates, by one score; every array has shape (p,).

    Attributes
    ----------
    first, second
        Indices of the candidates.
    difference
        The first's score less the second's; NaN where one is not defined.
    error, degrees
        Standard error of the difference, infinite where it is not known, as of fewer than five groups, and the degrees
        of freedom of the groups' part of it.
    training_degrees
        Those of the trainings' part; the groups' if it has none.
    of_groups
        The part of the error's square that more groups make smaller, in 0..1; the rest is of training.
    differing
        In how many groups the two differ.
    unseen
        The largest difference that is missed in one of twenty samples, as no group that shows it was drawn.
    """

    first: Integers
    second: Integers
    difference: Floats
    error: Floats
    degrees: Floats
    training_degrees: Floats
    of_groups: Floats
    differing: Integers
    unseen: float

    def half_width(self, *, n_pairs: int = 1) -> Floats:
        """Return half the width of each difference's 95 % interval, of so many at once (Bonferroni); NaN if none."""
        error = np.where(np.isfinite(self.error), self.error, np.nan)
        return self._quantile(SIGNIFICANCE / n_pairs / 2) * error

    @property
    def p_value(self) -> Floats:
        """Of no difference, two-sided, in 0..1.

        At least that of a sign test if all groups that differ did so in the same direction: no test of symmetry can
        have less.
        """
        p = np.nan_to_num(2 * self.tail(np.abs(self.t(self.difference))), nan=1.0)
        return np.asarray(np.maximum(p, np.minimum(2 * 0.5**self.differing, 1.0)))

    def p_equivalence(self, margin: float) -> Floats:
        """Of a difference of the margin or more: two one-sided tests (Schuirmann 1987), 1 where none can be made."""
        if self.unseen > margin:
            return np.ones(self.difference.size)
        return np.asarray(np.nan_to_num(self.tail(self.t(margin - np.abs(self.difference))), nan=1.0))

    def t(self, away: Floats) -> Floats:
        """Return so many differences over their errors, shape (p,); NaN if the error is not known."""
        with np.errstate(divide="ignore", invalid="ignore"):  # a constant score has no error
            return np.where(np.isfinite(self.error), away / self.error, np.nan)

    def tail(self, t: Floats) -> Floats:
        """Return the probability of so large a t or a larger one, shape (p,); NaN of NaN."""
        both = np.stack([stats.t.sf(t, self.degrees), stats.t.sf(t, self.training_degrees)])
        low, high = both.min(axis=0), both.max(axis=0)
        if np.array_equal(low, high, equal_nan=True):
            return np.asarray(low)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            farther = self._quantile(middle) > t
            low, high = np.where(farther, middle, low), np.where(farther, high, middle)
        return np.asarray(high)

    def _quantile(self, tail: float | Floats) -> Floats:
        """Return the t that is exceeded with a probability, by groups and trainings together."""
        of_groups, of_trainings = (stats.t.isf(tail, degrees) for degrees in (self.degrees, self.training_degrees))
        return np.asarray(of_trainings + self.of_groups * (of_groups - of_trainings))


def measure_pairs(scored: Sequence[Sequence[Scored]], *, strata: Integers, unit: float) -> Pairs:
    """Compare all pairs of candidates by one score.

    Time grows with pairs and with groups; memory with each of them, not with their product.

    Parameters
    ----------
    scored
        Of each candidate, what was measured for each of its trainings.
    strata
        Shape (g,), of the groups.
    unit
        By how much two models can differ in one group.
    """
    values = np.array([np.mean([each.value for each in several]) for several in scored])
    parts = np.stack([np.mean([each.parts for each in several], axis=0) for several in scored])
    weights = scored[0][0].weights
    pairs = np.array(list(combinations(range(len(values)), 2)), dtype=np.int64).reshape(-1, 2)
    first, second = pairs.T
    known = np.isfinite(parts).all(axis=1) & np.isfinite(values)
    variance, squares = differences_of_groups(np.nan_to_num(parts), first, second, strata=strata, weights=weights)
    own = np.nan_to_num(parts) / weights + np.nan_to_num(values)[:, None]  # each group's own score
    differing, unseen = _differing(own, strata=strata, weights=weights, unit=unit)
    variance = variance + 0.5 * unseen / (effective(weights) + 1) ** 2
    added, of_added = _of_trainings(
        training_of([[each.value for each in several] for several in scored]), first, second
    )
    total = variance + added
    degrees = np.divide(variance**2, squares, out=np.full(len(pairs), np.inf), where=squares > 0)
    defined = known[first] & known[second]
    enough = defined & (weights.size >= FEWEST_GROUPS)
    return Pairs(
        first=first,
        second=second,
        difference=np.where(defined, values[first] - values[second], np.nan),
        error=np.where(enough, np.sqrt(total), np.inf),
        degrees=degrees,
        training_degrees=np.where(added > 0, of_added, degrees),
        of_groups=np.divide(variance, total, out=np.ones(len(pairs)), where=total > 0),
        differing=differing,
        unseen=unit * unseen_share(weights),
    )


def _differing(own: Floats, *, strata: Integers, weights: Floats, unit: float) -> tuple[Integers, Floats]:
    """Return of each pair the number of groups that differ, and the mean square of the difference of one more group.

    Parameters
    ----------
    own
        Shape (candidates, g), each group's own score.
    strata, weights
        Shape (g,).
    unit
        By how much two models can differ in one group.
    """
    members = np.unique(strata)[:, None] == strata
    share = members @ weights / weights.sum()
    counts, squares = [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
    for number, each in enumerate(own[:-1], start=1):
        apart = np.abs(each - own[number:])
        inside = (apart > 1e-9) @ members.T.astype(np.int64)
        extreme = np.minimum(2 / (inside + 1), 1.0) @ share
        counts.append(inside.sum(axis=1))
        squares.append(extreme * unit**2 + (1 - extreme) * np.minimum(apart.max(axis=1), unit) ** 2)
    return np.concatenate(counts), np.concatenate(squares)


def _of_trainings(training: Training, first: Integers, second: Integers) -> tuple[Floats, Floats]:
    """Return the variance that trainings add, and its degrees of freedom, Satterthwaite's.

    A configuration that was trained once has the pooled variance of the others, each in its own part of it.
    """
    if not training.known:
        return np.zeros(first.size), np.full(first.size, np.inf)
    several = training.trainings > 1
    freedom = np.where(several, training.trainings - 1, 0)
    own = np.where(several[:, None], np.eye(several.size), freedom / freedom.sum()) / training.trainings[:, None]
    terms = ((own[first] + own[second]) * training.variance)[:, several]
    variance, squares = terms.sum(axis=1), (terms**2 / freedom[several]).sum(axis=1)
    return variance, np.divide(variance**2, squares, out=np.full(first.size, np.inf), where=squares > 0)


def unseen_share(weights: Floats) -> float:
    """Return the share of the images of which nothing is known, as no group like theirs was drawn.

    If each of the k largest groups, with the share W of all weight, differs as a whole with probability q, none does
    with probability (1 - q)^k, which is 0.05 for q = 1 - 0.05^(1/k) (Clopper and Pearson, Biometrika 26, 1934; about
    3/k: Hanley and Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 249, 1983): the largest W q.
    """
    largest = np.sort(weights)[::-1].cumsum() / weights.sum()
    return float((largest * -np.expm1(np.log(SIGNIFICANCE) / np.arange(1, weights.size + 1))).max())


def verdict_table(pairs: Pairs, *, score: Score, candidates: Sequence[Candidate], equivalence: float) -> pd.DataFrame:
    """Return the verdict of each pair.

    ``practically equal``: two one-sided tests find the difference smaller than ``equivalence``, with Holm's correction,
    or the answers are the same. Else ``better`` or ``worse``, of the first: the adjusted p-value is below 0.05; a model
    that leaks is not better than another. Else ``cannot tell``.

    Returns
    -------
    DataFrame
        ``metric, a, b, difference, low, high, low_corrected, high_corrected, p_value, p_adjusted, verdict``, a row for
        each pair: its 95 % interval by itself, and corrected for the number of pairs (Bonferroni).
    """
    same = _same_answers(pairs, candidates)
    p = np.where(same, 1.0, pairs.p_value)
    adjusted = holm(p)
    # Both tests at half the level, as the interval's.
    equal = same | (holm(pairs.p_equivalence(equivalence)) < SIGNIFICANCE / 2)
    half, corrected = (np.where(same, 0.0, pairs.half_width(n_pairs=n)) for n in (1, max(p.size, 1)))
    most = score.highest - score.lowest
    first_wins = (pairs.difference > 0) == score.greater_is_better
    leaks = np.array([bool(candidate.leak) for candidate in candidates])
    winner_leaks = leaks[np.where(first_wins, pairs.first, pairs.second)]
    differs = (adjusted < SIGNIFICANCE) & ~equal & ~winner_leaks
    names = np.array([candidate.name for candidate in candidates], dtype=object)
    return pd.DataFrame(
        {
            "metric": score.name,
            "a": names[pairs.first],
            "b": names[pairs.second],
            "difference": pairs.difference,
            "low": np.maximum(pairs.difference - half, -most),
            "high": np.minimum(pairs.difference + half, most),
            "low_corrected": np.maximum(pairs.difference - corrected, -most),
            "high_corrected": np.minimum(pairs.difference + corrected, most),
            "p_value": p,
            "p_adjusted": adjusted,
            "verdict": np.where(equal, EQUAL, np.where(differs, np.where(first_wins, BETTER, WORSE), UNKNOWN)),
        }
    )


def _same_answers(pairs: Pairs, candidates: Sequence[Candidate]) -> NDArray[np.bool_]:
    """Return which pairs say the same of every image in every training."""
    mean = [np.mean(candidate.probabilities, axis=0) for candidate in candidates]
    alike = np.zeros(pairs.first.size, dtype=bool)
    for number in np.flatnonzero(pairs.difference == 0):
        one, other = mean[pairs.first[number]], mean[pairs.second[number]]
        alike[number] = np.allclose(one, other, rtol=0, atol=SAME)
    return alike


def holm(p: Floats) -> Floats:
    """Return p-values corrected for their number, in 0..1, in the order in which they came."""
    order = np.argsort(p, kind="stable")
    raised = np.maximum.accumulate(p[order] * (p.size - np.arange(p.size)))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(raised, 1.0)
    return adjusted


def p_value_best(pairs: Pairs, *, counted: Sequence[bool], greater_is_better: bool) -> Floats:
    """Return, for each candidate, the p-value of its being the best.

    It is the smallest one-sided p-value against any other, times their number (Hsu, "Constrained simultaneous
    confidence intervals for multiple comparisons with the best", Annals of Statistics 12, 1984, by Bonferroni's
    inequality). All candidates that have 0.05 or more are, with 95 % confidence, a set with the best in it.

    Parameters
    ----------
    pairs
        Of all candidates.
    counted
        Shape (c,), whether each candidate can be the best, and others be beaten by it.
    greater_is_better
        Of the score.

    Returns
    -------
    numpy.ndarray
        Shape (c,), in 0..1; NaN of those that do not count.
    """
    counts = np.asarray(counted, dtype=bool)
    lead = pairs.t(pairs.difference) * (1 if greater_is_better else -1)
    both = counts[pairs.first] & counts[pairs.second] & np.isfinite(lead)
    smallest = np.ones(counts.size)
    for beaten, t in ((pairs.second, lead), (pairs.first, -lead)):
        np.minimum.at(smallest, beaten[both], pairs.tail(t)[both])
    return np.where(counts, np.minimum(smallest * max(int(counts.sum()) - 1, 1), 1.0), np.nan)
