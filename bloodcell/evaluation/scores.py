"""Scores: functions of labels and probabilities, and the contribution of each image and each group.

An interval needs the score as a weighted mean of the images' losses (`Losses`). A comparison needs the contribution of
each group (`ScoreByGroup`). The scores in `SCORES` have both; for any other function, contributions are the
leave-one-group-out jackknife.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from bloodcell.evaluation.probabilities import predicted_classes
from bloodcell.evaluation.ranks import auroc_by_column
from bloodcell.evaluation.sources import average_by_source

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Function = Callable[[Integers, Floats], float]
Terms = Callable[[Integers, Floats], Floats]  # a number for each image

LABELS = {"auroc": "AUROC", "macro_f1": "macro F1", "brier": "Brier score"}
"""Names in output that are not the function's name with spaces."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Labels, predicted probabilities and groups of n images.

    Attributes
    ----------
    labels, probabilities
        Shape (n,), the true classes, in 0..k-1; shape (n, k), each row a distribution over the classes.
    groups, sources
        Shape (n,), the group of each image, in 0..g-1, of which none is empty, and its source; None: each group is one.
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
        classes = self.labels[first]
        one_class = (classes[self.groups] == self.labels).all()
        return np.asarray(classes if one_class else np.zeros_like(classes), dtype=np.int64)

    @cached_property
    def images_digest(self) -> str:
        """A digest of the labels and groups, 16 hexadecimal digits."""
        return sha256(self.labels.tobytes() + self.groups.tobytes()).hexdigest()[:16]

    @cached_property
    def digest(self) -> str:
        """A digest of labels, groups and probabilities (six decimals), 16 hexadecimal digits."""
        rounded = np.round(self.probabilities, 6).astype(np.float64)
        return sha256(rounded.tobytes() + self.images_digest.encode()).hexdigest()[:16]

    def by_source(self) -> "Predictions":
        """Return the mean probabilities and the most frequent label of each source.

        A source whose images are in several groups counts in each of them.
        """
        first, numbers = self.source_index
        labels, probabilities = average_by_source(labels=self.labels, probabilities=self.probabilities, sources=numbers)
        return Predictions(labels=labels, probabilities=probabilities, groups=self.groups[first])

    @cached_property
    def source_index(self) -> tuple[Integers, Integers]:
        """The first image of each source, shape (s,), and each image's source, (n,)."""
        sources = self.groups if self.sources is None else self.sources
        _, first, numbers = np.unique(
            np.column_stack([self.groups, sources]), axis=0, return_index=True, return_inverse=True
        )
        return first.astype(np.int64), numbers.ravel().astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Losses:
    """A score as a weighted mean of the images' losses, or 1 less that mean.

    Attributes
    ----------
    values
        Shape (n,), the loss of each image, at least 0.
    weights
        Shape (n,), sum to 1.
    maximum
        The largest possible loss; may be infinite.
    shared_by
        The number of images that share a loss: 2 for AUROC, a mean over pairs.
    if_wrong, if_right
        The mean loss if all images were misclassified, and that of the images classified correctly.
    """

    values: Floats
    weights: Floats
    maximum: float = 1.0
    shared_by: int = 1
    if_wrong: float = 1.0
    if_right: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ScoreByGroup:
    """A score, NaN if undefined, and the contribution of each group.

    Attributes
    ----------
    contributions
        Shape (g,), how much each group moves the score, to first order: its influence function times its share. They
        sum to 0; NaN if undefined.
    weights
        Shape (g,), the groups' shares of the score; sum to 1.
    """

    value: float
    contributions: Floats
    weights: Floats


@dataclass(frozen=True, kw_only=True)
class Score:
    """A function of labels and probabilities.

    Attributes
    ----------
    name
        Its name in tables and settings.
    function
        From labels, shape (n,), int64, and probabilities, shape (n, k), float64, to a number.
    greater_is_better
        Whether a larger value is better.
    lowest, highest
        Its bounds.
    losses
        The score as a mean of losses; None if it is none.
    contributions
        How much each image moves the score, shape (n,), to first order; they sum to 0. None: by leaving groups out.
    is_mean
        Whether it is a plain mean over images, so that a mean over groups is defined.
    by_class
        Whether every class weighs the same.
    """

    name: str
    function: Function
    greater_is_better: bool = True
    lowest: float = -np.inf
    highest: float = np.inf
    losses: Callable[[Integers, Floats], Losses] | None = None
    contributions: Terms | None = None
    is_mean: bool = False
    by_class: bool = False

    @property
    def label(self) -> str:
        """The name in output."""
        return LABELS.get(self.name, self.name.replace("_", " "))

    @property
    def is_share(self) -> bool:
        """Whether it is in 0..1, and so shown in percent."""
        return self.lowest == 0 and self.highest == 1

    def group_mean(self, predictions: Predictions) -> float:
        """Return the mean of the groups' scores; for scores that are a mean over images."""
        lost = self.group_losses(predictions)
        mean = float((lost.weights * lost.values).sum())
        return 1 - mean if self.greater_is_better else mean

    def group_losses(self, predictions: Predictions) -> Losses:
        """Return the images' losses, weighted so that each group counts once."""
        assert self.losses is not None
        weights = 1 / (predictions.n_groups * predictions.images[predictions.groups])
        return replace(self.losses(predictions.labels, predictions.probabilities), weights=weights)

    def by_group(self, predictions: Predictions) -> ScoreByGroup:
        """Return the score with the contribution of each group.

        Raises
        ------
        ValueError
            If a function fails on all images, or returns no number.
        """
        labels, probabilities, groups = predictions.labels, predictions.probabilities, predictions.groups
        if self.contributions is None:
            value, without = _leave_one_group_out(self, predictions)
            contributions = (1 - predictions.images / predictions.images.sum()) * (value - without)
        else:
            value = self.function(labels, probabilities)
            contributions = np.bincount(groups, weights=self.contributions(labels, probabilities))
        weights = np.bincount(
            groups, weights=_balanced_weights(labels) if self.by_class else _equal_weights(labels.size)
        )
        return ScoreByGroup(value=value, contributions=np.asarray(contributions), weights=np.asarray(weights))


