"""Permutation tests of groups, never of images: copies of a photograph, or photographs of a slide, are one observation.

A p-value is the share of shuffles, the real one counted in, that look at least as remarkable: (b + 1) / (m + 1) of
Phipson and Smyth (2010), which never says zero.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold

from bloodcell.console.progress import track
from bloodcell.evaluation.ranks import auroc_by_column

Array = NDArray[np.float64]

RIDGE = 1.0
"""Penalty of the linear scores, per observation and standardised feature: many features, few photographs."""


def shuffles(
    strata: NDArray[np.generic], *, groups: NDArray[np.int64], values: NDArray[np.generic], n: int, seed: int
) -> Iterator[NDArray[np.intp]]:
    """Yield n random orders of the rows that leave each in its stratum, shape (rows,).

    Rows of a group keep together: all of them take the value of another group. Where groups have several values, as
    patients with cells of several classes, rows change places within their group.

    Parameters
    ----------
    strata, groups, values
        Shape (rows,): what is to be kept, which rows belong together, and what is shuffled. Groups of several strata
        are shuffled among each other.
    n
        How many orders.
    seed
        Of the orders.
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
    """Return the share of values, the observed one counted in, that are at least as large."""
    return float((1 + (shuffled >= observed - 1e-12).sum()) / (1 + len(shuffled)))


def out_of_fold(
    features: Array, *, groups: NDArray[np.int64], folds: int, seed: int, strata: NDArray[np.generic] | None = None
) -> Array:
    """Return the matrix that turns targets into the scores that ridge regression gives to rows it was not fitted on.

    Linear in the targets, so that shuffled ones cost a product: scores = matrix @ targets. The folds know nothing of
    targets: were they balanced by what is shuffled, shuffles would look worse than they are.

    Parameters
    ----------
    features
        Shape (n, k); standardised here.
    groups
        Shape (n,); a group is never in two folds.
    folds
        How many.
    seed
        Of the folds.
    strata
        Shape (n,); if given, what differs between strata is taken away, as the fitted rows have it, and scores are to
        be compared within strata only.

    Returns
    -------
    ndarray of shape (n, n)
    """
    spread = features.std(axis=0)
    standard = (features - features.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0)
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
        # In the dual form the cost goes with the number of photographs, not of features.
        kernel = inside @ inside.T + RIDGE * len(fitted) * np.eye(len(fitted))
        weights = np.linalg.solve(kernel, inside @ outside.T).T
        matrix[np.ix_(left_out, fitted)] = weights - weights @ means
        if strata is None:
            matrix[np.ix_(left_out, fitted)] += shares
    return matrix


def auroc_within(scores: Array, targets: NDArray[np.bool_], strata: NDArray[np.generic]) -> float:
    """Return how often a positive row's score is above that of a negative one of the same stratum, ties counted half.

    Parameters
    ----------
    scores, targets, strata
        Shape (n,).

    Returns
    -------
    float
        NaN if no stratum has both.
    """
    won = pairs = 0.0
    for stratum in np.unique(strata):
        inside = strata == stratum
        weight = float(targets[inside].sum() * (~targets[inside]).sum())
        if weight:
            won += weight * float(auroc_by_column(scores[inside][:, None], targets[inside][:, None])[0])
            pairs += weight
    return won / pairs if pairs else float("nan")
