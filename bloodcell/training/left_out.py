"""What ridge regression predicts without groups if labels are permuted, or if one more group is left out.

Both use that its predictions are linear in the labels, with the same matrix for all labels, see
`bloodcell.training.closed_form`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bloodcell.console.progress import track
from bloodcell.training.closed_form import ClosedForm, Floats, Integers, blocks_of, closed_form

PERMUTED_STRENGTHS = 10
"""Strengths of the permutation test."""


def permuted_recalls(features: NDArray[np.floating], labels: Integers, *, n: int, seed: int) -> Floats:
    """Return the balanced accuracy of ridge regression without each row, with permuted labels.

    Every row is predicted by a fit without it; the balanced accuracy is the highest of `PERMUTED_STRENGTHS` strengths.
    It does not depend on the numbers of images, which may differ by class, if a row is the mean of a photograph.

    Parameters
    ----------
    features, labels
        Shape (g, width), and class indices of the rows, (g,), at least two of them.
    n, seed
        The number of permutations, and their seed.

    Returns
    -------
    numpy.ndarray
        Shape (n + 1,), in 0..1: first that of the true labels.
    """
    rng, n_classes = np.random.default_rng(seed), int(labels.max()) + 1
    drawn = np.stack([labels, *(rng.permutation(labels) for _ in range(n))])
    counts = np.bincount(labels)
    shares = 1 / (counts[drawn] * (counts > 0).sum())
    prepared = closed_form(features, labels, method="ridge", n_classes=n_classes)
    best = np.zeros(n + 1)
    for l2 in np.geomspace(prepared.strengths[0], prepared.strengths[-1], PERMUTED_STRENGTHS):
        scores = _without_each_row(prepared, float(l2)) @ np.eye(n_classes)[drawn]
        best = np.maximum(best, ((scores.argmax(axis=2) == drawn) * shares).sum(axis=1))
    return best


def _without_each_row(prepared: ClosedForm, l2: float) -> Floats:
    """Return the matrix (g, g) from one-hot labels to the scores of rows by fits without them."""
    n = prepared.labels.size
    (penalty,) = prepared.penalties(np.array([l2]), n - 1)
    hat = (prepared.rows / (prepared.values + penalty)) @ prepared.rows.T + 1 / n
    without = -(np.eye(n) - hat) / (1 - np.diagonal(hat))[:, None]
    np.fill_diagonal(without, 0.0)
    return np.asarray(without)


def removal_effects(prepared: ClosedForm, groups: Integers, l2: float, *, of: Sequence[int] | None = None) -> Floats:
    """Return how much the accuracy on the other groups changes if a group is left out of their training, too.

    Every other group is predicted by a fit without itself, and by one without itself and the group; both have the
    penalty of the fit of all images. This is exact: the matrices of both are those of the fit of all images, and two
    linear systems.

    Parameters
    ----------
    prepared
        Of ``ridge``.
    groups
        The group of each image, shape (n,).
    l2
        The strength.
    of
        The groups to leave out, as indices of `blocks_of`; None: all.

    Returns
    -------
    numpy.ndarray
        Shape (len(of),), in -1..1: accuracy by image without the group, less that with it.
    """
    blocks, weights, total = blocks_of(groups), prepared.weights, float(prepared.weights.sum())
    inverse = 1 / (prepared.values + prepared.penalties(np.array([l2]), total)[0])
    scaled, truth = prepared.rows * inverse, np.eye(prepared.n_classes)[prepared.labels]
    kernel = inverse[:, None] * (prepared.rows.T @ (weights[:, None] * truth))
    residuals = truth - prepared.rows @ kernel - weights @ truth / total
    alike = _of_equal_size(blocks)
    hats = [(scaled[each] @ prepared.rows[each].mT + 1 / total) * weights[each][:, None, :] for each in alike]
    right = _right_without(residuals, hats, alike, truth)
    chosen = range(len(blocks)) if of is None else of
    effects = np.zeros(len(chosen))
    for place, number in enumerate(track(chosen, "influence of groups", total=len(chosen))):
        block = blocks[number]
        across = scaled @ prepared.rows[block].T + 1 / total
        own = np.eye(block.size) - across[block] * weights[block]
        back = np.linalg.solve(own, across.T * weights)  # (I - H_gg)^-1 H_g.
        back[:, block] = 0.0  # the group itself is not counted, and its system could be singular
        without = residuals + (across * weights[block]) @ np.linalg.solve(own, residuals[block])
        changed = [
            hat + (across[each] * weights[block]) @ back.T[each].mT for hat, each in zip(hats, alike, strict=True)
        ]
        others = np.ones(groups.size, dtype=bool)
        others[block] = False
        now = _right_without(without, changed, alike, truth)
        effects[place] = now[others].mean() - right[others].mean()
    return effects


def _of_equal_size(blocks: Sequence[Integers]) -> list[Integers]:
    """Return the indices of blocks of the same size as arrays (blocks, size), which are solved at once."""
    sizes = {block.size for block in blocks}
    return [np.stack([block for block in blocks if block.size == size]) for size in sorted(sizes)]


def _right_without(
    residuals: Floats, hats: Sequence[Floats], alike: Sequence[Integers], truth: Floats
) -> NDArray[np.bool_]:
    """Return which images are classified correctly by a fit without their block, shape (n,)."""
    right = np.zeros(len(truth), dtype=bool)
    for hat, each in zip(hats, alike, strict=True):
        scores = truth[each] - np.linalg.solve(np.eye(each.shape[1]) - hat, residuals[each])
        right[each] = scores.argmax(axis=2) == truth[each].argmax(axis=2)
    return right
