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

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.comparison.candidates import Candidate
from bloodcell.evaluation.intervals import training_differences
from bloodcell.evaluation.jackknife import Spread, interval, joined, p_value, spread_of, without_skewness
from bloodcell.evaluation.scores import Answers, Score, Scored

Floats = NDArray[np.float64]

SIGNIFICANCE = 0.05
BETTER, WORSE, EQUAL, UNKNOWN = "better", "worse", "practically equal", "cannot tell"
TIE = 1e-4
"""By how much two standardised differences may differ and be the same, being computed in single precision."""
SWAPS_A_PAIR = 40
"""How many swaps there are at least for each pair, so that a difference can be found in spite of their number."""
LEAST_VARIANCE = 1e-4
"""Of a standardised difference, where all photographs differ alike."""
SAME = 1e-5
"""By how much probabilities may differ that are the same but for how they were computed."""
CHUNK_BYTES = 2**25
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
    of_photographs
        Shape (p,), the part of the variance that more photographs make smaller, in 0..1; the rest is of training.
    swaps
        The standardised differences, observed and with answers swapped.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    difference: Floats
    low: Floats
    high: Floats
    p_value: Floats
    spread: Spread
    of_photographs: Floats
    swaps: "Swaps"


@dataclass(frozen=True, kw_only=True)
class Swaps:
    """What differences come to when the answers of two models are swapped, photograph by photograph.

    Attributes
    ----------
    observed
        Shape (p,), float32, the differences in standard errors, corrected for skewness, as they are.
    swapped
        Shape (b, p), float32, with answers swapped, a row for each of b swaps; only of the first score, else empty.
    p_value
        Shape (p,), how often swapped differences are as large as the observed one, or larger.
    """

    observed: NDArray[np.float32]
    swapped: NDArray[np.float32]
    p_value: Floats


def measure_pairs(
    scored: Sequence[Sequence[Sequence[Scored]]],
    *,
    answers: Sequence[Answers],
    n_resamples: int,
    seed: int,
) -> list[Pairs]:
    """Compare all pairs of candidates by each score.

    Parameters
    ----------
    scored
        Of each score and each candidate, what was measured for each of its trainings.
    answers
        Of each candidate, those of any training.
    n_resamples
        How many swaps at least; with many pairs as many more as their number asks for, and where there are no more
        than that, all of them.
    seed
        Of the swaps.
    """
    pairs = np.array(list(combinations(range(len(answers)), 2)), dtype=np.int64).reshape(-1, 2)
    first, second = pairs.T
    shares = [
        np.nan_to_num(np.stack([np.mean([each.share for each in several], axis=0) for several in by_candidate]))
        for by_candidate in scored
    ]
    swaps = swap(
        [share[first] - share[second] for share in shares],
        n_swaps=max(n_resamples, SWAPS_A_PAIR * len(pairs)),
        seed=seed,
    )
    return [
        _measured(by_candidate, pairs, own, answers=answers) for by_candidate, own in zip(scored, swaps, strict=True)
    ]


def _measured(
    scored: Sequence[Sequence[Scored]], pairs: NDArray[np.int64], swaps: Swaps, *, answers: Sequence[Answers]
) -> Pairs:
    first, second = pairs.T
    values = np.array([np.mean([each.value for each in several]) for several in scored])
    influence = np.stack([np.mean([each.influence for each in several], axis=0) for several in scored])
    difference = values[first] - values[second]
    spread, of_photographs = _spread(scored, influence, pairs, strata=answers[0].strata)
    low, high = interval(difference, spread)
    low, high = np.minimum(low, difference), np.maximum(high, difference)
    p = swaps.p_value
    # Swapping photographs knows nothing of how trainings differ.
    p = np.where(of_photographs < 1, np.maximum(p, p_value(difference, spread)), p)
    return Pairs(
        first=first,
        second=second,
        difference=difference,
        low=low,
        high=high,
        p_value=np.where(np.isfinite(difference) & np.isfinite(spread.variance), p, 1.0),
        spread=spread,
        of_photographs=of_photographs,
        swaps=swaps,
    )