SCORES: dict[str, Score] = {}
"""The scores by name: every run reports them, and comparisons and searches can use them. See `register_score`."""


def register_score(**settings: Any) -> Callable[[Function], Function]:
    """Add a function to `SCORES` under its name; the settings are fields of `Score`, for example ``lowest=0``."""

    def register(function: Function) -> Function:
        SCORES[function.__name__] = Score(name=function.__name__, function=function, **settings)
        return function

    return register


def _equal_weights(n: int) -> Floats:
    return np.full(n, 1 / n)


def _balanced_weights(labels: Integers) -> Floats:
    """Return weights that sum to 1, the same sum in each class."""
    counts = np.bincount(labels)
    return np.asarray(1 / (counts[labels] * (counts > 0).sum()), dtype=np.float64)


def _errors(labels: Integers, probabilities: Floats) -> Floats:
    return np.asarray(predicted_classes(probabilities) != labels, dtype=np.float64)


def _f1_losses(labels: Integers, probabilities: Floats) -> Losses:
    """1 - F1 = (missed + mistaken) / (labels + predictions) in each class."""
    predicted = predicted_classes(probabilities)
    either = np.bincount(labels, minlength=probabilities.shape[1]).astype(np.float64)
    either += np.bincount(predicted, minlength=probabilities.shape[1])
    weights = (1 / either[labels] + 1 / either[predicted]) / (either > 0).sum()
    return Losses(values=_errors(labels, probabilities), weights=weights)


def _auroc_losses(labels: Integers, probabilities: Floats) -> Losses:
    """Losses from placements (DeLong et al., Biometrics 44, 1988)."""
    lost, weights = np.zeros((2, labels.size))
    for sides, placed in _placements(labels, probabilities):
        for side in (sides, ~sides):
            lost[side] += (1 - placed[side]) / side.sum()
            weights[side] += 1 / side.sum()
    return Losses(values=lost / weights, weights=weights / weights.sum(), shared_by=2)


def _mean_of(terms: Terms, *, maximum: float) -> dict[str, Any]:
    """Return the settings of a score that is the mean of a term of each image."""

    def losses(labels: Integers, probabilities: Floats) -> Losses:
        each = terms(labels, probabilities)
        predicted = predicted_classes(probabilities)
        others = probabilities.copy()
        others[np.arange(labels.size), predicted] = -1
        right = predicted == labels
        return Losses(
            values=each,
            weights=_equal_weights(labels.size),
            maximum=maximum,
            if_wrong=float(terms(others.argmax(axis=1), probabilities).mean()),
            if_right=float(each[right].mean()) if right.any() else 0.0,
        )

    return {"losses": losses, "contributions": _mean_contributions(terms), "is_mean": True}


def _log_losses(labels: Integers, probabilities: Floats) -> Floats:
    # As scikit-learn clips them.
    of_label = probabilities[np.arange(labels.size), labels]
    return np.asarray(-np.log(np.clip(of_label, np.finfo(np.float64).eps, 1.0)))


def _briers(labels: Integers, probabilities: Floats) -> Floats:
    of_label = probabilities[np.arange(labels.size), labels]
    return np.asarray((probabilities**2).sum(axis=1) - 2 * of_label + 1)


