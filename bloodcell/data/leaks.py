"""Whether copies of one photograph, or images of one group, are on two sides of a split, and what becomes of them.

Images are copies of one photograph if they have one source or are the same file. Both levels are checked, whatever the
groups came from: groups that a user gives may part copies of one photograph.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.data.manifest import SPLITS
from bloodcell.errors import UserError
from bloodcell.wording import PHOTOGRAPH, counted, plural

SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True, kw_only=True)
class SharedGroups:
    """What two sides of a split have in common.

    Attributes
    ----------
    sides
        Two of ``train``, ``val`` and ``test``, in this order.
    noun
        What they share: ``photograph``, or what a group is called.
    number
        How many have images on both.
    images
        How many images of each side have a copy, or another of their group, on the other.
    totals
        How many images each side has.
    example
        The paths of an image of each side that are of one photograph, or group.
    exact
        Whether those two are the same file though their groups differ.
    """

    sides: tuple[str, str]
    noun: str
    number: int
    images: tuple[int, int]
    totals: tuple[int, int]
    example: tuple[str, str]
    exact: bool

    def __str__(self) -> str:
        """Say it of the side that is evaluated."""
        known, evaluated = (SPLIT_NAMES[side] for side in self.sides)
        count, total = self.images[1], self.totals[1]
        if self.noun == PHOTOGRAPH:
            return f"{count} of {total} {evaluated} images have a copy of their photograph in {known}"
        return f"{count} of {total} {evaluated} images are of a {self.noun} that has images in {known}"


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """What is known of leaks in a split.

    Attributes
    ----------
    shared
        What its sides have in common.
    split_by_file
        Whether validation was taken file by file, so that nothing keeps copies of one photograph together.
    groups_known
        Whether groups are known; where they are not, only exact copies are.
    torn
        The photographs whose images lie in more than one group, with the names of those groups.
    group_name
        What a group is called.
    """

    shared: Sequence[SharedGroups]
    split_by_file: bool
    groups_known: bool
    torn: Mapping[str, Sequence[str]] = field(default_factory=dict)
    group_name: str = PHOTOGRAPH

    @property
    def leaky(self) -> str:
        """``true``, ``false``, or ``unknown`` where nobody looked for groups."""
        if self.shared or self.split_by_file:
            return "true"
        return "false" if self.groups_known else "unknown"

    def mark(self, split: str) -> str:
        """Return what stands behind a split's figures: `` *`` where they may say too much, `` ?`` where none knows."""
        if (self.split_by_file and split == "val") or any(shared.sides[1] == split for shared in self.shared):
            return " *"
        return "" if self.groups_known else " ?"

    @property
    def sentence(self) -> str:
        """What a reader of the run's figures has to know; empty where nothing leaks."""
        parts = [f"{'; '.join(map(str, self.shared))}: figures say too much"] if self.shared else []
        if self.split_by_file and not any(shared.sides == ("train", "val") for shared in self.shared):
            parts.append("the split goes by file, so nothing keeps copies of one photograph on one side")
        if not self.groups_known:
            parts.append(
                "groups were not looked for (data.groups=none), so it is not known how many images have a copy of "
                "their photograph on another side"
            )
        if self.torn:
            names = [f"{self.group_name} {name}" for name in next(iter(self.torn.values()))]
            parts.append(
                f"{counted(len(self.torn), PHOTOGRAPH)} lie{'s' * (len(self.torn) == 1)} in several "
                f"{plural(self.group_name)}, one in {' and '.join(names)}: they are not independent; give them one name"
            )
        text = ". ".join(part[0].upper() + part[1:] for part in parts)
        return f"{text}." if text else ""


def find_shared_groups(manifest: pd.DataFrame, *, group_name: str = PHOTOGRAPH) -> list[SharedGroups]:
    """Return what the sides of a split have in common, for each two that have anything: photographs, then groups."""
    levels = [(PHOTOGRAPH, connected_components(manifest, "source", "sha256"))]
    if not same_partition(manifest["source"], manifest["group"]):
        levels.append((group_name, connected_components(manifest, "group")))
    return [
        shared
        for noun, numbers in levels
        for sides in combinations(SPLITS, 2)
        if (shared := _shared(manifest, numbers, sides=(sides[0], sides[1]), noun=noun)) is not None
    ]


def _shared(
    manifest: pd.DataFrame, numbers: NDArray[np.int64], *, sides: tuple[str, str], noun: str
) -> SharedGroups | None:
    one, other = (manifest["split"].to_numpy() == side for side in sides)
    both = np.intersect1d(numbers[one], numbers[other])
    if not both.size:
        return None
    copies = np.isin(numbers, both)
    first = numbers == both[0]
    rows = [manifest[first & side].iloc[0] for side in (one, other)]
    return SharedGroups(
        sides=sides,
        noun=noun,
        number=int(both.size),
        images=(int((copies & one).sum()), int((copies & other).sum())),
        totals=(int(one.sum()), int(other.sum())),
        example=(rows[0]["path"], rows[1]["path"]),
        exact=bool(rows[0]["sha256"] == rows[1]["sha256"] and rows[0]["group"] != rows[1]["group"]),
    )


