"""Corrections of p-values for their number."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(p_values: ArrayLike, *, n_tests: int | None = None) -> NDArray[np.float64]:
    """Adjust p-values for their number (Holm, Scand. J. Statistics 6, 1979).

    Parameters
    ----------
    p_values
        Shape (m,), in 0..1.
    n_tests
        The number of tests, at least m; those without a p-value count as 1, which can only make the others larger.

    Returns
    -------
    numpy.ndarray
        Shape (m,), float64, in the same order.
    """
    p = np.asarray(p_values, dtype=np.float64)
    n = p.size if n_tests is None else n_tests
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(n, n - p.size, -1)), 1.0)
    return adjusted
