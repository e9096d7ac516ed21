"""Scores: functions of labels and probabilities, and what each image and each group adds to them.

An interval needs a score as a weighted mean of what each image loses (`Losses`), a comparison needs by how much each
group moves it (`Scored.parts`). The scores that are known by name give both; of any other function each group's part is
found by leaving the group out.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from bloodcell.evaluation.photographs import photographs_of
from bloodcell.evaluation.probabilities import predicted_classes

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Function = Callable[[Integers, Floats], float]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The predicted probabilities of a model.

    Attributes
    ----------
    labels
        Shape (n,), the true classes, in 0..k-1.
    probabilities
        Shape (n, k), each row a distribution over the classes.
    groups
        Shape (n,), the group of each image, in 0..g-1, each with at least one image.
    sources
        Shape (n,), the photograph of each image; None where each group is one.
    """

    labels: Integers
    probabilities: Floats
    groups: Integers
    sources: Integers | None = None

    @property
    def n_groups(self) -> int:
        """The number of groups."""
        return int(self.groups.max()) + 1

    @property
    def images(self) -> Integers:
        """Shape (g,), the number of images of each group."""
        return np.bincount(self.groups).astype(np.int64)

    @cached_property
    def strata(self) -> Integers:
        """Shape (g,), the class of each group; all 0 if any group has several classes."""
        _, first = np.unique(self.groups, return_index=True)
        own = self.labels[first]
        one_class = (own[self.groups] == self.labels).all()
        return np.asarray(own if one_class else np.zeros_like(own), dtype=np.int64)

    def by_photograph(self) -> "Answers":
        """Return the mean answer for each photograph, whose label is the most frequent one of its images.

        A photograph whose images are in several groups counts in each of them.
        """
        first, numbers = self.photographs
        each = photographs_of(labels=self.labels, probabilities=self.probabilities, sources=numbers)
        groups = self.groups[first]
        return Answers(labels=each.labels, probabilities=each.probabilities, groups=groups)

    @cached_property
    def photographs(self) -> tuple[Integers, Integers]:
        """The first image of each of p photographs, shape (p,), and the photograph of each image, shape (n,)."""
        sources = self.groups if self.sources is None else self.sources
        _, first, numbers = np.unique(
            np.column_stack([self.groups, sources]), axis=0, return_index=True, return_inverse=True
        )
        return first.astype(np.int64), numbers.ravel().astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Losses:
    """A score as a weighted mean of what each image loses, or 1 less that mean.

    Attributes
    ----------
    each
        Shape (n,), the loss of each image, at least 0.
    weights
        Shape (n,), sum to 1.
    most
        The greatest loss; infinite if there is none.
    shared_by
        How many images share a loss: 2 for AUROC, which is a mean over pairs.
    if_wrong, if_right
        The mean loss that images would have if all were classified wrongly, and that of those classified correctly.
    """

    each: Floats
    weights: Floats
    most: float = 1.0
    shared_by: int = 1
    if_wrong: float = 1.0
    if_right: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A score, and what groups add to it.

    Attributes
    ----------
    value
        The score; NaN where it is not defined.
    parts
        Shape (g,), by how much each group moves the score from what it is over all groups, to first order: the
        influence function times the group's share. Sums to 0. NaN where that is not defined.
    weights
        Shape (g,), the groups' shares of the score; sum to 1.
    """

    value: float
    parts: Floats
    weights: Floats


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
    losses
        The score as a mean of losses; None if it is not known as one.
    """

    name: str
    function: Function
    greater_is_better: bool = True
    lowest: float = -np.inf
    highest: float = np.inf
    losses: Callable[[Integers, Floats], Losses] | None = None

    @property
    def is_share(self) -> bool:
        """Whether it is between 0 and 1, and so counted in points of a hundred."""
        return self.lowest == 0 and self.highest == 1

    @property
    def is_mean(self) -> bool:
        """Whether it is a plain mean over images, so that a mean over groups makes sense, too."""
        return self.function in (accuracy, log_loss, brier)

    def group_mean(self, answers: Answers) -> float:
        """Return the mean of the groups' own scores, each group counting once; for those that `is_mean`."""
        lost = self.group_losses(answers)
        mean = float((lost.weights * lost.each).sum())
        return 1 - mean if self.greater_is_better else mean

    def group_losses(self, answers: Answers) -> Losses:
        """Return what images lose, weighted so that each group counts once; for scores that are known as losses."""
        assert self.losses is not None
        weights = 1 / (answers.n_groups * answers.images[answers.groups])
        return replace(self.losses(answers.labels, answers.probabilities), weights=weights)

    def measure(self, answers: Answers) -> Scored:
        """Measure answers and what each group adds.

        Raises
        ------
        ValueError
            If a function fails on all answers, or returns no number.
        """
        if self.function in _PARTS:
            value = self.function(answers.labels, answers.probabilities)
            of_images = _PARTS[self.function](answers.labels, answers.probabilities)
            parts = np.bincount(answers.groups, weights=of_images)
        else:
            value, without = _one_by_one(self, answers)
            parts = (1 - answers.images / answers.images.sum()) * (value - without)
        weights = np.bincount(answers.groups, weights=self._weights(answers))
        return Scored(value=value, parts=np.asarray(parts), weights=np.asarray(weights))

    def _weights(self, answers: Answers) -> Floats:
        by_class = self.function in (balanced_accuracy, macro_f1, auroc)
        return _balanced(answers.labels) if by_class else _even(answers.labels.size)


