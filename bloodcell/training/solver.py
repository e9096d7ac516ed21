"""Linear heads on frozen features: a convex problem, solved to convergence."""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from bloodcell.processes import one_blas_thread

MAX_ITERATIONS = 1000


def moments(
    features: NDArray[np.float32], *, weights: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the mean and variance of each column, shape (width,), float32; ``weights`` (n,) are of the rows."""
    if weights is not None:
        shares = weights / weights.sum()
        expected = (shares @ features).astype(np.float32)
        return expected, (shares @ np.square(features - expected)).astype(np.float32)
    mean = features.mean(axis=0, dtype=np.float64)
    variance = features.var(axis=0, dtype=np.float64)
    return mean.astype(np.float32), variance.astype(np.float32)


@one_blas_thread()
def solve_linear(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    n_classes: int,
    l2: float,
    weights: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Minimise the mean cross-entropy plus ``l2`` times the sum of squared weights, by scikit-learn's L-BFGS.

    Parameters
    ----------
    features
        Shape (n, width).
    labels
        Class indices, shape (n,).
    n_classes
        Number of classes; a class without images is never predicted.
    l2
        At least 0; the biases are not penalised.
    weights
        Of the images, shape (n,), at least 0; None: all the same.

    Returns
    -------
    tuple
        The weights (width, n_classes) and biases (n_classes,) of a softmax, float32.
    """
    kernel = np.zeros((features.shape[1], n_classes), np.float32)
    bias = np.full(n_classes, np.log(np.finfo(np.float32).tiny), np.float32)
    present = np.unique(labels)
    if len(present) == 1:
        bias[present] = 0.0
        return kernel, bias
    scale = np.ones(len(labels)) if weights is None else weights / weights.mean()
    # For two classes scikit-learn fits one vector w. Here it is -w/2 and w/2, with half the sum of squares.
    squares = 1.0 if len(present) == 2 else 2.0
    strength = 1.0 / (squares * l2 * len(labels)) if l2 else np.inf
    solver = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS)
    solver.fit(features, labels, sample_weight=scale)
    coefficients, intercepts = solver.coef_, solver.intercept_
    if len(present) == 2:
        coefficients = np.vstack([-coefficients / 2, coefficients / 2])
        intercepts = np.concatenate([-intercepts / 2, intercepts / 2])
    kernel[:, solver.classes_], bias[solver.classes_] = coefficients.T, intercepts
    return kernel, bias
