"""The members of an ensemble: runs with predictions of the same images."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.comparison.combination import group_log_loss
from bloodcell.comparison.differing import describe_difference, describe_set_difference, split_between_folds
from bloodcell.data.leaks import SPLIT_NAMES
from bloodcell.errors import UserError
from bloodcell.evaluation.folds import mean_by_image
from bloodcell.evaluation.intervals import accuracy_intervals
from bloodcell.evaluation.predictions import classes_of, label_indices, predictions_table, probabilities_of
from bloodcell.evaluation.probabilities import predicted_classes
from bloodcell.evaluation.sources import source_metrics
from bloodcell.wording import PHOTOGRAPH


@dataclass(frozen=True, kw_only=True)
class EnsembleMember:
    """A run of an ensemble, with its table of `bloodcell.evaluation.predictions`.

    In a cross-validation, an image of ``val`` is in the table once for each repeat.
    """

    name: str
    run_id: str
    predictions: pd.DataFrame

    @property
    def cross_validated(self) -> bool:
        """Whether its predictions of ``val`` are out of fold."""
        folds = self.predictions.loc[self.predictions["split"] == "val", "fold"]
        return bool(folds.notna().all() and folds.nunique() > 1)

    def __str__(self) -> str:
        """Return id and name."""
        return f"{self.run_id} ({self.name})"


@dataclass(frozen=True, kw_only=True)
class SplitPredictions:
    """The predictions of all members for one split.

    Attributes
    ----------
    images
        One row per image: ``path, label, source, group, split``.
    labels
        Shape (n,), indices of the true classes.
    groups
        Shape (n,), the group of each image.
    probabilities
        Shape (m, n, k), float64, of m members; the mean over repeats.
    """

    images: pd.DataFrame
    labels: NDArray[np.int64]
    groups: NDArray[np.str_]
    probabilities: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Joint:
    """Members and their aligned predictions, by split."""

    members: tuple[EnsembleMember, ...]
    classes: tuple[str, ...]
    splits: dict[str, SplitPredictions]


def join(members: Sequence[EnsembleMember], *, splits: Sequence[str], fits: bool) -> Joint:
    """Align the predictions of several runs.

    Parameters
    ----------
    members
        At least two runs.
    splits
        ``val``, and ``test`` if wanted.
    fits
        Whether weights are fitted to the predictions of ``val``, which must then be out of fold; otherwise overfitted
        models would get too much weight.

    Raises
    ------
    UserError
        With fewer than two runs, a run given twice, different classes, images, labels or groups, or no predictions of
        a split; if weights are fitted, also without a cross-validation or with one that leaks.
    """
    if len(members) < 2:
        found = f"only {members[0]}" if members else "none"
        raise UserError(f"runs: an ensemble needs at least two runs, there is {found}; give more")
    _require_different(members)
    first = members[0]
    classes = classes_of(first.predictions)
    for member in members[1:]:
        if differs := describe_set_difference(classes_of(member.predictions), classes):
            raise UserError(
                f"runs: {first} and {member} have different classes: {differs}; give runs with the same classes"
            )
    if fits:
        _require_out_of_fold(members)
    return Joint(
        members=tuple(members), classes=classes, splits={split: _predictions(members, split) for split in splits}
    )


def _require_different(members: Sequence[EnsembleMember]) -> None:
    for one, other in pairwise(sorted(members, key=lambda member: member.run_id)):
        if one.run_id == other.run_id:
            raise UserError(f"runs: {one} is given twice; give every run once")


def _require_out_of_fold(members: Sequence[EnsembleMember]) -> None:
    for member in members:
        if not member.cross_validated:
            raise UserError(
                f"runs: {member} is not a cross-validation, so it has no out-of-fold predictions to fit weights "
                "to; use method=soft, or runs with split=group_kfold"
            )
        val = member.predictions[member.predictions["split"] == "val"]
        for column, noun in (("source", PHOTOGRAPH), ("group", "group")):
            if several := split_between_folds(val, column):
                raise UserError(
                    f"runs: {member} leaks: images of {noun} {several[0]} are in several folds; use method=soft, "
                    "or runs with split=group_kfold"
                )


def _predictions(members: Sequence[EnsembleMember], split: str) -> SplitPredictions:
    classes = classes_of(members[0].predictions)
    tables = [_every_image_once(member, split) for member in members]
    for member, table in zip(members[1:], tables[1:], strict=True):
        if differs := describe_difference(tables[0], table, columns=("label", "source", "group")):
            raise UserError(
                f"runs: {members[0]} and {member} differ in {SPLIT_NAMES[split]}: {differs}; give runs of the same "
                "images and the same split"
            )
    return SplitPredictions(
        images=tables[0][["path", "label", "source", "group", "split"]],
        labels=label_indices(tables[0], classes),
        groups=tables[0]["group"].to_numpy(dtype=np.str_),
        probabilities=np.stack([probabilities_of(table, classes) for table in tables]),
    )


def _every_image_once(member: EnsembleMember, split: str) -> pd.DataFrame:
    table = member.predictions[member.predictions["split"] == split]
    if table.empty:
        advice = "use evaluate_test=false, or runs with evaluate_test=true" if split == "test" else "give other runs"
        raise UserError(f"runs: {member} has no predictions of {SPLIT_NAMES[split]}; {advice}")
    return mean_by_image([table], classes=classes_of(member.predictions))


def members_table(joint: Joint, *, shares: NDArray[np.float64], combined: pd.DataFrame) -> pd.DataFrame:
    """Return the metrics on validation of each member and, last, of the ensemble.

    Parameters
    ----------
    joint
        The members.
    shares
        Shape (m,), the weights of the members.
    combined
        The predictions table of the ensemble for ``val``.

    Returns
    -------
    DataFrame
        ``name, run_id, weight, accuracy, photograph_accuracy``, the ends of their intervals, ``photograph_log_loss``;
        the ensemble has no id, and NaN as weight.
    """
    val = joint.splits["val"]
    tables = [
        predictions_table(manifest=val.images, probabilities=each, classes=joint.classes) for each in val.probabilities
    ]
    names = [{"name": member.name, "run_id": member.run_id} for member in joint.members]
    rows: list[dict[str, Any]] = []
    for name, weight, table in zip(
        [*names, {"name": "ensemble", "run_id": ""}], [*shares, np.nan], [*tables, combined], strict=True
    ):
        probabilities = probabilities_of(table, joint.classes)
        rows.append(
            {
                **name,
                "weight": float(weight),
                "accuracy": float((predicted_classes(probabilities) == val.labels).mean()),
                "photograph_accuracy": source_metrics(table, classes=joint.classes)["photograph_accuracy"],
                **accuracy_intervals(table, classes=joint.classes),
                "photograph_log_loss": group_log_loss(probabilities, labels=val.labels, groups=val.groups),
            }
        )
    return pd.DataFrame(rows)