SCORES: dict[str, Score] = {}
"""The scores that are known by name: every run keeps them, and comparisons and searches can be told to go by them.

`register_score` adds to them.
"""


def register_score(
    *,
    greater_is_better: bool = True,
    lowest: float = -np.inf,
    highest: float = np.inf,
    losses: Callable[[Integers, Floats], Losses] | None = None,
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
            losses=losses,
        )
        return function

    return register


def _even(n: int) -> Floats:
    return np.full(n, 1 / n)


def _balanced(labels: Integers) -> Floats:
    """Return weights that sum to 1, the same sum in each class."""
    counts = np.bincount(labels)
    return np.asarray(1 / (counts[labels] * (counts > 0).sum()), dtype=np.float64)


def _wrong(labels: Integers, probabilities: Floats) -> Floats:
    return np.asarray(predicted_classes(probabilities) != labels, dtype=np.float64)


def _losses_of_f1(labels: Integers, probabilities: Floats) -> Losses:
    """1 - F1 = (missed + mistaken) / (labels + predictions), in each class: an error counts in two of them."""
    predicted = predicted_classes(probabilities)
    either = np.bincount(labels, minlength=probabilities.shape[1]).astype(np.float64)
    either += np.bincount(predicted, minlength=probabilities.shape[1])
    weights = (1 / either[labels] + 1 / either[predicted]) / (either > 0).sum()
    return Losses(each=_wrong(labels, probabilities), weights=weights)


def _losses_of_auroc(labels: Integers, probabilities: Floats) -> Losses:
    """The placements of each image among those of the other side (DeLong et al., Biometrics 44, 1988)."""
    lost, weights = np.zeros((2, labels.size))
    for sides, placed in _placements(labels, probabilities):
        for side in (sides, ~sides):
            lost[side] += (1 - placed[side]) / side.sum()
            weights[side] += 1 / side.sum()
    return Losses(each=lost / weights, weights=weights / weights.sum(), shared_by=2)


def _losses_of_a_mean(
    function: Callable[[Integers, Floats], Floats], most: float
) -> Callable[[Integers, Floats], Losses]:
    def losses(labels: Integers, probabilities: Floats) -> Losses:
        each = function(labels, probabilities)
        predicted = predicted_classes(probabilities)
        others = probabilities.copy()
        others[np.arange(labels.size), predicted] = -1
        right = predicted == labels
        return Losses(
            each=each,
            weights=_even(labels.size),
            most=most,
            if_wrong=float(function(others.argmax(axis=1), probabilities).mean()),
            if_right=float(each[right].mean()) if right.any() else 0.0,
        )

    return losses


def _log_losses(labels: Integers, probabilities: Floats) -> Floats:
    # As scikit-learn clips them.
    of_label = probabilities[np.arange(labels.size), labels]
    return np.asarray(-np.log(np.clip(of_label, np.finfo(np.float64).eps, 1.0)))


def _briers(labels: Integers, probabilities: Floats) -> Floats:
    of_label = probabilities[np.arange(labels.size), labels]
    return np.asarray((probabilities**2).sum(axis=1) - 2 * of_label + 1)


@register_score(lowest=0, highest=1, losses=lambda y, p: Losses(each=_wrong(y, p), weights=_even(y.size)))
def accuracy(labels: Integers, probabilities: Floats) -> float:
    """Return the share of images whose most probable class is their label."""
    return float(1 - _wrong(labels, probabilities).mean())


@register_score(lowest=0, highest=1, losses=lambda y, p: Losses(each=_wrong(y, p), weights=_balanced(y)))
def balanced_accuracy(labels: Integers, probabilities: Floats) -> float:
    """Return the mean recall over the classes that occur in the labels."""
    return float(1 - (_balanced(labels) * _wrong(labels, probabilities)).sum())


