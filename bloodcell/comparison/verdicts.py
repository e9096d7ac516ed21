"""Which of two models is better: differences on the same photographs, how sure they are, and what is to be said.

A pair's p-value is that of a permutation test: photograph by photograph the two models' answers are swapped, all of a
photograph's images at once, as they are not independent (Pesarin and Salmaso, "Permutation Tests for Complex Data",
2010; for one image each it is McNemar's exact test). What is compared is the difference in standard errors, corrected
for its skewness as intervals are (see `bloodcell.evaluation.jackknife`): swapping makes every distribution symmetric,
and a model that is wrong of whole photographs differs askew from one that errs here and there.

Pairs are corrected for their number after Holm ("A simple sequentially rejective multiple test procedure",
Scandinavian Journal of Statistics 6, 1979), within each metric.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.comparison.candidates import Candidate
from bloodcell.evaluation.intervals import strata_of, training_variance
from bloodcell.evaluation.jackknife import Spread, interval, joined, p_value, spread_of, without_skewness
from bloodcell.evaluation.scores import Answers, Score, Scored

Floats = NDArray[np.float64]

SIGNIFICANCE = 0.05
BETTER, WORSE, EQUAL, UNKNOWN = "better", "worse", "practically equal", "cannot tell"
TIE = 1e-4
"""By how much two standardised differences may differ and be the same, being computed in single precision."""
SAME = 1e-5
"""By how much probabilities may differ that are the same but for how they were computed."""
CHUNK_BYTES = 2**27
"""About how much memory the swaps take at a time."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """All pairs of candidates, by one score.

    Attributes
    ----------
    first, second
        Shape (p,), indices of the candidates.
    difference
        Shape (p,), the first's score less the second's; NaN where one is not defined.
    low, high
        Shape (p,), the ends of its 95 % interval.
    p_value
        Shape (p,), of no difference, in 0..1.
    spread
        Of the differences.
    observed
        Shape (p,), the standardised differences, above 0 where the first's score is higher.
    swapped
        Shape (b, p), the same with answers swapped, a row for each of b swaps; empty if it was not asked for.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    difference: Floats
    low: Floats
    high: Floats
    p_value: Floats
    spread: Spread
    observed: Floats
    swapped: NDArray[np.float32]

    def among(self, candidates: Sequence[int]) -> "Pairs":
        """Return the pairs of some candidates, which are numbered anew, in the order that is given."""
        chosen = np.isin(self.first, candidates) & np.isin(self.second, candidates)
        number = np.zeros(max(candidates, default=0) + 1, dtype=np.int64)
        number[list(candidates)] = np.arange(len(candidates))
        return replace(
            self,
            first=number[self.first[chosen]],
            second=number[self.second[chosen]],
            observed=self.observed[chosen],
            swapped=self.swapped[:, chosen],
            **{name: getattr(self, name)[chosen] for name in ("difference", "low", "high", "p_value")},
            spread=Spread(**{name: values[chosen] for name, values in vars(self.spread).items()}),
        )


def measure_pairs(
    scored: Sequence[Sequence[Scored]],
    *,
    answers: Sequence[Answers],
    n_resamples: int,
    seed: int,
    keep_swapped: bool = False,
) -> Pairs:
    """Compare all pairs of candidates by one score.

    Parameters
    ----------
    scored
        Of each candidate, what was measured for each of its trainings.
    answers
        Of each candidate, those of any training.
    n_resamples
        How many swaps; where there are no more than that, all of them.
    seed
        Of the swaps.
    keep_swapped
        Whether to keep the differences with answers swapped.
    """
    pairs = np.array(list(combinations(range(len(scored)), 2)), dtype=np.int64).reshape(-1, 2)
    first, second = pairs.T
    values = np.array([np.mean([each.value for each in several]) for several in scored])
    influence = np.stack([np.mean([each.influence for each in several], axis=0) for several in scored])
    share = np.stack([np.mean([each.share for each in several], axis=0) for several in scored])
    difference = values[first] - values[second]
    apart = influence[first] - influence[second]
    strata = joined(strata_of(answers[0]), influence=influence.sum(axis=0))
    spread = spread_of(apart, strata, symmetric=True) if apart.shape[1] > 1 else _unknown(len(pairs))
    of_photographs = spread.variance
    trained = [training_variance(several, strata=strata) for several in scored]
    if any(len(several) > 1 for several in scored):
        for side in (first, second):
            spread = spread.plus(
                variance=np.array([trained[index]["variance"] for index in side]),
                degrees=np.array([trained[index]["degrees"] for index in side]),
            )
    low, high = interval(difference, spread)
    low, high = np.minimum(low, difference), np.maximum(high, difference)
    low, high = _where_nothing_varies(low, high, pairs=pairs, spread=spread, answers=answers)
    with np.errstate(divide="ignore", invalid="ignore"):
        known = np.sqrt(np.where(spread.variance > 0, of_photographs / spread.variance, 1.0))
    share = np.nan_to_num(share)
    p, observed, swapped = _swap(
        share[first] - share[second], known, n_resamples=n_resamples, seed=seed, keep=keep_swapped
    )
    # Swapping photographs knows nothing of how trainings differ, and less of it the fewer there are.
    p = np.where(known < 1, np.maximum(p, p_value(difference, spread)), p)
    return Pairs(
        first=first,
        second=second,
        difference=difference,
        low=low,
        high=high,
        p_value=np.where(np.isfinite(difference), p, 1.0),
        spread=spread,
        observed=observed,
        swapped=swapped,
    )


