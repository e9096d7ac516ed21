"""The members of an ensemble: runs whose predictions are of the same images, and can be combined."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.comparison.differing import difference, of_sets, torn_between_folds
from bloodcell.data.leaks import SPLIT_NAMES
from bloodcell.errors import UserError
from bloodcell.evaluation.folds import mean_by_image
from bloodcell.evaluation.predictions import classes_of, label_indices, probabilities_of
from bloodcell.wording import PHOTOGRAPH


@dataclass(frozen=True, kw_only=True)
class Member:
    """A run that is to be combined with others.

    Attributes
    ----------
    name
        The run's, for people.
    run_id
        MLflow's id.
    predictions
        The table that the run left, see `bloodcell.evaluation.predictions`. In a cross-validation an image of ``val``
        may be in it several times, once for each repeat.
    """

    name: str
    run_id: str
    predictions: pd.DataFrame

    @property
    def cross_validated(self) -> bool:
        """Whether its predictions of ``val`` are those of the folds of a cross-validation."""
        folds = self.predictions.loc[self.predictions["split"] == "val", "fold"]
        return bool(folds.notna().all() and folds.nunique() > 1)

    def __str__(self) -> str:
        """Name it so that a user finds it."""
        return f"{self.run_id} ({self.name})"


@dataclass(frozen=True, kw_only=True)
class Side:
    """What all members think of the images of one split.

    Attributes
    ----------
    images
        Every image once: ``path, label, group, split``, n rows.
    labels
        Shape (n,), indices of the true classes.
    groups
        Shape (n,), the photograph that each image was made from.
    probabilities
        Shape (m, n, k), float64, of m members; of an image that a member predicted several times the mean.
    """

    images: pd.DataFrame
    labels: NDArray[np.int64]
    groups: NDArray[np.str_]
    probabilities: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Joint:
    """Members that can be combined, and their predictions in one order of images and classes."""

    members: tuple[Member, ...]
    classes: tuple[str, ...]
    sides: dict[str, Side]


def join(members: Sequence[Member], *, splits: Sequence[str], fits: bool) -> Joint:
    """Put the predictions of several runs into one order, where they can be combined.

    Parameters
    ----------
    members
        At least two runs.
    splits
        ``val``, and ``test`` where it is wanted.
    fits
        Whether something is to be fitted to the predictions of ``val``. They must then be out of fold: a model that
        saw an image would get a weight for its memory.

    Raises
    ------
    UserError
        In one line that names the runs and how they differ: less than two, one twice, other classes, images, labels or
        photographs, no predictions of a split; or if something is to be fitted and a run is no cross-validation, or
        one that took copies of one photograph apart.
    """
    if len(members) < 2:
        found = f"only {members[0]}" if members else "none"
        raise UserError(f"runs: an ensemble needs at least two runs, there is {found}; give more")
    _require_different(members)
    first = members[0]
    classes = classes_of(first.predictions)
    for member in members[1:]:
        if differs := of_sets(classes_of(member.predictions), classes):
            raise UserError(f"runs: {first} and {member} have different classes: {differs}; give runs of one set")
    if fits:
        _require_out_of_fold(members)
    return Joint(members=tuple(members), classes=classes, sides={split: _side(members, split) for split in splits})


def _require_different(members: Sequence[Member]) -> None:
    for one, other in pairwise(sorted(members, key=lambda member: member.run_id)):
        if one.run_id == other.run_id:
            raise UserError(f"runs: {one} is given twice; give every run once")


def _require_out_of_fold(members: Sequence[Member]) -> None:
    for member in members:
        if not member.cross_validated:
            raise UserError(
                f"runs: {member} is no cross-validation, so that it has no out-of-fold predictions of all training "
                "images to fit weights to; use method=soft, or runs with split=group_kfold"
            )
        val = member.predictions[member.predictions["split"] == "val"]
        for column, noun in (("source", PHOTOGRAPH), ("group", "group")):
            if torn := torn_between_folds(val, column):
                raise UserError(
                    f"runs: {member} leaks: images of {noun} {torn[0]} are in several of its folds; use method=soft, "
                    "or runs with split=group_kfold"
                )


def _side(members: Sequence[Member], split: str) -> Side:
    classes = classes_of(members[0].predictions)
    tables = [_every_image_once(member, split) for member in members]
    for member, table in zip(members[1:], tables[1:], strict=True):
        if differs := difference(tables[0], table):
            raise UserError(
                f"runs: {members[0]} and {member} differ in {SPLIT_NAMES[split]}: {differs}; give runs of the same "
                "images and the same split"
            )
    return Side(
        images=tables[0][["path", "label", "source", "group", "split"]],
        labels=label_indices(tables[0], classes),
        groups=tables[0]["group"].to_numpy(dtype=np.str_),
        probabilities=np.stack([probabilities_of(table, classes) for table in tables]),
    )


def _every_image_once(member: Member, split: str) -> pd.DataFrame:
    table = member.predictions[member.predictions["split"] == split]
    if table.empty:
        advice = "use evaluate_test=false, or runs with evaluate_test=true" if split == "test" else "give other runs"
        raise UserError(f"runs: {member} has no predictions of {SPLIT_NAMES[split]}; {advice}")
    return mean_by_image([table], classes=classes_of(member.predictions))
