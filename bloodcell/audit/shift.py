"""Whether two sides of a split differ in kind, so that a model meets other images than it was trained on.

Both tests compare photographs within classes, so that other shares of the classes are no difference in kind.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.audit.finding import Finding, Picture, records
from bloodcell.audit.permutation import Array, auroc_within, out_of_fold, p_value, shuffles
from bloodcell.audit.sources import Photographs
from bloodcell.cells.measurements import PROPERTIES
from bloodcell.data.leaks import SPLIT_NAMES
from bloodcell.evaluation.multiple_testing import holm
from bloodcell.plots.audit import drift as drift_picture

SIGNIFICANT = 0.01
LEAST_EFFECT = 0.3
"""Standard deviations between photographs that a property must differ by to matter, small after Cohen (1988)."""

LEAST_AUROC = 0.6
FEWEST = 10
"""Photographs that a side needs for its kind to be compared."""

FOLDS = 5


def differences(photographs: Photographs, *, sides: Sequence[str], n_permutations: int, seed: int) -> list[Finding]:
    """Compare each two sides by single properties and by a classifier that tries to tell them apart.

    ``sides`` are those of the set, of ``train``, ``val`` and ``test``; photographs on both of two are left out. The
    classifier two-sample test is that of Lopez-Paz and Oquab (2017), with AUROC as its statistic.
    """
    found = []
    for one, other in combinations(sides, 2):
        both = _comparable(photographs.part(np.isin(photographs.splits, [one, other])))
        there = both.splits == other
        if min(np.unique(both.groups[side]).size for side in (there, ~there)) < FEWEST:
            found.append(_too_few(one, other, both))
            continue
        found.append(_told_apart(both, there, one, other, n_permutations=n_permutations, seed=seed))
        found.append(_drift(both, there, one, other, n_permutations=n_permutations, seed=seed))
    return found


def _comparable(photographs: Photographs) -> Photographs:
    """Leave out classes that are on one side only."""
    sides = np.unique(photographs.splits)
    common = set(photographs.labels).intersection(*(photographs.labels[photographs.splits == side] for side in sides))
    return photographs.part(np.isin(photographs.labels, sorted(common)))


def _too_few(one: str, other: str, both: Photographs) -> Finding:
    return Finding(
        code="splits-not-compared",
        severity="note",
        what=f"{SPLIT_NAMES[one].capitalize()} and {SPLIT_NAMES[other]} have too few photographs apart from each "
        "other to say whether they differ in kind.",
        numbers={f"{side}_photographs": int((both.splits == side).sum()) for side in (one, other)},
    )


def _told_apart(
    both: Photographs, there: NDArray[np.bool_], one: str, other: str, *, n_permutations: int, seed: int
) -> Finding:
    features = np.hstack([both.properties, both.cells])
    matrix = out_of_fold(features, groups=both.groups, folds=FOLDS, seed=seed, strata=both.labels)

    def measure(sides: NDArray[np.bool_]) -> float:
        return auroc_within(matrix @ sides.astype(np.float64), sides, both.labels)

    observed = measure(there)
    orders = shuffles(both.labels, groups=both.groups, values=there, n=n_permutations, seed=seed)
    shuffled = np.array([measure(there[order]) for order in orders])
    p = p_value(observed, shuffled)
    differ = p <= SIGNIFICANT and observed >= LEAST_AUROC
    names = f"{SPLIT_NAMES[one]} and {SPLIT_NAMES[other]}"
    said = f"AUROC {observed:.2f}, p = {p:.3f}, {len(both)} photographs"
    return Finding(
        code="splits-differ",
        severity="warning" if differ else "clear",
        what=f"A classifier tells photographs of {names} apart within their classes ({said}): they differ in kind."
        if differ
        else f"A classifier cannot tell photographs of {names} apart within their classes ({said}).",
        numbers={
            "sides": f"{SPLIT_NAMES[one]}, {SPLIT_NAMES[other]}",
            "auroc": round(observed, 4),
            "p_value": round(p, 4),
            "photographs": len(both),
            "n_permutations": n_permutations,
        },
        advice=f"See below in which property; figures on {SPLIT_NAMES[other]} are for another kind of image than was "
        "trained on."
        if differ
        else "",
    )


def _drift(
    both: Photographs, there: NDArray[np.bool_], one: str, other: str, *, n_permutations: int, seed: int
) -> Finding:
    values = _within_classes(both.properties, both.labels)
    spread = values.std(axis=0)
    standard = values / np.where(spread > 1e-9, spread, 1.0)
    weights = _contrast(there, both.labels)
    observed = weights @ standard
    orders = shuffles(both.labels, groups=both.groups, values=there, n=n_permutations, seed=seed + 1)
    shuffled = np.array([_contrast(there[order], both.labels) @ standard for order in orders])
    p_values = np.array([p_value(abs(value), abs(column)) for value, column in zip(observed, shuffled.T, strict=True)])
    adjusted = holm(p_values)
    table = pd.DataFrame(
        {
            "property": PROPERTIES,
            f"mean_{one}": [_mean(column, ~there, both.labels) for column in both.properties.T],
            f"mean_{other}": [_mean(column, there, both.labels) for column in both.properties.T],
            "difference_in_sd": observed,
            "p_value": p_values,
            "p_adjusted": adjusted,
        }
    )
    drifted = table[(adjusted <= SIGNIFICANT) & (abs(observed) >= LEAST_EFFECT)]
    names = f"{SPLIT_NAMES[one]} and {SPLIT_NAMES[other]}"
    rows = records(table.round(4))
    picture = Picture(
        name=f"drift_{one}_{other}",
        figure=drift_picture(
            both.properties,
            there,
            properties=PROPERTIES,
            p_adjusted=adjusted,
            sides=(SPLIT_NAMES[one], SPLIT_NAMES[other]),
        ),
        shows=f"How {names} are distributed in each property, one value per photograph",
    )
    numbers: dict[str, float | int | str] = {
        "sides": f"{SPLIT_NAMES[one]}, {SPLIT_NAMES[other]}",
        "photographs": len(both),
        "smallest_p_adjusted": round(float(adjusted.min()), 4),
        "largest_difference_in_sd": round(float(abs(observed).max()), 3),
    }
    if drifted.empty:
        return Finding(
            code="drift",
            severity="clear",
            what=f"In none of {len(PROPERTIES)} properties do photographs of {names} differ "
            f"(smallest adjusted p = {adjusted.min():.3f}).",
            numbers=numbers,
            rows=rows,
            pictures=[picture],
        )
    listed = ", ".join(
        f"{row.property} ({row.difference_in_sd:+.1f} sd, p = {row.p_adjusted:.3f})" for row in drifted.itertuples()
    )
    return Finding(
        code="drift",
        severity="warning",
        what=f"Photographs of {SPLIT_NAMES[other]} differ from those of {SPLIT_NAMES[one]} in {listed}.",
        numbers=numbers | {"properties": ", ".join(drifted["property"])},
        advice=f"Find out how the images of {SPLIT_NAMES[other]} were made; augment training over the difference, or "
        "take both from one source.",
        rows=rows,
        pictures=[picture],
    )


def _within_classes(values: Array, labels: NDArray[np.str_]) -> Array:
    """Take each class's mean away."""
    return np.asarray(values - pd.DataFrame(values).groupby(labels).transform("mean").to_numpy())


def _contrast(there: NDArray[np.bool_], labels: NDArray[np.str_]) -> Array:
    """Return weights whose product with values is the difference of the sides' means within classes.

    Classes count by how much they say: n m / (n + m) of n and m photographs, the weights of a two-way layout.
    """
    weights = np.zeros(len(there))
    total = 0.0
    for label in np.unique(labels):
        inside = labels == label
        n_there, n_here = int((inside & there).sum()), int((inside & ~there).sum())
        share = n_there * n_here / (n_there + n_here)
        weights[inside & there] = share / n_there
        weights[inside & ~there] = -share / n_here
        total += share
    return weights / total


def _mean(values: Array, side: NDArray[np.bool_], labels: NDArray[np.str_]) -> float:
    """Return a side's mean with every class counting the same."""
    return float(np.mean([values[side & (labels == label)].mean() for label in np.unique(labels)]))
