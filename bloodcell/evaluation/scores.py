"""Scores of predictions, and what they would be without each photograph.

Whoever compares models asks this of every score, so those that are known by name are measured without all groups at
once; any other function of labels and probabilities is called once for each group.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from bloodcell.evaluation.photographs import photographs_of
from bloodcell.evaluation.probabilities import predicted_classes

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Function = Callable[[Integers, Floats], float]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a model says of images.

    Attributes
    ----------
    labels
        Shape (n,), the true classes, in 0..k-1.
    probabilities
        Shape (n, k), each row a distribution over the classes.
    groups
        Shape (n,), the photograph of each image, in 0..g-1, each with at least one image.
    """

    labels: Integers
    probabilities: Floats
    groups: Integers

    @property
    def n_groups(self) -> int:
        """How many photographs there are."""
        return int(self.groups.max()) + 1

    @property
    def images(self) -> Integers:
        """Shape (g,), how many images each photograph has."""
        return np.bincount(self.groups).astype(np.int64)

    @cached_property
    def strata(self) -> Integers:
        """Shape (g,), the class of each photograph: the first of the most frequent labels of its images."""
        k = self.probabilities.shape[1]
        votes = np.bincount(self.groups * k + self.labels, minlength=self.n_groups * k).reshape(self.n_groups, k)
        return np.asarray(votes.argmax(axis=1), dtype=np.int64)

    def by_photograph(self) -> "Answers":
        """Return the mean answer for each photograph, whose label is the most frequent one of its images."""
        each = photographs_of(labels=self.labels, probabilities=self.probabilities, groups=self.groups)
        return Answers(labels=each.labels, probabilities=each.probabilities, groups=np.arange(each.images.size))


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A score, and what groups have to do with it.

    Attributes
    ----------
    value
        The score; NaN where it is not defined.
    influence
        Shape (g,), by how much it is above what it would be without the group; NaN where that is not defined.
    share
        Shape (g,), the groups' parts of the score, which sum to it: what changes sides when two models' answers for a
        group are swapped. Of a score that is no mean over images, to first order.
    """

    value: float
    influence: Floats
    share: Floats


@dataclass(frozen=True, kw_only=True)
class Score:
    """A function of labels and probabilities.

    Attributes
    ----------
    name
        What it is called.
    function
        From labels, shape (n,), int64, and probabilities, shape (n, k), float64, to a number.
    greater_is_better
        Whether more of it is better.
    lowest, highest
        Between which it is.
    counts
        Whether it counts right and wrong answers, knowing of probabilities no more than which is the highest.
    """

    name: str
    function: Function
    greater_is_better: bool = True
    lowest: float = -np.inf
    highest: float = np.inf
    counts: bool = False

    @property
    def is_share(self) -> bool:
        """Whether it is between 0 and 1, and so counted in points of a hundred."""
        return self.lowest == 0 and self.highest == 1

    def measure(self, answers: Answers) -> Scored:
        """Measure answers with and without each group.

        Raises
        ------
        ValueError
            If a function fails on all answers, or returns no number.
        """
        without_groups = _WITHOUT.get(self.function)
        value, without = without_groups(answers) if without_groups else _one_by_one(self, answers)
        influence = value - without
        if self.function in _TERMS:
            share = np.bincount(answers.groups, weights=_TERMS[self.function](answers)).astype(np.float64)
        else:
            share = _to_first_order(value, np.nan_to_num(influence), answers)
        return Scored(value=value, influence=influence, share=share)


SCORES: dict[str, Score] = {}
"""The scores that are known by name: every run keeps them, and comparisons and searches can be told to go by them.

`register_score` adds to them.
"""


def register_score(
    *, greater_is_better: bool = True, lowest: float = -np.inf, highest: float = np.inf, counts: bool = False
) -> Callable[[Function], Function]:
    """Make a function a score that is known by the function's name; see `Score` for what is said of it."""

    def register(function: Function) -> Function:
        name = function.__name__
        SCORES[name] = Score(
            name=name,
            function=function,
            greater_is_better=greater_is_better,
            lowest=lowest,
            highest=highest,
            counts=counts,
        )
        return function

    return register


@register_score(lowest=0, highest=1, counts=True)
def accuracy(labels: Integers, probabilities: Floats) -> float:
    """Return the share of images whose most probable class is their label."""
    return float(_right(labels, probabilities).mean())


@register_score(lowest=0, highest=1, counts=True)
def balanced_accuracy(labels: Integers, probabilities: Floats) -> float:
    """Return the mean recall over the classes that occur in the labels."""
    return float(_mean_recall(_counted(labels, probabilities)))


