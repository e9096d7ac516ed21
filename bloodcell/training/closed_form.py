"""Linear heads in closed form: ridge regression on one-hot labels, and linear discriminant analysis (LDA).

One eigendecomposition serves all strengths of regularisation. In its basis, leaving out a group of images is a small
linear system for each group, so leave-one-group-out is exact without refits.

With weights s of the images, N their sum, and centred features x:

- Ridge minimises sum(s |y - W'x - b|^2) / N + l2 |W|^2. With H the matrix from labels to fits, the residuals of a group
  in a fit without it are (I - H_gg)^-1 e_g, where e_g are those of the fit with it (Allen, Technometrics 16, 1974, for
  one image; Cook and Weisberg, "Residuals and Influence in Regression", 1982, for groups).
- LDA has the means of the classes and their pooled covariance plus l2 times the identity (Friedman, "Regularized
  discriminant analysis", JASA 84, 1989). Without a group the pooled scatter is W - B'B, with a row of B for each image
  and each class of the group, inverted by Woodbury's identity ("Inverting modified matrices", 1950).

The fit without a group has the same ``l2``, so the sum of squared weights counts for l2 (N - N_g) there.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Method = Literal["ridge", "lda"]

N_STRENGTHS = 50
WEAKEST, STRONGEST = 1e-4, 1e3
"""The ends of `strengths`, in mean variances of a feature."""
SMALLEST_VALUE = 1e-12
"""Eigenvalues below this share of the largest are rounding errors."""
LEAST_STRENGTH = 1e-9
"""The least strength, as a share of the largest eigenvalue: without any, the solution may not be unique."""
NEVER = float(np.log(np.finfo(np.float32).tiny))
"""The bias of a class without images, which is never predicted."""
FEW_DIMENSIONS = 300
"""With no more, an eigendecomposition is cheap."""
MAX_LOG_SCALE = 12.0
"""`fit_scale` is at most its exponential."""


@dataclass(frozen=True, kw_only=True)
class LinearHead:
    """The weights (width, k) and biases (k,) of a softmax, float64."""

    kernel: Floats
    bias: Floats


@dataclass(frozen=True, kw_only=True)
class ClosedForm:
    """The images of a linear head in the basis of its scatter matrix; see `closed_form`.

    Attributes
    ----------
    method
        ``ridge`` or ``lda``.
    mean, basis
        The weighted mean of the features, shape (width,), and r orthonormal columns, (width, r).
    rows, values
        The centred features in the basis, (n, r), and the eigenvalues of their scatter, (r,): the total scatter of
        ridge, that within classes of LDA.
    labels, weights, n_classes
        Class indices and weights of the n images, and the number of classes.
    """

    method: Method
    mean: Floats
    basis: Floats
    rows: Floats
    values: Floats
    labels: Integers
    weights: Floats
    n_classes: int

    @cached_property
    def strengths(self) -> Floats:
        """Values for ``l2``, ascending, shape (`N_STRENGTHS`,), relative to the mean variance of a feature."""
        variance = float(self.weights @ np.square(self.rows).sum(axis=1)) / (self.weights.sum() * self.mean.size)
        return np.asarray(np.geomspace(WEAKEST, STRONGEST, N_STRENGTHS) * (variance or 1.0))

    def solve(self, l2: float) -> LinearHead:
        """Return the head of a strength, at least 0."""
        kernels, biases = self._heads(self._rest(np.zeros(0, np.int64)), np.array([l2]), self.values)
        kernel = self.basis @ kernels[0]
        bias = np.where(np.isfinite(biases[0]), biases[0] - self.mean @ kernel, NEVER)
        return LinearHead(kernel=kernel, bias=bias)

    def leave_out(self, groups: Integers, strengths: Floats) -> Floats:
        """Return the scores of every image by the head without the image's group, for each strength.

        Parameters
        ----------
        groups
            The group of each image, shape (n,), at least two.
        strengths
            Values of ``l2``, shape (s,).

        Returns
        -------
        numpy.ndarray
            Shape (s, n, k), the inputs of the softmax; minus infinity for a class that has no image in other groups.
        """
        scores = np.empty((len(strengths), self.labels.size, self.n_classes))
        for block in blocks_of(groups):
            scores[:, block] = self._without(self._rest(block), np.asarray(strengths, np.float64))
        return scores

    def _without(self, rest: "_Rest", strengths: Floats) -> Floats:
        """Return the scores (s, b, k) of the images of a block by the heads without it."""
        # A block costs b^2 r operations for each strength, an eigendecomposition of the rest about 9 r^3 for all.
        large = strengths.size * rest.block.size**2 > 9 * self.values.size**2
        # If a block holds a dimension of its own, the identities lose digits.
        if large or (self.labels.size <= self.mean.size and self.values.size <= FEW_DIMENSIONS):
            return self._refitted(rest, strengths)
        return self._residuals(rest, strengths) if self.method == "ridge" else self._woodbury(rest, strengths)

    def _refitted(self, rest: "_Rest", strengths: Floats) -> Floats:
        """Decompose the scatter without the block, which is downdated by its rows."""
        removed = rest.removed @ np.vstack([self.rows[rest.block], self._class_means])
        if self.method == "ridge":
            removed = np.sqrt(self.weights[rest.block, None]) * self.rows[rest.block]
            removed = np.vstack([removed, np.sqrt(rest.total) * rest.mean])
        values, vectors = eigh(np.diag(self.values) - removed.T @ removed, overwrite_a=True, check_finite=False)
        kernels, biases = self._heads(rest, strengths, np.maximum(values, 0.0), vectors)
        return np.asarray(self.rows[rest.block] @ kernels + biases[:, None, :])

    def _residuals(self, rest: "_Rest", strengths: Floats) -> Floats:
        """Return the scores without a block from the residuals with it."""
        rows, truth = self.rows[rest.block], self._one_hot[rest.block]
        inverse = 1 / (self.values[:, None] + self.penalties(strengths, rest.total))
        kernels = inverse.T[:, :, None] * self._products
        fitted = self._class_totals / self.weights.sum() + rows @ kernels
        hat = (_inner_products(rows, inverse) + 1 / self.weights.sum()) * self.weights[rest.block]
        residuals = np.linalg.solve(np.eye(rest.block.size) - hat, truth - fitted)
        return np.where(rest.class_totals > 0, truth - residuals, -np.inf)

    def _woodbury(self, rest: "_Rest", strengths: Floats) -> Floats:
        """Return the scores without a block from inner products of its rows and the class means."""
        n = rest.block.size
        inverse = 1 / (self.values[:, None] + self.penalties(strengths, rest.total))
        inner = _inner_products(np.vstack([self.rows[rest.block], self._class_means]), inverse)
        points = np.vstack([np.eye(n, n + self.n_classes), rest.means])
        removed = rest.removed @ inner
        across = removed @ points.T
        products = points @ inner @ points.T
        products += across.mT @ np.linalg.solve(np.eye(len(rest.removed)) - removed @ rest.removed.T, across)
        squares = np.diagonal(products[:, n:, n:], axis1=1, axis2=2)
        return np.asarray(rest.log_shares + rest.total * (products[:, :n, n:] - squares[:, None, :] / 2))

    def _heads(
        self, rest: "_Rest", strengths: Floats, values: Floats, vectors: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """Return the kernels (s, r, k) and biases (s, k) of all images but a block.

        ``values`` (r,) and ``vectors`` (r, r) are the eigenvalues and vectors of their scatter; None: the unit vectors.
        """
        if self.method == "ridge":
            shares = rest.class_totals / rest.total
            own = self.rows[rest.block].T @ (self.weights[rest.block, None] * self._one_hot[rest.block])
            targets = self._products - own - rest.total * np.outer(rest.mean, shares)
        else:
            targets = rest.total * rest.class_means.T
        inverse = 1 / (values[:, None] + self.penalties(strengths, rest.total))
        if vectors is None:
            kernels = inverse.T[:, :, None] * targets
        else:
            kernels = vectors @ (inverse.T[:, :, None] * (vectors.T @ targets))
        if self.method == "ridge":
            return kernels, np.where(rest.class_totals > 0, shares - rest.mean @ kernels, -np.inf)
        return kernels, rest.log_shares - (rest.class_means.T * kernels).sum(axis=1) / 2

    def penalties(self, strengths: Floats, total: float) -> Floats:
        """Return what is added to the eigenvalues for each strength, shape (s,)."""
        return np.maximum(strengths * total, LEAST_STRENGTH * max(float(self.values.max(initial=0.0)), 1e-300))

    def _rest(self, block: Integers) -> "_Rest":
        """Return the sums of all images but a block's."""
        one_hot, weights = self._one_hot[block], self.weights[block]
        used = (self.weights > 0).astype(np.float64)
        present = np.rint(used @ self._one_hot - used[block] @ one_hot) > 0
        totals = np.where(present, self._class_totals - weights @ one_hot, 0.0)
        per_class = np.divide(1.0, totals, out=np.zeros(self.n_classes), where=present)
        with np.errstate(divide="ignore"):
            log_shares = np.log(totals / totals.sum())
        from_means = np.hstack([np.eye(block.size), -one_hot])
        sums = (one_hot * weights[:, None]).T @ from_means
        means = present[:, None] * (np.eye(self.n_classes, sums.shape[1], block.size) - sums * per_class[:, None])
        return _Rest(
            block=block,
            total=float(totals.sum()),
            mean=-(weights @ self.rows[block]) / totals.sum(),
            class_totals=totals,
            log_shares=log_shares,
            means=means,
            class_means=means @ np.vstack([self.rows[block], self._class_means]),
            removed=np.vstack([np.sqrt(weights)[:, None] * from_means, sums * np.sqrt(per_class)[:, None]]),
        )

    @cached_property
    def _one_hot(self) -> Floats:
        return np.eye(self.n_classes)[self.labels]

    @cached_property
    def _products(self) -> Floats:
        """The weighted sums of rows by class, shape (r, k)."""
        return np.asarray(self.rows.T @ (self.weights[:, None] * self._one_hot))

    @cached_property
    def _class_totals(self) -> Floats:
        return np.asarray(self.weights @ self._one_hot)

    @cached_property
    def _class_means(self) -> Floats:
        """The mean row of each class, shape (k, r); 0 of a class without images."""
        return np.asarray(self._products.T / np.where(self._class_totals > 0, self._class_totals, 1.0)[:, None])


