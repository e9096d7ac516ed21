"""Leakage: sources and groups that have images in more than one split.

Two images are copies if they have the same source or the same content. Both sources and groups are always checked:
groups that a user gives can separate copies of one photograph.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.data.manifest import SPLITS, UNTEXTURED
from bloodcell.errors import UserError
from bloodcell.wording import PHOTOGRAPH, counted, plural

SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True, kw_only=True)
class SharedGroups:
    """The sources, or groups, that two splits share.

    Attributes
    ----------
    splits
        Two of ``train``, ``val`` and ``test``, in this order.
    noun
        ``photograph``, or the user's word for a group.
    number
        Number of them with images in both splits.
    images
        Number of these images in each split.
    totals
        Number of all images of each split.
    example
        The paths of an image of each split with the same source, or group.
    exact
        Whether those two have the same content but different groups.
    """

    splits: tuple[str, str]
    noun: str
    number: int
    images: tuple[int, int]
    totals: tuple[int, int]
    example: tuple[str, str]
    exact: bool

    def __str__(self) -> str:
        """Return a clause about the images of the second split."""
        first, second = (SPLIT_NAMES[split] for split in self.splits)
        of_source = self.noun == PHOTOGRAPH
        relation = f"have a copy in {first}" if of_source else f"are of a {self.noun} with images in {first}"
        return f"{self.images[1]} of {self.totals[1]} {second} images {relation}"


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """The known leakage of a split.

    Attributes
    ----------
    shared
        What its splits share.
    split_by_file
        Whether the split is by file, which can separate copies.
    groups_known
        Whether groups are known; if not, only exact copies are found.
    untextured
        Number of images with too little texture to be matched, if they are in more than one split.
    sources_in_groups
        The sources with images in more than one group, and the names of those groups.
    group_name
        The user's word for a group.
    """

    shared: Sequence[SharedGroups]
    split_by_file: bool
    groups_known: bool
    untextured: int = 0
    sources_in_groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    group_name: str = PHOTOGRAPH

    @property
    def leaky(self) -> str:
        """``true``, ``false``, or ``unknown`` if groups, or the groups of some images, are unknown."""
        if self.shared or self.split_by_file:
            return "true"
        return "false" if self._known else "unknown"

    @property
    def _known(self) -> bool:
        return self.groups_known and not self.untextured

    def mark(self, split: str) -> str:
        """Return the mark of a split's metrics: `` *`` if leakage may inflate them, `` ?`` if that is unknown."""
        if (self.split_by_file and split == "val") or any(shared.splits[1] == split for shared in self.shared):
            return " *"
        return "" if self._known else " ?"

    @property
    def sentence(self) -> str:
        """A warning for readers of the run's metrics; empty if there is no leakage."""
        parts = [f"{'; '.join(map(str, self.shared))}: metrics are inflated by leakage"] if self.shared else []
        if self.split_by_file and not any(shared.splits == ("train", "val") for shared in self.shared):
            parts.append("the split is by file: copies of one photograph can be in both training and validation")
        if not self.groups_known:
            parts.append("groups are unknown (data.groups=none): copies in more than one split are not detected")
        if self.untextured:
            parts.append(untextured_sentence(self.untextured))
        if self.sources_in_groups:
            names = [f"{self.group_name} {name}" for name in next(iter(self.sources_in_groups.values()))]
            n = len(self.sources_in_groups)
            parts.append(
                f"{counted(n, PHOTOGRAPH)} {'has' if n == 1 else 'have'} images in several {plural(self.group_name)}, "
                f"for example {' and '.join(names)}: these are not independent; give them one name"
            )
        text = ". ".join(part[0].upper() + part[1:] for part in parts)
        return f"{text}." if text else ""


def find_shared_groups(manifest: pd.DataFrame, *, group_name: str = PHOTOGRAPH) -> list[SharedGroups]:
    """Return what each two splits share: sources, then groups if they differ from sources."""
    levels = [(PHOTOGRAPH, connected_components(manifest, "source", "sha256"))]
    if not same_partition(manifest["source"], manifest["group"]):
        levels.append((group_name, connected_components(manifest, "group")))
    return [
        shared
        for noun, numbers in levels
        for splits in combinations(SPLITS, 2)
        if (shared := _shared(manifest, numbers, splits=(splits[0], splits[1]), noun=noun)) is not None
    ]


def untextured_across(manifest: pd.DataFrame) -> int:
    """Return the number of images with too little texture to be matched, if they are in more than one split, else 0."""
    if UNTEXTURED not in manifest:
        return 0
    splits = manifest.loc[manifest[UNTEXTURED].astype(bool), "split"]
    return len(splits) if splits.nunique() > 1 else 0


def untextured_sentence(number: int) -> str:
    """Say how many images have too little texture to be matched, and what that means."""
    has, them = ("has", "it") if number == 1 else ("have", "them")
    return f"{counted(number, 'image')} {has} too little texture to be matched: copies of {them} are not detected"