@register_score(lowest=0, highest=1, losses=_losses_of_f1)
def macro_f1(labels: Integers, probabilities: Floats) -> float:
    """Return the mean F1 over the classes that occur in the labels or the predictions."""
    lost = _losses_of_f1(labels, probabilities)
    return float(1 - (lost.weights * lost.each).sum())


@register_score(greater_is_better=False, lowest=0, losses=_losses_of_a_mean(_log_losses, np.inf))
def log_loss(labels: Integers, probabilities: Floats) -> float:
    """Return the mean natural logarithm of 1 over the true class's probability."""
    return float(_log_losses(labels, probabilities).mean())


@register_score(greater_is_better=False, lowest=0, highest=2, losses=_losses_of_a_mean(_briers, 2.0))
def brier(labels: Integers, probabilities: Floats) -> float:
    """Return the mean over images of the sum over classes of squared differences, in 0..2 (Brier 1950)."""
    return float(_briers(labels, probabilities).mean())


@register_score(lowest=0, highest=1, losses=_losses_of_auroc)
def auroc(labels: Integers, probabilities: Floats) -> float:
    """Return the area under the ROC curve of one class against the rest, the mean over classes that have both."""
    areas = [float(placed[side].mean()) for side, placed in _placements(labels, probabilities)]
    return float(np.mean(areas)) if areas else float("nan")


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


def _placements(labels: Integers, probabilities: Floats) -> Sequence[tuple[NDArray[np.bool_], Floats]]:
    """Return, for each class that has both sides, which images are of it, and every image's placement.

    That is the share of the other side's images that it is ranked correctly against, ties for a half, shape (n,).
    """
    found = []
    for label in np.unique(labels):
        side = labels == label
        if side.all():
            continue
        ranks = rankdata(probabilities[:, label])
        placed = np.empty(labels.size)
        placed[side] = (ranks[side] - rankdata(ranks[side])) / (~side).sum()
        placed[~side] = 1 - (ranks[~side] - rankdata(ranks[~side])) / side.sum()
        found.append((side, placed))
    return found


def _parts_of_a_mean(terms: Callable[[Integers, Floats], Floats]) -> Callable[[Integers, Floats], Floats]:
    def parts(labels: Integers, probabilities: Floats) -> Floats:
        each = terms(labels, probabilities)
        return np.asarray((each - each.mean()) / labels.size)

    return parts


def _parts_of_recall(labels: Integers, probabilities: Floats) -> Floats:
    wrong = _wrong(labels, probabilities)
    missed = np.bincount(labels, weights=wrong) / np.maximum(np.bincount(labels), 1)
    return np.asarray(_balanced(labels) * (missed[labels] - wrong))


def _parts_of_f1(labels: Integers, probabilities: Floats) -> Floats:
    """The derivative of 2 right / (labels + predictions) by each image's share of the three counts."""
    k = probabilities.shape[1]
    predicted = predicted_classes(probabilities)
    right = labels == predicted
    either = (np.bincount(labels, minlength=k) + np.bincount(predicted, minlength=k)).astype(np.float64)
    f1 = 2 * np.bincount(labels[right], minlength=k) / np.maximum(either, 1)
    slope = 1 / (np.maximum(either, 1) * (either > 0).sum())
    return np.asarray(2 * right * slope[labels] - (f1 * slope)[labels] - (f1 * slope)[predicted])


def _parts_of_auroc(labels: Integers, probabilities: Floats) -> Floats:
    """Hoeffding's projection: each image's placement less the area, over the number of images of its side."""
    total, found = np.zeros(labels.size), _placements(labels, probabilities)
    for side, placed in found:
        for own in (side, ~side):
            total[own] += (placed[own] - placed[own].mean()) / own.sum()
    return total / len(found) if found else np.full(labels.size, np.nan)


_PARTS: Mapping[Function, Callable[[Integers, Floats], Floats]] = {
    accuracy: _parts_of_a_mean(lambda labels, probabilities: -_wrong(labels, probabilities)),
    balanced_accuracy: _parts_of_recall,
    macro_f1: _parts_of_f1,
    log_loss: _parts_of_a_mean(_log_losses),
    brier: _parts_of_a_mean(_briers),
    auroc: _parts_of_auroc,
}
"""Of scores that are known by name, by how much each image moves the score; sums to 0."""


def _one_by_one(score: Score, answers: Answers) -> tuple[float, Floats]:
    """Return a score of all answers, and without each group."""
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