@dataclass(frozen=True, kw_only=True)
class _Rest:
    """All images but a block of b.

    Attributes
    ----------
    block
        The indices of the block's images, shape (b,).
    total, class_totals, log_shares
        The sum of weights, that of each class, shape (k,), and the logarithm of the classes' shares.
    mean, class_means
        The mean row, shape (r,), and that of each class, (k, r).
    means, removed
        The class means, and the rows whose products are taken from the scatter within classes, as combinations of the
        block's rows and the class means of all images, shapes (k, b + k) and (b + k, b + k).
    """

    block: Integers
    total: float
    class_totals: Floats
    log_shares: Floats
    mean: Floats
    class_means: Floats
    means: Floats
    removed: Floats


def closed_form(
    features: NDArray[np.floating],
    labels: Integers,
    *,
    method: Method,
    n_classes: int,
    weights: Floats | None = None,
) -> ClosedForm:
    """Prepare the heads of all strengths: one eigendecomposition.

    Parameters
    ----------
    features
        Shape (n, width).
    labels
        Class indices, shape (n,). A class without images is never predicted.
    method
        ``ridge`` or ``lda``.
    n_classes
        The number of classes.
    weights
        Of the images, shape (n,), at least 0; None: all the same.
    """
    weights = np.ones(labels.size) if weights is None else weights / weights.mean()
    mean = weights @ features / weights.sum()
    centred = features.astype(np.float64) - mean
    basis = None
    if centred.shape[1] > centred.shape[0]:  # the images span fewer dimensions
        scaled = np.sqrt(weights)[:, None] * centred
        values, vectors = eigh(scaled @ scaled.T, overwrite_a=True, check_finite=False)
        kept = values > SMALLEST_VALUE * values[-1]
        basis = scaled.T @ vectors[:, kept] / np.sqrt(values[kept])
    rows = centred if basis is None else centred @ basis
    within = rows
    if method == "lda":
        one_hot = np.eye(n_classes)[labels]
        totals = weights @ one_hot
        within = rows - one_hot @ ((one_hot * weights[:, None]).T @ rows / np.where(totals > 0, totals, 1.0)[:, None])
    scaled = np.sqrt(weights)[:, None] * within
    values, vectors = eigh(scaled.T @ scaled, overwrite_a=True, check_finite=False)
    return ClosedForm(
        method=method,
        mean=mean,
        basis=vectors if basis is None else basis @ vectors,
        rows=rows @ vectors,
        values=np.maximum(values, 0.0),
        labels=labels,
        weights=weights,
        n_classes=n_classes,
    )


