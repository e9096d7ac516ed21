"""How sure a score is: intervals that count photographs, not the copies made of them.

Copies of one photograph are told right or wrong together, so what is resampled is the photograph with all its images,
within its class, as photographs are what a class has a given number of. `bloodcell.evaluation.jackknife` says how.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.evaluation.jackknife import interval, joined, proportion_interval, spread_of
from bloodcell.evaluation.predictions import label_indices, probabilities_of
from bloodcell.evaluation.probabilities import predicted_classes
from bloodcell.evaluation.scores import SCORES, Answers, Score, Scored, accuracy


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Two ends, ``low`` at most ``high``."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Training:
    """How trainings of one configuration differ that differ in seeds only.

    Attributes
    ----------
    variance
        Of a score, from one training to the next.
    degrees
        Of freedom of the variance; 0 where nothing was trained twice.
    """

    variance: float
    degrees: int

    def of_mean(self, n: int) -> dict[str, NDArray[np.float64]]:
        """Return ``variance, degrees`` of the mean of several trainings."""
        return {"variance": np.array(self.variance / n), "degrees": np.array(float(max(self.degrees, 1)))}


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
        `score_interval`. A photograph with images of several classes is of the most frequent one.

    Raises
    ------
    ValueError
        When the table has no image, lacks a class, or an image has a label that is none of the classes.
    """
    answers = Answers(
        labels=label_indices(table, classes),
        probabilities=probabilities_of(table, classes),
        groups=np.unique(table["group"].to_numpy(dtype=np.str_), return_inverse=True)[1],
    )
    ends: dict[str, float] = {}
    for name, each in (("accuracy", answers), ("photograph_accuracy", answers.by_photograph())):
        found = score_interval(SCORES["accuracy"], [SCORES["accuracy"].measure(each)], answers=each)
        ends |= {f"{name}_low": found.low, f"{name}_high": found.high}
    return ends


def score_interval(
    score: Score, scored: Sequence[Scored], *, answers: Answers, training: Training | None = None
) -> Interval:
    """Return the 95 % interval of a score, resampling groups within classes.

    Where groups count the same and each is right or wrong as a whole, it is `proportion_interval`, else `interval`.
    Where all answers are right, or none, it is the former for as many groups as there would be if all had as many
    images (Kish, "Survey Sampling", 1965). Of a single group nothing is known, and neither is anything where the score
    is not defined without some group. Intervals end where the score does.

    Few groups in a class still leave it a little too narrow: intervals of 71 groups in classes of 48, 13, 6 and 4 held
    the truth in 87 to 97 % of simulations, those of 80 in classes of 20 in 92 to 97 %.

    Parameters
    ----------
    score
        The score.
    scored
        What was measured: once, or for several trainings of one configuration, whose mean it then is of.
    answers
        Of any of the trainings; only labels and groups count.
    training
        How trainings of one configuration differ, which is then part of it; None: not known.
    """
    value = float(np.mean([each.value for each in scored]))
    if not np.isfinite(value):
        return Interval(low=float("nan"), high=float("nan"))
    influence = np.mean([each.influence for each in scored], axis=0)
    if answers.n_groups == 1 or not np.isfinite(influence).all():
        return Interval(low=score.lowest, high=score.highest)
    images = answers.images
    spread = spread_of(influence, joined(answers.strata, influence=influence))
    evenly = score.function is accuracy or np.ptp(np.unique(answers.strata, return_counts=True)[1]) == 0
    certain = spread.variance == 0 and value in (score.lowest, score.highest)
    if training is not None and len(scored) > 1 and training.variance > 0:
        low, high = interval(np.array(value), spread.plus(**training.of_mean(len(scored))))
    elif score.is_share and (certain or (score.counts and _one_answer_each(answers))):
        low, high = proportion_interval(
            np.array(value), spread, n_groups=float(images.sum() ** 2 / (images**2).sum()), evenly=evenly
        )
    else:
        low, high = interval(np.array(value), spread)
    return Interval(low=float(np.clip(low, score.lowest, value)), high=float(np.clip(high, value, score.highest)))


def _one_answer_each(answers: Answers) -> bool:
    images = answers.images
    right = predicted_classes(answers.probabilities) == answers.labels
    rights = np.bincount(answers.groups, weights=right)
    return bool(np.ptp(images) == 0 and np.isin(rights, (0, images[0])).all())


def training_differences(scored: Sequence[Sequence[Scored]], *, strata: NDArray[np.int64]) -> Training:
    """Return how much trainings of one configuration differ, by all configurations that were trained several times.

    What a training makes of single photographs, which is in the spread of photographs, is taken off.

    Parameters
    ----------
    scored
        Of each configuration, what was measured for each of its trainings.
    strata
        Shape (g,), of the groups.
    """
    squares, degrees = 0.0, 0
    for several in scored:
        n = len(several)
        if n > 1:
            influences = np.nan_to_num([each.influence for each in several])
            between = np.var([each.value for each in several], ddof=1)
            own = spread_of(influences - influences.mean(axis=0), joined(strata, influence=influences[0])).variance
            squares += (n - 1) * float(between) - float(own.sum())
            degrees += n - 1
    return Training(variance=max(squares / degrees, 0.0) if degrees else 0.0, degrees=degrees)