def verdict_table(pairs: Pairs, *, score: Score, candidates: Sequence[Candidate], equivalence: float) -> pd.DataFrame:
    """Say of each pair what can be said.

    ``practically equal``: the interval is within the region of practical equivalence (two one-sided tests at 2.5 %
    each: Schuirmann, "A comparison of the two one-sided tests procedure", Journal of Pharmacokinetics and
    Biopharmaceutics 15, 1987), also with Holm's correction. Else ``better`` or ``worse``, of the first: the adjusted
    p-value is below 0.05 and the interval is without zero; a model that leaks is not better than another. Else
    ``cannot tell``.

    Returns
    -------
    DataFrame
        ``metric, a, b, difference, low, high, p_value, p_adjusted, verdict``, a row for each pair.
    """
    adjusted = holm(pairs.p_value)
    nearest = np.stack([p_value(pairs.difference + side * equivalence, pairs.spread) for side in (-1, 1)]).max(axis=0)
    most = score.highest - score.lowest
    low, high = np.maximum(pairs.low, -most), np.minimum(pairs.high, most)
    within = (low >= -equivalence) & (high <= equivalence)
    equal = within & (holm(np.where(within, nearest, 1.0)) < SIGNIFICANCE)
    differs = (adjusted < SIGNIFICANCE) & ((low > 0) | (high < 0)) & ~equal
    first_wins = (pairs.difference > 0) == score.greater_is_better
    leaks = np.array([bool(candidate.leak) for candidate in candidates])
    winner_leaks = leaks[np.where(first_wins, pairs.first, pairs.second)]
    names = np.array([candidate.name for candidate in candidates], dtype=object)
    return pd.DataFrame(
        {
            "metric": score.name,
            "a": names[pairs.first],
            "b": names[pairs.second],
            "difference": pairs.difference,
            "low": low,
            "high": high,
            "p_value": pairs.p_value,
            "p_adjusted": adjusted,
            "verdict": np.where(
                equal, EQUAL, np.where(differs & ~winner_leaks, np.where(first_wins, BETTER, WORSE), UNKNOWN)
            ),
        }
    )


def holm(p: Floats) -> Floats:
    """Return p-values corrected for their number, in 0..1, in the order in which they came."""
    order = np.argsort(p, kind="stable")
    raised = np.maximum.accumulate(p[order] * (p.size - np.arange(p.size)))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(raised, 1.0)
    return adjusted


def chance_to_be_best(pairs: Pairs, *, n_candidates: int, greater_is_better: bool) -> Floats:
    """Return, for each candidate, how surprising it would be to find others so much better if it were the best.

    If a candidate is the best in truth, no other is better, and the largest difference to any of them is due to chance.
    Its p-value is how often swaps make the largest as large. All that have 0.05 or more are then, with 95 %
    confidence, a set with the best in it, whatever their number (Hsu, "Constrained simultaneous confidence intervals
    for multiple comparisons with the best", Annals of Statistics 12, 1984).

    Returns
    -------
    numpy.ndarray
        Shape (c,), in 0..1.
    """
    sign = 1.0 if greater_is_better else -1.0
    chances = np.ones(n_candidates)
    for candidate in range(n_candidates):
        ahead = np.where(pairs.second == candidate, sign, np.where(pairs.first == candidate, -sign, 0.0))
        own = np.flatnonzero(ahead)
        if own.size:
            observed = (pairs.observed[own] * ahead[own]).max()
            swapped = (pairs.swapped[:, own] * ahead[own].astype(np.float32)).max(axis=1)
            chances[candidate] = _share_as_large(int((swapped >= observed - TIE).sum()), len(swapped), exact=False)
    return chances