def blocks_of(groups: NDArray[np.generic]) -> list[Integers]:
    """Return the indices of the images of each group, by the groups' order."""
    _, numbers = np.unique(groups, return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.cumsum(np.bincount(numbers))[:-1])


def fit_scale(scores: Floats, labels: Integers, *, weights: Floats | None = None) -> float:
    """Return the factor of scores whose softmax has the least mean log loss, at most exp(`MAX_LOG_SCALE`).

    Parameters
    ----------
    scores
        Shape (n, k), of images by a head that was trained without them. Images of a class that it did not know, whose
        score is minus infinity, do not count.
    labels, weights
        Shape (n,), the class indices, and the weights of the images.
    """

    def loss(log_scale: float) -> float:
        return log_loss(np.exp(log_scale) * scores, labels, weights=weights)

    return float(np.exp(minimize_scalar(loss, bounds=(-MAX_LOG_SCALE, MAX_LOG_SCALE), method="bounded").x))


def log_loss(scores: Floats, labels: Integers, *, weights: Floats | None = None) -> float:
    """Return the weighted mean log loss of the softmax of scores, as `fit_scale` counts it; 0 without images."""
    images = np.arange(labels.size)
    known = np.isfinite(scores[images, labels])
    losses = -log_softmax(scores[known], axis=1)[images[: known.sum()], labels[known]]
    shares = np.ones(losses.size) if weights is None else weights[known]
    return float(shares @ losses / shares.sum()) if losses.size else 0.0


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A strength, the factor of its scores, and the log loss of the images by heads without their groups."""

    l2: float
    scale: float
    log_loss: float


def best_strength(prepared: ClosedForm, groups: Integers, strengths: Floats) -> Choice:
    """Choose the strength of the least log loss by leaving out groups, each with its own scale.

    The arguments are as for `ClosedForm.leave_out`. Only these images are used: no validation image takes part.
    """
    choices = []
    for l2, scores in zip(strengths, prepared.leave_out(groups, strengths), strict=True):
        scale = fit_scale(scores, prepared.labels, weights=prepared.weights)
        loss = log_loss(scale * scores, prepared.labels, weights=prepared.weights)
        choices.append(Choice(l2=float(l2), scale=scale, log_loss=loss))
    return min(choices, key=lambda choice: choice.log_loss)


def _inner_products(rows: Floats, inverse: Floats) -> Floats:
    """Return the inner products (s, m, m) of rows (m, r) with the diagonal matrices of the columns of (r, s)."""
    found = np.empty((inverse.shape[1], len(rows), len(rows)))
    for number, root in enumerate(np.sqrt(inverse.T)):
        scaled = rows * root
        found[number] = scaled @ scaled.T
    return found