def _spread(
    scored: Sequence[Sequence[Scored]], influence: Floats, pairs: NDArray[np.int64], *, strata: NDArray[np.int64]
) -> tuple[Spread, Floats]:
    """Return the spread of differences, and what part of their variance photographs have."""
    first, second = pairs.T
    apart = influence[first] - influence[second]
    known = np.isfinite(apart).all(axis=1) & (apart.shape[1] > 1)
    strata = joined(strata, influence=np.nan_to_num(influence).sum(axis=0))
    spread = spread_of(np.nan_to_num(apart), strata, symmetric=True)
    spread = replace(spread, variance=np.where(known, spread.variance, np.inf))
    training = training_differences(scored, strata=strata)
    counts = np.array([len(several) for several in scored])
    own = np.where(counts > 1, training.variance / counts, 0.0)
    added = own[first] + own[second]
    if not added.any():
        return spread, np.ones(len(pairs))
    with np.errstate(invalid="ignore"):
        part = np.where(np.isfinite(spread.variance) & (added > 0), spread.variance / (spread.variance + added), 1.0)
    return spread.plus(variance=added, degrees=np.full(len(pairs), float(training.degrees))), part


def verdict_table(
    pairs: Pairs, *, score: Score, candidates: Sequence[Candidate], n_groups: int, equivalence: float
) -> pd.DataFrame:
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
    unseen = _unseen(pairs, candidates, score=score, n_groups=n_groups)
    low, high = np.maximum(pairs.low - unseen, -most), np.minimum(pairs.high + unseen, most)
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


def chance_to_be_best(pairs: Pairs, *, counted: Sequence[bool], greater_is_better: bool) -> Floats:
    """Return, for each candidate, how surprising it would be to find others so much better if it were the best.

    If a candidate is the best in truth, no other is better, and the largest difference to any of them is due to chance.
    Its p-value is how often swaps make the largest as large. All that have 0.05 or more are then, with 95 %
    confidence, a set with the best in it, whatever their number (Hsu, "Constrained simultaneous confidence intervals
    for multiple comparisons with the best", Annals of Statistics 12, 1984). Where trainings differ, of which swaps know
    nothing, it is at least the smallest one-sided p-value times the number of the others (Bonferroni).

    Parameters
    ----------
    pairs
        Of all candidates, with their swaps.
    counted
        Shape (c,), whether each candidate can be the best, and others be beaten by it.
    greater_is_better
        Of the score.

    Returns
    -------
    numpy.ndarray
        Shape (c,), in 0..1; NaN of those that do not count.
    """
    sign = 1.0 if greater_is_better else -1.0
    counts = np.asarray(counted, dtype=bool)
    both = counts[pairs.first] & counts[pairs.second]
    chances = np.full(counts.size, np.nan)
    for candidate in np.flatnonzero(counts):
        ahead = np.where(pairs.second == candidate, sign, np.where(pairs.first == candidate, -sign, 0.0))
        own = np.flatnonzero(both & (ahead != 0))
        chances[candidate] = 1.0
        if own.size:
            direction = ahead[own].astype(np.float32)
            largest = (pairs.swaps.observed[own] * direction).max()
            swapped = (pairs.swaps.swapped[:, own] * direction).max(axis=1)
            chance = ((swapped >= largest - TIE).sum() + 1) / (len(swapped) + 1)
            if (pairs.of_photographs[own] < 1).any():
                beaten = pairs.difference[own] * ahead[own] > 0
                one_sided = np.where(beaten, pairs.p_value[own] / 2, 1.0)
                chance = max(chance, min(one_sided.min() * own.size, 1.0))
            chances[candidate] = chance
    return chances


