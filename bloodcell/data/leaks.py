"""Whether copies of one photograph are on two sides of a split, and what becomes of them.

Images are copies of one photograph if they are of one group, or the same file: groups that a user gives may tear exact
copies apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.data.manifest import SPLITS
from bloodcell.errors import UserError

NAMES = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What two sides of a split have in common.

    Attributes
    ----------
    sides
        Two of ``train``, ``val`` and ``test``, in this order.
    photographs
        How many have images on both.
    images
        How many images of each side have a copy on the other.
    totals
        How many images each side has.
    example
        The paths of an image of each side that are copies of one photograph.
    exact
        Whether those two are the same file though their groups differ.
    """

    sides: tuple[str, str]
    photographs: int
    images: tuple[int, int]
    totals: tuple[int, int]
    example: tuple[str, str]
    exact: bool

    def __str__(self) -> str:
        """Say it of the side that is evaluated."""
        known, evaluated = (NAMES[side] for side in self.sides)
        count, total = self.images[1], self.totals[1]
        return f"{count} of {total} {evaluated} images have a copy of their photograph in {known}"


@dataclass(frozen=True, kw_only=True)
class Leak:
    """What is known of leaks in a split.

    Attributes
    ----------
    shared
        What its sides have in common.
    by_file
        Whether validation was taken file by file, so that nothing keeps copies of one photograph together.
    looked_for
        Whether groups are known; where they are not, only exact copies are.
    """

    shared: Sequence[Shared]
    by_file: bool
    looked_for: bool

    @property
    def leaky(self) -> str:
        """``true``, ``false``, or ``unknown`` where nobody looked for groups."""
        if self.shared or self.by_file:
            return "true"
        return "false" if self.looked_for else "unknown"

    def mark(self, split: str) -> str:
        """Return what stands behind a split's figures: `` *`` where they may say too much, `` ?`` where none knows."""
        if (self.by_file and split == "val") or any(shared.sides[1] == split for shared in self.shared):
            return " *"
        return "" if self.looked_for else " ?"

    @property
    def sentence(self) -> str:
        """What a reader of the run's figures has to know; empty where nothing leaks."""
        parts = [f"{'; '.join(map(str, self.shared))}: figures say too much"] if self.shared else []
        if self.by_file and not any(shared.sides == ("train", "val") for shared in self.shared):
            parts.append("the split goes by file, so nothing keeps copies of one photograph on one side")
        if not self.looked_for:
            parts.append(
                "groups were not looked for (data.groups=none), so it is not known how many images have a copy of "
                "their photograph on another side"
            )
        text = ". ".join(part[0].upper() + part[1:] for part in parts)
        return f"{text}." if text else ""


def shared_photographs(manifest: pd.DataFrame) -> list[Shared]:
    """Return what the sides of a split have in common, for each two that have anything."""
    photographs = photograph_numbers(manifest)
    found = []
    for sides in combinations(SPLITS, 2):
        one, other = (manifest["split"].to_numpy() == side for side in sides)
        both = np.intersect1d(photographs[one], photographs[other])
        if not both.size:
            continue
        copies = np.isin(photographs, both)
        first = photographs == both[0]
        rows = [manifest[first & side].iloc[0] for side in (one, other)]
        found.append(
            Shared(
                sides=(sides[0], sides[1]),
                photographs=int(both.size),
                images=(int((copies & one).sum()), int((copies & other).sum())),
                totals=(int(one.sum()), int(other.sum())),
                example=(rows[0]["path"], rows[1]["path"]),
                exact=bool(rows[0]["sha256"] == rows[1]["sha256"] and rows[0]["group"] != rows[1]["group"]),
            )
        )
    return found


def shared_in_folds(folds: Sequence[pd.DataFrame]) -> list[Shared]:
    """Add up what training and validation have in common in each fold of a cross-validation; empty if nothing."""
    found = [shared for fold in folds for shared in shared_photographs(fold) if shared.sides == ("train", "val")]
    if not found:
        return []
    return [
        replace(
            found[0],
            photographs=sum(shared.photographs for shared in found),
            images=(sum(shared.images[0] for shared in found), sum(shared.images[1] for shared in found)),
            totals=(
                sum((fold["split"] == "train").sum() for fold in folds),
                sum((fold["split"] == "val").sum() for fold in folds),
            ),
        )
    ]


def settle(manifest: pd.DataFrame, *, on_shared_groups: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Refuse images whose photograph is on two sides, leave them out, or let them be.

    Parameters
    ----------
    manifest
        As in `bloodcell.data.manifest.ImageSet`.
    on_shared_groups
        ``error``; ``drop``, which leaves out training images whose photograph is in validation or test too, and
        validation images whose photograph is in test; or ``allow``.

    Returns
    -------
    manifest
        The images that stay.
    left_out
        The rows of those that do not.

    Raises
    ------
    UserError
        If there are such images and ``on_shared_groups`` is ``error``, or if dropping them leaves a class without
        images on a side.
    """
    shared = shared_photographs(manifest)
    dropped = np.zeros(len(manifest), dtype=bool)
    if shared and on_shared_groups == "error":
        raise UserError(_refusal(shared))
    if shared and on_shared_groups == "drop":
        dropped = _dropped(manifest)
        _check_no_class_is_lost(manifest, dropped)
    return manifest[~dropped].reset_index(drop=True), manifest[dropped].reset_index(drop=True)


def photograph_numbers(manifest: pd.DataFrame) -> NDArray[np.int64]:
    """Number the photographs: images of one group have one number, and so have exact copies; shape (n,)."""
    numbers = pd.Series(manifest.groupby("group").ngroup().to_numpy())
    while True:
        # The smallest number travels along shared digests and groups until it has reached every copy.
        joined = numbers
        for column in ("sha256", "group"):
            joined = joined.groupby(manifest[column].to_numpy()).transform("min")
        if joined.equals(numbers):
            return numbers.to_numpy(dtype=np.int64)
        numbers = joined


def _dropped(manifest: pd.DataFrame) -> NDArray[np.bool_]:
    photographs = photograph_numbers(manifest)
    train, val, test = (manifest["split"].to_numpy() == side for side in SPLITS)
    in_test = np.isin(photographs, photographs[test])
    in_val = np.isin(photographs, photographs[val])
    return np.asarray((train & (in_val | in_test)) | (val & in_test))


def _check_no_class_is_lost(manifest: pd.DataFrame, dropped: NDArray[np.bool_]) -> None:
    for split, side in manifest.assign(dropped=dropped).groupby("split"):
        for label, rows in side.groupby("label"):
            if rows["dropped"].all():
                raise UserError(
                    f"data.on_shared_groups=drop: leaves no {NAMES[str(split)]} images of class {label}, as all "
                    f"{len(rows)} have a copy on another side; put every photograph on one side only"
                )


def _refusal(shared: Sequence[Shared]) -> str:
    found = "; ".join(
        f"{NAMES[one]} and {NAMES[other]} share {_count(part.photographs, 'photograph')} ({part.images[0]} of "
        f"{part.totals[0]} and {part.images[1]} of {part.totals[1]} images, for example {part.example[0]} and "
        f"{part.example[1]}{', the same file' * part.exact})"
        for part in shared
        for one, other in [part.sides]
    )
    joined = "data.groups=recover joins exact copies, " * any(part.exact for part in shared)
    return (
        f"data.on_shared_groups=error: {found}; put every photograph on one side only: {joined}"
        "data.on_shared_groups=drop leaves such images out of training, =allow goes on and marks the run as leaky"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