def _shared(
    manifest: pd.DataFrame, numbers: NDArray[np.int64], *, splits: tuple[str, str], noun: str
) -> SharedGroups | None:
    first, second = (manifest["split"].to_numpy() == split for split in splits)
    both = np.intersect1d(numbers[first], numbers[second])
    if not both.size:
        return None
    concerned, example = np.isin(numbers, both), numbers == both[0]
    rows = [manifest[example & inside].iloc[0] for inside in (first, second)]
    return SharedGroups(
        splits=splits,
        noun=noun,
        number=int(both.size),
        images=(int((concerned & first).sum()), int((concerned & second).sum())),
        totals=(int(first.sum()), int(second.sum())),
        example=(rows[0]["path"], rows[1]["path"]),
        exact=bool(rows[0]["sha256"] == rows[1]["sha256"] and rows[0]["group"] != rows[1]["group"]),
    )


def shared_groups_in_folds(folds: Sequence[pd.DataFrame], *, group_name: str = PHOTOGRAPH) -> list[SharedGroups]:
    """Return what training and validation share, summed over the folds of a cross-validation."""
    found = [
        shared
        for fold in folds
        for shared in find_shared_groups(fold, group_name=group_name)
        if shared.splits == ("train", "val")
    ]
    n_train, n_val = (sum(int((fold["split"] == split).sum()) for fold in folds) for split in ("train", "val"))
    summed: dict[str, SharedGroups] = {}
    for each in found:
        first = summed.setdefault(each.noun, replace(each, number=0, images=(0, 0), totals=(n_train, n_val)))
        images = first.images[0] + each.images[0], first.images[1] + each.images[1]
        summed[each.noun] = replace(first, number=first.number + each.number, images=images)
    return list(summed.values())


def resolve_leaks(
    manifest: pd.DataFrame, *, on_shared_groups: str, group_name: str = PHOTOGRAPH
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Refuse, drop or allow images whose source or group is in more than one split.

    Parameters
    ----------
    manifest, group_name
        As in `bloodcell.data.manifest.ImageSet`; people's word for a group.
    on_shared_groups
        ``error``; ``drop``, which leaves out training images whose source or group is also in validation or test, and
        validation images whose source or group is in test; or ``allow``.
    group_name
        The user's word for a group.

    Returns
    -------
    manifest, left_out
        The rows of the images that are kept, and those of the others.

    Raises
    ------
    UserError
        If there are such images and ``on_shared_groups`` is ``error``, or if dropping them leaves a class without
        images in a split.
    """
    shared = find_shared_groups(manifest, group_name=group_name)
    dropped = np.zeros(len(manifest), dtype=bool)
    if shared and on_shared_groups == "error":
        raise UserError(_refusal(shared, given=not same_partition(manifest["source"], manifest["group"])))
    if shared and on_shared_groups == "drop":
        dropped = _dropped(manifest)
        _require_every_class(manifest, dropped)
    return manifest[~dropped].reset_index(drop=True), manifest[dropped].reset_index(drop=True)


def connected_components(manifest: pd.DataFrame, *columns: str) -> NDArray[np.int64]:
    """Number the images so that images that share a value have one number.

    They share it in one of the columns, directly or through others. The numbers have the shape (n,), int64.
    """
    numbers = pd.Series(manifest.groupby(columns[0]).ngroup().to_numpy())
    while True:
        # The smallest number spreads along shared values until nothing changes.
        joined = numbers
        for column in columns:
            joined = joined.groupby(manifest[column].to_numpy()).transform("min")
        if joined.equals(numbers):
            return numbers.to_numpy(dtype=np.int64)
        numbers = joined


def same_partition(one: "pd.Series[str]", other: "pd.Series[str]") -> bool:
    """Return whether two columns partition the images in the same way, whatever their values."""
    return bool(np.array_equal(pd.factorize(one)[0], pd.factorize(other)[0]))


def _dropped(manifest: pd.DataFrame) -> NDArray[np.bool_]:
    numbers = connected_components(manifest, "group", "source", "sha256")
    train, val, test = (manifest["split"].to_numpy() == split for split in SPLITS)
    in_test = np.isin(numbers, numbers[test])
    in_val = np.isin(numbers, numbers[val])
    return np.asarray((train & (in_val | in_test)) | (val & in_test))


def _require_every_class(manifest: pd.DataFrame, dropped: NDArray[np.bool_]) -> None:
    for (split, label), rows in manifest.assign(dropped=dropped).groupby(["split", "label"]):
        if rows["dropped"].all():
            raise UserError(
                f"data.on_shared_groups=drop: leaves no {SPLIT_NAMES[str(split)]} images of class {label}, because all "
                f"{len(rows)} have a copy in another split; put all images of a photograph into one split"
            )


def _refusal(shared: Sequence[SharedGroups], *, given: bool) -> str:
    found = "; ".join(
        f"{first} and {second} share {counted(part.number, part.noun)} ({part.images[0]} of {part.totals[0]} {first} "
        f"images and {part.images[1]} of {part.totals[1]} {second} images, for example {part.example[0]} and "
        f"{part.example[1]}{', the same file' * part.exact})"
        for part in shared
        for first, second in [[SPLIT_NAMES[split] for split in part.splits]]
    )
    hint = ""
    if given and any(part.noun == PHOTOGRAPH for part in shared):
        hint = " (give all its images one group, or set data.photographs=groups if they are not of one photograph)"
    elif not given and any(part.exact for part in shared):
        hint = " (data.groups=recover does it for exact copies)"
    nouns = " and ".join(dict.fromkeys(part.noun for part in shared))
    return (
        f"data.on_shared_groups=error: {found}; put all images of a {nouns} into one split{hint}, leave them out of "
        "training with data.on_shared_groups=drop, or mark the run as leaky with data.on_shared_groups=allow"
    )