def _swap(
    apart: Floats, known: Floats, *, n_resamples: int, seed: int, keep: bool
) -> tuple[Floats, Floats, NDArray[np.float32]]:
    """Swap answers and return the p-values, the standardised differences, and those with answers swapped."""
    n_groups = apart.shape[1]
    length = np.sqrt((apart**2).sum(axis=1, keepdims=True))
    even = np.divide(apart, length, out=np.zeros_like(apart), where=length > 0)
    observed = _standardised(even.sum(axis=1), (even**3).sum(axis=1), n_groups) * known
    both = np.concatenate([even, even**3]).astype(np.float32).T
    exact = 2**n_groups <= n_resamples if n_groups < 31 else False
    n_swaps = 2**n_groups if exact else n_resamples
    rng = np.random.default_rng(seed)
    rows = max(1, min(n_swaps, CHUNK_BYTES // (4 * max(n_groups, both.shape[1], 1))))
    counts = np.zeros(len(apart), dtype=np.int64)
    kept = []
    for start in range(0, n_swaps, rows):
        n = min(rows, n_swaps - start)
        bits = (
            (np.arange(start, start + n)[:, None] >> np.arange(n_groups)) & 1
            if exact
            else rng.integers(0, 2, size=(n, n_groups), dtype=np.int8)
        )
        sums = (1 - 2 * bits.astype(np.float32)) @ both
        swapped = _standardised(sums[:, : len(apart)], sums[:, len(apart) :], n_groups)
        counts += (np.abs(swapped) >= np.abs(observed) - TIE).sum(axis=0)
        if keep:
            kept.append(swapped)
    empty = np.empty((0, len(apart)), dtype=np.float32)
    return _share_as_large(counts, n_swaps, exact=exact), observed, np.concatenate(kept) if keep else empty


def _standardised(sums: NDArray[Any], cubes: NDArray[Any], n_groups: int) -> Any:
    """Return sums of parts, whose squares sum to 1, in their standard errors, corrected for skewness.

    Parameters
    ----------
    sums, cubes
        Of the parts and of their third powers.
    n_groups
        How many parts there are.
    """
    mean = sums / n_groups
    variance = np.maximum(1 - sums * mean, 1e-6)
    skewness = (cubes - 3 * mean + 2 * n_groups * mean**3) / variance**1.5
    return without_skewness(sums / np.sqrt(variance), skewness)


def _share_as_large(count: "NDArray[np.int64] | int", n_swaps: int, *, exact: bool) -> Floats:
    # Of swaps at random, what was found is one more (Phipson and Smyth, "Permutation p-values should never be zero",
    # Statistical Applications in Genetics and Molecular Biology 9, 2010).
    return np.asarray(count / n_swaps if exact else (np.asarray(count) + 1) / (n_swaps + 1))


def _unknown(n_pairs: int) -> Spread:
    """Return the spread of differences on one photograph, of which nothing is known."""
    return Spread(variance=np.full(n_pairs, np.inf), skewness=np.zeros(n_pairs), degrees=np.full(n_pairs, 2.0))


def _where_nothing_varies(
    low: Floats, high: Floats, *, pairs: NDArray[np.int64], spread: Spread, answers: Sequence[Answers]
) -> tuple[Floats, Floats]:
    """Widen the intervals of pairs that differ in nothing that was scored, though not in all that they say.

    Of n photographs none was told right by one only: as many as 1 - 0.025 to the power of 1 / n may be (Clopper and
    Pearson, 1934).
    """
    bound = 1 - (SIGNIFICANCE / 2) ** (1 / answers[0].n_groups)
    for number in np.flatnonzero(spread.variance == 0):
        one, other = (answers[index].probabilities for index in pairs[number])
        if not np.allclose(one, other, rtol=0, atol=SAME):
            low[number], high[number] = low[number] - bound, high[number] + bound
    return low, high