def shared_groups_in_folds(folds: Sequence[pd.DataFrame], *, group_name: str = PHOTOGRAPH) -> list[SharedGroups]:
    """Add up what training and validation have in common in each fold of a cross-validation; empty if nothing."""
    found = [
        shared
        for fold in folds
        for shared in find_shared_groups(fold, group_name=group_name)
        if shared.sides == ("train", "val")
    ]
    totals = tuple(sum(int((fold["split"] == side).sum()) for fold in folds) for side in ("train", "val"))
    added = []
    for noun in dict.fromkeys(shared.noun for shared in found):
        alike = [shared for shared in found if shared.noun == noun]
        images = tuple(sum(shared.images[side] for shared in alike) for side in (0, 1))
        number = sum(shared.number for shared in alike)
        added.append(replace(alike[0], number=number, images=(images[0], images[1]), totals=(totals[0], totals[1])))
    return added


def resolve_leaks(
    manifest: pd.DataFrame, *, on_shared_groups: str, group_name: str = PHOTOGRAPH
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Refuse images whose photograph or group is on two sides, leave them out, or let them be.

    Parameters
    ----------
    manifest
        As in `bloodcell.data.manifest.ImageSet`.
    on_shared_groups
        ``error``; ``drop``, which leaves out training images whose photograph or group is in validation or test too,
        and validation images whose photograph or group is in test; or ``allow``.
    group_name
        What a group is called.

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
    shared = find_shared_groups(manifest, group_name=group_name)
    dropped = np.zeros(len(manifest), dtype=bool)
    if shared and on_shared_groups == "error":
        raise UserError(_refusal(shared, given=not same_partition(manifest["source"], manifest["group"])))
    if shared and on_shared_groups == "drop":
        dropped = _dropped(manifest)
        _check_no_class_is_lost(manifest, dropped)
    return manifest[~dropped].reset_index(drop=True), manifest[dropped].reset_index(drop=True)


def connected_components(manifest: pd.DataFrame, *columns: str) -> NDArray[np.int64]:
    """Number images so that those with one value in any of some columns have one number, directly or by others.

    Returns
    -------
    ndarray of shape (n,), int64
    """
    numbers = pd.Series(manifest.groupby(columns[0]).ngroup().to_numpy())
    while True:
        # The smallest number travels along shared values until it has reached every image.
        joined = numbers
        for column in columns:
            joined = joined.groupby(manifest[column].to_numpy()).transform("min")
        if joined.equals(numbers):
            return numbers.to_numpy(dtype=np.int64)
        numbers = joined


def same_partition(one: "pd.Series[str]", other: "pd.Series[str]") -> bool:
    """Say whether two columns put images together alike, whatever their values are."""
    return bool(np.array_equal(pd.factorize(one)[0], pd.factorize(other)[0]))


def _dropped(manifest: pd.DataFrame) -> NDArray[np.bool_]:
    numbers = connected_components(manifest, "group", "source", "sha256")
    train, val, test = (manifest["split"].to_numpy() == side for side in SPLITS)
    in_test = np.isin(numbers, numbers[test])
    in_val = np.isin(numbers, numbers[val])
    return np.asarray((train & (in_val | in_test)) | (val & in_test))


def _check_no_class_is_lost(manifest: pd.DataFrame, dropped: NDArray[np.bool_]) -> None:
    for split, side in manifest.assign(dropped=dropped).groupby("split"):
        for label, rows in side.groupby("label"):
            if rows["dropped"].all():
                raise UserError(
                    f"data.on_shared_groups=drop: leaves no {SPLIT_NAMES[str(split)]} images of class {label}, as all "
                    f"{len(rows)} have a copy on another side; put every photograph on one side only"
                )


def _refusal(shared: Sequence[SharedGroups], *, given: bool) -> str:
    found = "; ".join(
        f"{SPLIT_NAMES[one]} and {SPLIT_NAMES[other]} share {counted(part.number, part.noun)} ({part.images[0]} of "
        f"{part.totals[0]} and {part.images[1]} of {part.totals[1]} images, for example {part.example[0]} and "
        f"{part.example[1]}{', the same file' * part.exact})"
        for part in shared
        for one, other in [part.sides]
    )
    joined = "data.groups=recover joins exact copies, " * (any(part.exact for part in shared) and not given)
    if given and any(part.noun == PHOTOGRAPH for part in shared):
        joined = "name one group for all images of a photograph (data.photographs=groups if they were not of one), "
    nouns = " and ".join(dict.fromkeys(part.noun for part in shared))
    return (
        f"data.on_shared_groups=error: {found}; put every {nouns} on one side only: {joined}"
        "data.on_shared_groups=drop leaves such images out of training, =allow goes on and marks the run as leaky"
    )