def _placements(labels: Integers, probabilities: Floats) -> Sequence[tuple[NDArray[np.bool_], Floats]]:
    """Return each class's members and all placements, shape (n,) each.

    A placement is the share of the other side's images that the image is ranked correctly against; ties count half.
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


def _mean_contributions(terms: Terms) -> Terms:
    def contributions(labels: Integers, probabilities: Floats) -> Floats:
        each = terms(labels, probabilities)
        return np.asarray((each - each.mean()) / labels.size)

    return contributions


def _recall_contributions(labels: Integers, probabilities: Floats) -> Floats:
    wrong = _errors(labels, probabilities)
    missed = np.bincount(labels, weights=wrong) / np.maximum(np.bincount(labels), 1)
    return np.asarray(_balanced_weights(labels) * (missed[labels] - wrong))


def _f1_contributions(labels: Integers, probabilities: Floats) -> Floats:
    """Contributions from the derivative of 2 right / (labels + predictions)."""
    k = probabilities.shape[1]
    predicted = predicted_classes(probabilities)
    right = labels == predicted
    either = (np.bincount(labels, minlength=k) + np.bincount(predicted, minlength=k)).astype(np.float64)
    f1 = 2 * np.bincount(labels[right], minlength=k) / np.maximum(either, 1)
    slope = 1 / (np.maximum(either, 1) * (either > 0).sum())
    return np.asarray(2 * right * slope[labels] - (f1 * slope)[labels] - (f1 * slope)[predicted])


def _auroc_contributions(labels: Integers, probabilities: Floats) -> Floats:
    """Hoeffding's projection: placements less the area, over the side's images."""
    total, found = np.zeros(labels.size), _placements(labels, probabilities)
    for side, placed in found:
        for images in (side, ~side):
            total[images] += (placed[images] - placed[images].mean()) / images.sum()
    return total / len(found) if found else np.full(labels.size, np.nan)


@register_score(
    lowest=0,
    highest=1,
    losses=lambda y, p: Losses(values=_errors(y, p), weights=_equal_weights(y.size)),
    contributions=_mean_contributions(lambda y, p: -_errors(y, p)),
    is_mean=True,
)
def accuracy(labels: Integers, probabilities: Floats) -> float:
    """Return the share of images whose most probable class is their label."""
    return float((1 - _errors(labels, probabilities)).mean())


@register_score(
    lowest=0,
    highest=1,
    losses=lambda y, p: Losses(values=_errors(y, p), weights=_balanced_weights(y)),
    contributions=_recall_contributions,
    by_class=True,
)
def balanced_accuracy(labels: Integers, probabilities: Floats) -> float:
    """Return the mean recall over the classes that occur in the labels."""
    return float((_balanced_weights(labels) * (1 - _errors(labels, probabilities))).sum())


@register_score(lowest=0, highest=1, losses=_f1_losses, contributions=_f1_contributions, by_class=True)
def macro_f1(labels: Integers, probabilities: Floats) -> float:
    """Return the mean F1 over the classes that occur in the labels or the predictions."""
    lost = _f1_losses(labels, probabilities)
    return float(1 - (lost.weights * lost.values).sum())


@register_score(greater_is_better=False, lowest=0, **_mean_of(_log_losses, maximum=np.inf))
def log_loss(labels: Integers, probabilities: Floats) -> float:
    """Return the mean natural logarithm of 1 over the true class's probability."""
    return float(_log_losses(labels, probabilities).mean())


@register_score(greater_is_better=False, lowest=0, highest=2, **_mean_of(_briers, maximum=2.0))
def brier(labels: Integers, probabilities: Floats) -> float:
    """Return the mean squared error of probabilities, in 0..2 (Brier 1950)."""
    return float(_briers(labels, probabilities).mean())


@register_score(lowest=0, highest=1, losses=_auroc_losses, contributions=_auroc_contributions, by_class=True)
def auroc(labels: Integers, probabilities: Floats) -> float:
    """Return the mean one-vs-rest area under the ROC curve over classes."""
    areas = auroc_by_column(probabilities, labels[:, None] == np.arange(probabilities.shape[1]))
    return float(np.nanmean(areas)) if np.isfinite(areas).any() else float("nan")


def find_score(metric: "str | Score | Function") -> Score:
    """Return a score by its name or function; of one that is not registered, greater is better.

    Raises
    ------
    ValueError
        If no score has this name.

    Examples
    --------
    >>> from bloodcell.evaluation.scores import find_score
    >>> find_score("log_loss").greater_is_better
    False
    """
    if isinstance(metric, Score):
        return metric
    if callable(metric):
        known = next((each for each in SCORES.values() if each.function is metric), None)
        return known or Score(name=getattr(metric, "__name__", "score"), function=metric)
    if metric not in SCORES:
        raise ValueError(f"{metric} is unknown; the metrics are {', '.join(SCORES)}")
    return SCORES[metric]


def _leave_one_group_out(score: Score, predictions: Predictions) -> tuple[float, Floats]:
    """Return a score of all images, and shape (g,) the score without each group."""
    order = np.argsort(predictions.groups, kind="stable")
    labels, probabilities = predictions.labels[order], predictions.probabilities[order]
    try:
        value = float(score.function(labels.copy(), probabilities.copy()))
    except Exception as error:  # a user's function may raise anything
        raise ValueError(f"{score.name} cannot be computed ({' '.join(str(error).split())})") from error
    without = np.full(predictions.n_groups, np.nan)
    ends = np.cumsum(predictions.images)
    for group, (images, end) in enumerate(zip(predictions.images, ends, strict=True)):
        kept = np.r_[0 : end - images, end : labels.size]
        with suppress(Exception):  # a class may be missing without the group
            without[group] = float(score.function(labels[kept], probabilities[kept]))
    return value, without
