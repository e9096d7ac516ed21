"""How sure an accuracy is: intervals that count photographs, not the copies made of them.

Copies of one photograph are told right or wrong together, so what is resampled is the photograph with all its images,
within its class, as photographs are what a class has a given number of. This is the bootstrap of clusters in strata:
Davison and Hinkley, "Bootstrap Methods and their Application", 1997, sections 3.2 and 3.8; Field and Welsh,
"Bootstrapping clustered data", Journal of the Royal Statistical Society B 69, 2007.

Of a class's n photographs n - 1 are drawn, each then weighing n / (n - 1): drawing n understates the variance by that
factor, which is a quarter of it for four photographs (Rao and Wu, "Resampling inference with complex survey data",
Journal of the American Statistical Association 83, 1988).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.evaluation.photographs import by_photograph
from bloodcell.evaluation.predictions import label_indices, probabilities_of
from bloodcell.evaluation.probabilities import predicted_classes

CONFIDENCE = 0.95
N_RESAMPLES = 5000
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Two ends, ``low`` at most ``high``."""

    low: float
    high: float


def accuracy_intervals(table: pd.DataFrame, *, classes: Sequence[str]) -> dict[str, float]:
    """Return 95 % intervals of the accuracy by image and by photograph.

    Parameters
    ----------
    table
        A predictions table with each image once.
    classes
        Its class names, in order.

    Returns
    -------
    dict
        ``accuracy_low, accuracy_high, photograph_accuracy_low, photograph_accuracy_high``, in 0..1; the ends of
        `accuracy_interval`. A photograph with images of several classes is of the most frequent one.

    Raises
    ------
    ValueError
        When the table has no image, lacks a class, or an image has a label that is none of the classes.
    """
    photographs = by_photograph(table, classes)
    right = predicted_classes(probabilities_of(table, classes)) == label_indices(table, classes)
    # In the order of the names of the groups, which is that of `photographs`.
    images_right = pd.Series(right, index=table.index).groupby(table["group"]).sum().to_numpy(dtype=np.int64)
    labels = label_indices(photographs, classes)
    by_image = accuracy_interval(right=images_right, total=photographs["images"].to_numpy(np.int64), strata=labels)
    told_right = predicted_classes(probabilities_of(photographs, classes)) == labels
    by_group = accuracy_interval(right=told_right.astype(np.int64), total=np.ones_like(labels), strata=labels)
    return {
        "accuracy_low": by_image.low,
        "accuracy_high": by_image.high,
        "photograph_accuracy_low": by_group.low,
        "photograph_accuracy_high": by_group.high,
    }


def accuracy_interval(
    *,
    right: NDArray[np.int64],
    total: NDArray[np.int64],
    strata: NDArray[np.int64],
    n_resamples: int = N_RESAMPLES,
    seed: int = SEED,
) -> Interval:
    """Return the 95 % percentile-bootstrap interval of an accuracy, resampling groups within strata.

    The interval depends on the numbers only, not on the order of the groups, and two calls return the same.

    Cases that resampling alone would get wrong:

    - A stratum of one group has nothing to be resampled from, and would count as known for sure. It is resampled with
      the other such strata, or if there is none with the smallest other one, which makes the interval wider rather
      than narrower (collapsed strata: Cochran, "Sampling Techniques", 1977, section 5A.12).
    - Where within no stratum one group differs from another, as where everything is told to be of one class, all groups
      are resampled as one stratum.
    - Where all images are right, every resample is too. The low end is then the least share of groups that are right
      throughout for which so many in a row are no surprise, 0.025 to the power of 1 / n of n groups (Clopper and
      Pearson, 1934); where none is right, the high end in the same way.
    - Of a single group nothing is known: the interval is from 0 to 1.

    Few groups in a stratum still leave it too narrow, and so does an accuracy that is nearly 0 or 1: 95 % intervals of
    71 groups in strata of 48, 13, 6 and 4 held the truth in 91 % of simulations, those of 80 in equal strata in 95 %.

    Parameters
    ----------
    right, total
        Shape (g,), of each group how many images are right and how many there are, at least one.
    strata
        Shape (g,), the stratum that each group is in; for an accuracy, its class.
    n_resamples
        How many resamples.
    seed
        Of the resampling.

    Raises
    ------
    ValueError
        When there is no group, or a group has no image or more right ones than images.
    """
    if not total.size or (total < 1).any() or (right < 0).any() or (right > total).any():
        raise ValueError("an interval needs at least one group, and of each 0 <= right <= total and total >= 1")
    if total.size == 1:
        return Interval(low=0.0, high=1.0)
    tail = (1 - CONFIDENCE) / 2
    surprise = tail ** (1 / total.size)
    if (right == total).all():
        return Interval(low=surprise, high=1.0)
    if not right.any():
        return Interval(low=0.0, high=1 - surprise)
    joined = _joined(strata, shares=right / total)
    rng = np.random.default_rng(seed)
    sums = np.zeros((n_resamples, 2))
    for stratum in np.unique(joined):
        members = np.column_stack([right, total])[joined == stratum]
        # Groups with the same numbers are interchangeable, so how often each kind is drawn is all there is to draw.
        kinds, counts = np.unique(members, axis=0, return_counts=True)
        n = len(members)
        sums += rng.multinomial(n - 1, counts / n, size=n_resamples) @ kinds * (n / (n - 1))
    low, high = np.quantile(sums[:, 0] / sums[:, 1], [tail, 1 - tail])
    return Interval(low=float(low), high=float(high))


def _joined(strata: NDArray[np.int64], *, shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Put the strata of one group together, a single one with the smallest of the others; all where none varies."""
    if all(np.ptp(shares[strata == stratum]) == 0 for stratum in np.unique(strata)):
        return np.zeros_like(strata)
    names, counts = np.unique(strata, return_counts=True)
    n_alone = int((counts == 1).sum())
    if n_alone == 0:
        return strata
    smallest = names[np.argsort(counts, kind="stable")][: max(n_alone, 2)]
    return np.where(np.isin(strata, smallest), smallest[0], strata)
