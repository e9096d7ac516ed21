"""Permutation tests of groups, not images: copies of a photograph, or photographs of a slide, are one observation.

A p-value is (b + 1) / (m + 1) for b of m permutations at least as extreme as the data (Phipson and Smyth, 2010).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold

from bloodcell.console.progress import track
from bloodcell.evaluation.ranks import auroc_by_column

Array = NDArray[np.float64]

RIDGE = 1.0
"""Penalty of the ridge regression, per observation and standardised feature: many features, few sources."""


def shuffles(
    strata: NDArray[np.generic], *, groups: NDArray[np.int64], values: NDArray[np.generic], n: int, seed: int
) -> Iterator[NDArray[np.intp]]:
    """Yield n random permutations of the rows within their strata, shape (rows,).

    The rows of a group stay together: all of them take the value of another group. If groups have several values (as
    patients with cells of several classes), rows are permuted within their group. ``strata``, ``groups`` and
    ``values``, the value that is permuted, are those of each row, shape (rows,); groups in several strata form a
    stratum of their own.
    """
    rng = np.random.default_rng(seed)
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    if np.array_equal(values[first][group], values):
        stratum = np.unique(strata, return_inverse=True)[1]
        several = np.unique(group[stratum != stratum[first][group]])
        of_group = stratum[first]
        of_group[several] = -1
        units = first
    else:
        of_group, units = group, np.arange(len(group))
        group = units
    members = [np.flatnonzero(of_group == each) for each in np.unique(of_group)]
    for _ in track(range(n), "permutation test", total=n):
        order = np.arange(len(units))
        for rows in members:
            order[rows] = rng.permutation(rows)
        yield units[order][group]


def p_value(observed: float, shuffled: Array) -> float:
    """Return the share of values, including the observed one, that are at least as large."""
    return float((1 + (shuffled >= observed - 1e-12).sum()) / (1 + len(shuffled)))


def out_of_fold(
    features: Array, *, groups: NDArray[np.int64], folds: int, seed: int, strata: NDArray[np.generic] | None = None
) -> Array:
    """Return the matrix of out-of-fold ridge regression, shape (n, n).

    Its product with any targets are their scores, so a permutation costs one product. Folds do not depend on the
    targets: folds that are balanced in the observed targets would favour them over permuted ones.

    Parameters
    ----------
    features, groups
        Shape (n, k), standardised here; shape (n,), a group is never in two folds.
    strata
        Shape (n,); if given, the strata's means in the fitted rows are subtracted, and scores are comparable only
        within strata.
    """
    deviation = features.std(axis=0)
    standard = (features - features.mean(axis=0)) / np.where(deviation > 1e-9, deviation, 1.0)
    of = np.zeros(len(features)) if strata is None else np.unique(strata, return_inverse=True)[1]
    matrix = np.zeros((len(features), len(features)))
    names, group = np.unique(groups, return_inverse=True)
    for _, chosen in KFold(min(folds, names.size), shuffle=True, random_state=seed).split(names):
        inside_fold = np.isin(group, chosen)
        fitted, left_out = np.flatnonzero(~inside_fold), np.flatnonzero(inside_fold)
        same = (of[fitted][:, None] == of[fitted][None, :]).astype(np.float64)
        means = same / same.sum(axis=1, keepdims=True)  # from values of the fitted rows to their strata's means
        inside = standard[fitted] - means @ standard[fitted]
        with_stratum = (of[left_out][:, None] == of[fitted][None, :]).astype(np.float64)
        shares = with_stratum / np.maximum(with_stratum.sum(axis=1, keepdims=True), 1.0)
        outside = standard[left_out] - shares @ standard[fitted]
        # In the dual form the cost grows with the number of photographs, not of features.
        kernel = inside @ inside.T + RIDGE * len(fitted) * np.eye(len(fitted))
        weights = np.linalg.solve(kernel, inside @ outside.T).T
        matrix[np.ix_(left_out, fitted)] = weights - weights @ means
        if strata is None:
            matrix[np.ix_(left_out, fitted)] += shares
    return matrix


def auroc_within(scores: Array, targets: NDArray[np.bool_], strata: NDArray[np.generic]) -> float:
    """Return the share of positive-negative pairs within strata in the right order, ties counted half.

    All arguments have the shape (n,). NaN if no stratum has both positive and negative rows.
    """
    concordant = pairs = 0.0
    for stratum in np.unique(strata):
        inside = strata == stratum
        weight = float(targets[inside].sum() * (~targets[inside]).sum())
        if weight:
            concordant += weight * float(auroc_by_column(scores[inside][:, None], targets[inside][:, None])[0])
            pairs += weight
    return concordant / pairs if pairs else float("nan")
