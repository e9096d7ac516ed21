"""Shift between splits: whether two splits show different images of the same classes.

Both tests compare sources within classes, so different class frequencies do not count as a shift.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from bloodcell.audit.finding import SIGNIFICANCE, Finding, Numbers, Picture, records
from bloodcell.audit.permutation import Array, auroc_within, out_of_fold, p_value, shuffles
from bloodcell.audit.sources import SourceTable
from bloodcell.cells.measurements import PROPERTIES
from bloodcell.data.leaks import SPLIT_NAMES
from bloodcell.evaluation.multiple_testing import holm
from bloodcell.plots.audit import drift as drift_figure

MIN_EFFECT = 0.3
"""Smallest difference that is reported, in standard deviations between sources: small after Cohen (1988)."""

MIN_AUROC = 0.6
MIN_GROUPS = 10
"""Groups that each split needs for the comparison."""

FOLDS = 5


@dataclass(frozen=True)
class _Comparison:
    """The sources of two splits, in classes that both have; ``in_second`` is of shape (n,), bool."""

    sources: SourceTable
    in_second: NDArray[np.bool_]
    splits: tuple[str, str]
    n_permutations: int
    seed: int

    @property
    def names(self) -> tuple[str, str]:
        return SPLIT_NAMES[self.splits[0]], SPLIT_NAMES[self.splits[1]]

    @property
    def numbers(self) -> Numbers:
        return {"sides": ", ".join(self.names), "photographs": len(self.sources)}


def shift(sources: SourceTable, *, splits: Sequence[str], n_permutations: int, seed: int) -> list[Finding]:
    """Compare each two splits by a classifier that predicts the split, and by single properties.

    Sources in both splits are left out. The classifier two-sample test is that of Lopez-Paz and Oquab (2017), with
    AUROC as its statistic.
    """
    found = []
    for one, other in combinations(splits, 2):
        both = _common_classes(sources.where(np.isin(sources.splits, [one, other])))
        comparison = _Comparison(both, both.splits == other, (one, other), n_permutations, seed)
        if min(np.unique(both.groups[both.splits == split]).size for split in (one, other)) < MIN_GROUPS:
            found.append(_not_compared(comparison))
        else:
            found += [_classifier_test(comparison), _drift(comparison)]
    return found


def _common_classes(sources: SourceTable) -> SourceTable:
    splits = np.unique(sources.splits)
    common = set(sources.labels).intersection(*(sources.labels[sources.splits == split] for split in splits))
    return sources.where(np.isin(sources.labels, sorted(common)))


def _not_compared(comparison: _Comparison) -> Finding:
    one, other = comparison.names
    return Finding(
        code="splits-not-compared",
        severity="note",
        what=f"{one.capitalize()} and {other} are not compared: each needs at least {MIN_GROUPS} independent "
        "photographs that the other does not have.",
        numbers={
            f"{split}_photographs": int((comparison.sources.splits == split).sum()) for split in comparison.splits
        },
    )


def _classifier_test(comparison: _Comparison) -> Finding:
    sources, in_second, seed = comparison.sources, comparison.in_second, comparison.seed
    features = np.hstack([sources.properties, sources.cells])
    matrix = out_of_fold(features, groups=sources.groups, folds=FOLDS, seed=seed, strata=sources.labels)

    def statistic(targets: NDArray[np.bool_]) -> float:
        return auroc_within(matrix @ targets.astype(np.float64), targets, sources.labels)

    observed = statistic(in_second)
    n = comparison.n_permutations
    orders = shuffles(sources.labels, groups=sources.groups, values=in_second, n=n, seed=seed)
    p = p_value(observed, np.array([statistic(in_second[order]) for order in orders]))
    differ = p <= SIGNIFICANCE and observed >= MIN_AUROC
    one, other = comparison.names
    found = "A classifier can separate" if differ else "There is no evidence that a classifier can separate"
    if p <= SIGNIFICANCE and not differ:
        found = "A classifier can separate a little"
    limits = f"reported from AUROC {MIN_AUROC} with p at most {SIGNIFICANCE}"
    return Finding(
        code="splits-differ",
        severity="warning" if differ else "clear",
        what=f"{found} photographs of {one} and {other} within classes (AUROC {observed:.2f}, p = {p:.3f}, "
        f"{len(sources)} photographs{'' if differ else f'; {limits}'}).",
        numbers=comparison.numbers
        | {"auroc": round(observed, 4), "p_value": round(p, 4), "n_permutations": comparison.n_permutations},
        advice=f"See the finding drift for the properties that differ. Metrics on {other} are for images unlike the "
        f"{one} images."
        if differ
        else "",
    )


def _drift(comparison: _Comparison) -> Finding:
    sources, in_second = comparison.sources, comparison.in_second
    values = _within_classes(sources.properties, sources.labels)
    spread = values.std(axis=0)
    standard = values / np.where(spread > 1e-9, spread, 1.0)
    observed = _contrast(in_second, sources.labels) @ standard
    n, seed = comparison.n_permutations, comparison.seed + 1
    orders = shuffles(sources.labels, groups=sources.groups, values=in_second, n=n, seed=seed)
    shuffled = np.array([_contrast(in_second[order], sources.labels) @ standard for order in orders])
    p_values = np.array([p_value(abs(value), abs(column)) for value, column in zip(observed, shuffled.T, strict=True)])
    adjusted = holm(p_values)
    one, other = comparison.splits
    table = pd.DataFrame(
        {
            "property": PROPERTIES,
            f"mean_{one}": [_mean(column, ~in_second, sources.labels) for column in sources.properties.T],
            f"mean_{other}": [_mean(column, in_second, sources.labels) for column in sources.properties.T],
            "difference_in_sd": observed,
            "p_value": p_values,
            "p_adjusted": adjusted,
        }
    )
    drifted = table[(adjusted <= SIGNIFICANCE) & (abs(observed) >= MIN_EFFECT)]
    first, second = comparison.names
    detectable = detectable_difference(*(np.unique(sources.groups[side]).size for side in (in_second, ~in_second)))
    listed = ", ".join(
        f"{row.property} ({row.difference_in_sd:+.1f} SD, adjusted p = {row.p_adjusted:.3f})"
        for row in drifted.itertuples()
    )
    return Finding(
        code="drift",
        severity="clear" if drifted.empty else "warning",
        what=f"No difference of {first} and {second} is reported in {len(PROPERTIES)} properties: the smallest "
        f"adjusted p is {adjusted.min():.3f}, the largest difference {abs(observed).max():.2f} SD (reported from "
        f"{MIN_EFFECT} SD with p at most {SIGNIFICANCE}). A difference of {detectable:.1f} SD would be found in 80 % "
        "of such sets."
        if drifted.empty
        else f"Photographs of {second} differ from those of {first} in {listed}.",
        numbers=comparison.numbers
        | {
            "smallest_p_adjusted": round(float(adjusted.min()), 4),
            "largest_difference_in_sd": round(float(abs(observed).max()), 3),
            "detectable_difference_in_sd": round(detectable, 3),
        }
        | ({} if drifted.empty else {"properties": ", ".join(drifted["property"])}),
        advice=""
        if drifted.empty
        else f"Find out how the {second} images were made. Augment training to cover the difference, or take both "
        "splits from one collection.",
        rows=records(table.round(4)),
        pictures=[
            Picture(
                name=f"drift_{one}_{other}",
                figure=drift_figure(
                    sources.properties,
                    in_second,
                    properties=PROPERTIES,
                    p_adjusted=adjusted,
                    splits=comparison.names,
                ),
                caption=f"Each property in {first} and {second}: one dot for each photograph, a line at the median",
            )
        ],
    )


def detectable_difference(n_first: int, n_second: int) -> float:
    """Return the difference of means, in standard deviations, that a test finds with a probability of 80 %.

    Of two groups of these sizes, two-sided, at `SIGNIFICANCE` by Bonferroni over `PROPERTIES` (Cohen 1988).
    """
    quantiles = float(norm.isf(SIGNIFICANCE / len(PROPERTIES) / 2) + norm.isf(0.2))
    return float(quantiles * (1 / n_first + 1 / n_second) ** 0.5)


def _within_classes(values: Array, labels: NDArray[np.str_]) -> Array:
    """Subtract each class's mean."""
    return np.asarray(values - pd.DataFrame(values).groupby(labels).transform("mean").to_numpy())


def _contrast(in_second: NDArray[np.bool_], labels: NDArray[np.str_]) -> Array:
    """Return weights whose product with values is the difference of the splits' means within classes, shape (n,).

    A class with n and m sources has the weight n m / (n + m), as in a two-way layout.
    """
    weights = np.zeros(len(in_second))
    total = 0.0
    for label in np.unique(labels):
        inside = labels == label
        n_second, n_first = int((inside & in_second).sum()), int((inside & ~in_second).sum())
        share = n_second * n_first / (n_second + n_first)
        weights[inside & in_second] = share / n_second
        weights[inside & ~in_second] = -share / n_first
        total += share
    return weights / total


def _mean(values: Array, chosen: NDArray[np.bool_], labels: NDArray[np.str_]) -> float:
    """Return the mean of the classes' means."""
    return float(np.mean([values[chosen & (labels == label)].mean() for label in np.unique(labels)]))
