"""The area under the ROC curve, from ranks."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata


def auroc_by_column(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the AUROC of each column of scores, shape (n, k); ties count half.

    From the rank sum (Hanley and McNeil, Radiology 143, 1982). ``positive``, shape (n, k), is which rows are positive.
    The result has the shape (k,), float64 in 0..1; NaN in a column without positives or without negatives.
    """
    n = positive.sum(axis=0)
    pairs = n * (len(positive) - n)
    wins = (rankdata(scores, axis=0) * positive).sum(axis=0) - n * (n + 1) / 2
    return np.asarray(np.divide(wins, pairs, out=np.full(n.shape, np.nan), where=pairs > 0))