def swap(apart: Sequence[Floats], *, n_swaps: int, seed: int) -> list[Swaps]:
    """Swap the answers of pairs, each time of every photograph or not by chance.

    Parameters
    ----------
    apart
        Of each score, shape (p, g), what each of g photographs adds to the difference of each of p pairs.
    n_swaps
        How many times; where there are no more ways than that, each way.
    seed
        Of chance.

    Returns
    -------
    list of Swaps
        Of each score; the first's have all swapped differences.
    """
    n_pairs, n_groups = apart[0].shape
    exact = n_groups < 31 and 2**n_groups <= n_swaps
    total = 2**n_groups if exact else n_swaps
    parts = np.concatenate([_of_length_one(each) for each in apart])
    both = np.concatenate([parts, parts**3]).astype(np.float32).T
    observed = _standardised(np.ones((1, n_groups), dtype=np.float32) @ both, n_groups)[0]
    rng = np.random.default_rng(seed)
    rows = max(1, min(total, CHUNK_BYTES // (4 * max(n_groups, both.shape[1], 1))))
    counts = np.zeros(len(parts), dtype=np.int64)
    kept = []
    for start in range(0, total, rows):
        n = min(rows, total - start)
        is_swapped = _each_way(start, n, n_groups) if exact else _coins(rng, n, n_groups)
        standardised = _standardised((1 - 2 * is_swapped.astype(np.float32)) @ both, n_groups)
        counts += (np.abs(standardised) >= np.abs(observed) - TIE * (1 + np.abs(observed))).sum(axis=0)
        kept.append(standardised[:, :n_pairs])
    # Of all ways, one is as it is and one its mirror image; of swaps at random, what was found is one more (Phipson and
    # Smyth, "Permutation p-values should never be zero", Statistical Applications in Genetics and Molecular Biology 9,
    # 2010).
    p = np.maximum(counts, 2) / total if exact else (counts + 1) / (total + 1)
    empty = np.empty((0, n_pairs), dtype=np.float32)
    return [
        Swaps(
            observed=observed[start : start + n_pairs],
            swapped=empty if start else np.concatenate(kept),
            p_value=np.minimum(p[start : start + n_pairs], 1.0),
        )
        for start in range(0, len(parts), n_pairs)
    ]


def _each_way(start: int, n: int, n_groups: int) -> NDArray[np.uint8]:
    """Return some of all rows of so many zeros and ones, shape (n, n_groups); row 0 swaps nothing."""
    return (np.arange(start, start + n)[:, None] >> np.arange(n_groups) & 1).astype(np.uint8)


def _coins(rng: np.random.Generator, n: int, n_groups: int) -> NDArray[np.uint8]:
    """Return zeros and ones by chance, shape (n, n_groups), the same for a seed whatever rows are drawn together."""
    width = 4 * -(-n_groups // 32)  # in bytes: whole words of the generator
    drawn = np.frombuffer(rng.bytes(n * width), dtype=np.uint8).reshape(n, width)
    return np.asarray(np.unpackbits(drawn, axis=1, count=n_groups), dtype=np.uint8)


def _of_length_one(apart: Floats) -> Floats:
    length = np.sqrt((apart**2).sum(axis=1, keepdims=True))
    return np.asarray(np.divide(apart, length, out=np.zeros_like(apart), where=length > 0))


def _standardised(both: NDArray[np.float32], n_groups: int) -> NDArray[np.float32]:
    """Return differences in their standard errors, corrected for skewness.

    Parameters
    ----------
    both
        Shape (..., 2 p), sums over photographs of the p differences' parts, whose squares sum to 1, then of the parts'
        third powers.
    n_groups
        How many photographs there are.
    """
    sums, cubes = np.split(both, 2, axis=-1)
    mean = sums / n_groups
    variance = np.maximum(1 - sums * mean, LEAST_VARIANCE)
    skewness = (cubes - 3 * mean + 2 * n_groups * mean**3) / variance**1.5
    most = max(n_groups - 2, 0) / max(n_groups - 1, 1) ** 0.5  # that so many numbers can have
    return np.asarray(without_skewness(sums / np.sqrt(variance), np.clip(skewness, -most, most)), dtype=np.float32)


def _unseen(pairs: Pairs, candidates: Sequence[Candidate], *, score: Score, n_groups: int) -> Floats:
    """Return by how much pairs may differ that differ in nothing that was scored, though not in all that they say.

    Of n photographs none was told right by one only: as many as 1 - 0.025 to the power of 1 / n may be (Clopper and
    Pearson, 1934). Of scores that are no shares nothing of the kind is known.
    """
    bound = np.zeros(len(pairs.first))
    if score.is_share:
        for number in np.flatnonzero(pairs.spread.variance < SAME**2):
            one, other = (candidates[index[number]].probabilities[0] for index in (pairs.first, pairs.second))
            if not np.allclose(one, other, rtol=0, atol=SAME):
                bound[number] = 1 - (SIGNIFICANCE / 2) ** (1 / n_groups)
    return bound
