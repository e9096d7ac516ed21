"""Principal components of a head's features."""

import functools
import hashlib

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from bloodcell.errors import UserError
from bloodcell.processes import one_blas_thread

MAX_KEPT = 8
"""The number of projections that are kept: the trials of a search, and the heads of a sweep, have the same images."""
PART = 2048
"""Rows that are converted to float64 at a time."""
_kept: dict[bytes, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}


@one_blas_thread()
def principal_components(
    features: NDArray[np.float32], n_components: int, *, weights: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the linear map from features to their first principal components.

    The components are computed in float64, the same for the same images in any order but for rounding. The largest
    weight of each is positive.

    Parameters
    ----------
    features
        Shape (n, width), of the training images.
    n_components
        At most width, and below n.
    weights
        Of the rows, shape (n,), at least 0; None: all the same.

    Returns
    -------
    tuple
        The kernel (width, n_components) and the bias (n_components,), float32: the components have mean 0 over these
        rows, and are in the order of their variances, the largest first.

    Raises
    ------
    UserError
        If there are too few features or images.
    """
    n, width = features.shape
    if n_components > min(width, n - 1):
        limit = f"the head has {width} features" if width < n else f"there are {n} training images"
        raise UserError(f"head.projection={n_components}: {limit}; give at most {min(width, n - 1)}")
    key = _key(features, n_components, weights)
    if key not in _kept:
        while len(_kept) >= MAX_KEPT:
            del _kept[next(iter(_kept))]
        _kept[key] = _components(features, n_components, weights)
    return _kept[key]


def _components(
    features: NDArray[np.float32], n_components: int, weights: NDArray[np.float64] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    n, width = features.shape
    shares = np.full(n, 1 / n) if weights is None else weights / weights.sum()
    mean = shares @ features

    def scaled_of(part: slice) -> NDArray[np.float64]:
        scaled: NDArray[np.float64] = np.sqrt(shares[part])[:, None] * (features[part] - mean)
        return scaled

    if width <= n:
        parts = [slice(start, start + PART) for start in range(0, n, PART)]
        products = (scaled.T @ scaled for scaled in map(scaled_of, parts))
        covariance = functools.reduce(np.add, products)
        _, kernel = eigh(covariance, subset_by_index=(width - n_components, width - 1), check_finite=False)
    else:
        scaled = scaled_of(slice(None))
        values, vectors = eigh(scaled @ scaled.T, subset_by_index=(n - n_components, n - 1), check_finite=False)
        kernel = scaled.T @ (vectors / np.sqrt(np.maximum(values, np.finfo(np.float64).tiny)))
    kernel = kernel[:, ::-1]
    largest = np.abs(kernel).argmax(axis=0)
    kernel = kernel * np.where(kernel[largest, np.arange(n_components)] < 0, -1.0, 1.0)
    return kernel.astype(np.float32), (-mean @ kernel).astype(np.float32)


def _key(features: NDArray[np.float32], n_components: int, weights: NDArray[np.float64] | None) -> bytes:
    digest = hashlib.blake2b(f"{features.shape} {n_components} {weights is None}".encode())
    for values in (features, np.zeros(0) if weights is None else weights):
        digest.update(np.ascontiguousarray(values).data)
    return digest.digest()