@register_score(lowest=0, highest=1, counts=True)
def macro_f1(labels: Integers, probabilities: Floats) -> float:
    """Return the mean F1 over the classes that occur in the labels or the predictions."""
    return float(_mean_f1(_counted(labels, probabilities)))


@register_score(greater_is_better=False, lowest=0)
def log_loss(labels: Integers, probabilities: Floats) -> float:
    """Return the mean natural logarithm of 1 over the true class's probability."""
    return float(_log_losses(labels, probabilities).mean())


@register_score(greater_is_better=False, lowest=0, highest=2)
def brier(labels: Integers, probabilities: Floats) -> float:
    """Return the mean over images of the sum over classes of squared differences, in 0..2 (Brier 1950)."""
    return float(_briers(labels, probabilities).mean())


@register_score(lowest=0, highest=1)
def auroc(labels: Integers, probabilities: Floats) -> float:
    """Return the area under the ROC curve of one class against the rest, the mean over classes that have both."""
    return _auroc(Answers(labels=labels, probabilities=probabilities, groups=np.arange(labels.size)))[0]


def find_score(asked: "str | Score | Function") -> Score:
    """Return the score of a name, or a function as one of which more is better.

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    if isinstance(asked, Score):
        return asked
    if callable(asked):
        return Score(name=getattr(asked, "__name__", "score"), function=asked)
    if asked not in SCORES:
        raise ValueError(f"there is no metric {asked}; the metrics are {', '.join(SCORES)}")
    return SCORES[asked]


def _to_first_order(value: float, influence: Floats, answers: Answers) -> Floats:
    weight = answers.images / answers.images.sum()
    part = (1 - weight) * influence
    return np.asarray(part + weight * (value - part.sum()))


def _one_by_one(score: "Score", answers: Answers) -> tuple[float, Floats]:
    order = np.argsort(answers.groups, kind="stable")
    labels, probabilities = answers.labels[order], answers.probabilities[order]
    try:
        value = float(score.function(labels.copy(), probabilities.copy()))
    except Exception as error:  # whatever a function of the user's raises
        raise ValueError(f"{score.name} cannot be measured ({' '.join(str(error).split())})") from error
    without = np.full(answers.n_groups, np.nan)
    ends = np.cumsum(answers.images)
    for group, (images, end) in enumerate(zip(answers.images, ends, strict=True)):
        kept = np.r_[0 : end - images, end : labels.size]
        with suppress(Exception):  # a class may be missing then, of which a function knows nothing
            without[group] = float(score.function(labels[kept], probabilities[kept]))
    return value, without


Counts = tuple[Floats, Floats, Floats]
"""How many images of each class are told right, are of it and are told to be of it; shape (..., k) each."""


def _counted(labels: Integers, probabilities: Floats) -> Counts:
    k = probabilities.shape[1]
    predicted = predicted_classes(probabilities)
    right, of_class, told = (
        np.bincount(each, minlength=k).astype(np.float64) for each in (labels[labels == predicted], labels, predicted)
    )
    return right, of_class, told


def _counted_without(answers: Answers) -> tuple[Counts, Counts]:
    """Return the counts of all images, and without each group."""
    k = answers.probabilities.shape[1]
    predicted = predicted_classes(answers.probabilities)
    is_right = answers.labels == predicted
    total = _counted(answers.labels, answers.probabilities)
    cells = (
        (answers.groups * k + answers.labels)[is_right],
        answers.groups * k + answers.labels,
        answers.groups * k + predicted,
    )
    right, of_class, told = (
        every - np.bincount(each, minlength=answers.n_groups * k).reshape(answers.n_groups, k)
        for every, each in zip(total, cells, strict=True)
    )
    return total, (right, of_class, told)


def _mean_recall(counts: Counts) -> Floats:
    right, of_class, _ = counts
    recall = np.divide(right, of_class, out=np.zeros_like(right), where=of_class > 0)
    return np.asarray(recall.sum(axis=-1) / np.maximum((of_class > 0).sum(axis=-1), 1))


def _mean_f1(counts: Counts) -> Floats:
    right, of_class, told = counts
    either = of_class + told
    f1 = np.divide(2 * right, either, out=np.zeros_like(right), where=either > 0)
    return np.asarray(f1.sum(axis=-1) / np.maximum((either > 0).sum(axis=-1), 1))


def _of_counts(function: Callable[[Counts], Floats]) -> Callable[[Answers], tuple[float, Floats]]:
    def measured(answers: Answers) -> tuple[float, Floats]:
        total, without = _counted_without(answers)
        return float(function(total)), function(without)

    return measured


def _of_terms(terms: Callable[[Integers, Floats], Floats]) -> Callable[[Answers], tuple[float, Floats]]:
    def measured(answers: Answers) -> tuple[float, Floats]:
        sums = np.bincount(answers.groups, weights=terms(answers.labels, answers.probabilities))
        with np.errstate(divide="ignore", invalid="ignore"):
            without = (sums.sum() - sums) / (answers.labels.size - answers.images)
        return float(sums.sum() / answers.labels.size), without

    return measured


def _log_losses(labels: Integers, probabilities: Floats) -> Floats:
    # As scikit-learn clips them.
    of_label = probabilities[np.arange(labels.size), labels]
    return np.asarray(-np.log(np.clip(of_label, np.finfo(np.float64).eps, 1.0)))


def _briers(labels: Integers, probabilities: Floats) -> Floats:
    of_label = probabilities[np.arange(labels.size), labels]
    return np.asarray((probabilities**2).sum(axis=1) - 2 * of_label + 1)


def _right(labels: Integers, probabilities: Floats) -> Floats:
    return np.asarray(predicted_classes(probabilities) == labels, dtype=np.float64)


def _auroc(answers: Answers) -> tuple[float, Floats]:
    """Return the mean area and the one without each group; pairs of images are counted, ties for a half."""
    areas, without = [], []
    for label in np.unique(answers.labels):
        is_label = answers.labels == label
        if is_label.all():
            continue
        area, left = _one_area(answers.probabilities[:, label], is_label, answers.groups, answers.n_groups)
        areas.append(area)
        without.append(left)
    if not areas:
        return float("nan"), np.full(answers.n_groups, np.nan)
    table = np.array(without)
    defined = np.isfinite(table)
    sums = np.where(defined, table, 0.0).sum(axis=0)
    return float(np.mean(areas)), np.where(defined.any(axis=0), sums / np.maximum(defined.sum(axis=0), 1), np.nan)


def _one_area(scores: Floats, is_label: NDArray[np.bool_], groups: Integers, n_groups: int) -> tuple[float, Floats]:
    beaten = _beaten(scores, is_label)
    pairs = np.bincount(groups, weights=beaten, minlength=n_groups)
    n_label = np.bincount(groups, weights=is_label, minlength=n_groups)
    n_other = np.bincount(groups, weights=~is_label, minlength=n_groups)
    mixed = ((n_label > 0) & (n_other > 0))[groups]
    if mixed.any():  # pairs within a group were counted twice
        inside = pd.DataFrame({"score": scores[mixed], "group": groups[mixed], "label": is_label[mixed]})
        among_all = inside.groupby("group")["score"].rank()
        among_own = inside.groupby(["group", "label"])["score"].rank()
        twice = np.where(inside["label"], among_all - among_own, 0.0)
        pairs -= np.bincount(groups[mixed], weights=twice, minlength=n_groups)
    total = beaten[is_label].sum()
    possible = (n_label.sum() - n_label) * (n_other.sum() - n_other)
    with np.errstate(divide="ignore", invalid="ignore"):
        left = (total - pairs) / possible
    return float(total / (n_label.sum() * n_other.sum())), np.where(possible > 0, left, np.nan)


def _beaten(scores: Floats, is_label: NDArray[np.bool_]) -> Floats:
    """Return how many of the other side each image is on the right side of, ties for a half."""
    ranks = rankdata(scores)
    beaten = np.empty(scores.size)
    beaten[is_label] = ranks[is_label] - rankdata(scores[is_label])
    beaten[~is_label] = is_label.sum() - (ranks[~is_label] - rankdata(scores[~is_label]))
    return beaten


_WITHOUT: Mapping[Function, Callable[[Answers], tuple[float, Floats]]] = {
    accuracy: _of_terms(_right),
    balanced_accuracy: _of_counts(_mean_recall),
    macro_f1: _of_counts(_mean_f1),
    log_loss: _of_terms(_log_losses),
    brier: _of_terms(_briers),
    auroc: _auroc,
}
"""How to measure a score, and it without each group, all at once."""


def _evenly(terms: Callable[[Integers, Floats], Floats]) -> Callable[[Answers], Floats]:
    return lambda answers: np.asarray(terms(answers.labels, answers.probabilities) / answers.labels.size)


def _by_class(answers: Answers) -> Floats:
    counts = np.bincount(answers.labels)
    return np.asarray(_right(answers.labels, answers.probabilities) / (counts[answers.labels] * (counts > 0).sum()))


_TERMS: Mapping[Function, Callable[[Answers], Floats]] = {
    accuracy: _evenly(_right),
    balanced_accuracy: _by_class,
    log_loss: _evenly(_log_losses),
    brier: _evenly(_briers),
}
"""Of scores that are means over images, each image's part of the score."""
