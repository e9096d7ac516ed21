"""The layout of a folder of images: a folder per class, perhaps inside a folder per split."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bloodcell.data.folders import files_below, folder_errors, subfolders
from bloodcell.data.levels import CLASSES, Levels, find_levels, unit_of
from bloodcell.data.loading import find_bccd
from bloodcell.errors import UserError
from bloodcell.images.reading import SUFFIXES

SPELLINGS = {
    "train": r"train(ing)?",
    "val": r"val(id(ation)?)?|dev(elopment)?",
    "test": r"test(ing)?|test[-_ ]?([a-z]|\d+)|test[-_ ](in|ex)ternal|(in|ex)ternal[-_ ]test",
}
"""Names of splits, in lower case and without `WITHOUT_MEANING`; other cases count, too."""
WITHOUT_MEANING = r"[-_ ]?(data|dataset|set|images?|imgs|split)$"

BCCD_CLASSES = frozenset({"EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"})


@dataclass(frozen=True)
class FolderLayout:
    """The layout of a folder of images.

    Attributes
    ----------
    kind
        ``classes``: a folder per class; ``splits``: these inside a folder per split; ``bccd``: Kaggle's set.
    top, folders, unused
        The folder that contains them, the one that was given or a subfolder; that of each split, ``train`` and perhaps
        ``val`` and ``test``, or several ``test NAME``; names of other folders in ``top``.
    levels
        What the folders in these are.
    """

    kind: Literal["classes", "splits", "bccd"]
    top: Path
    folders: Mapping[str, Path]
    unused: tuple[str, ...]
    levels: Levels = CLASSES

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have folders."""
        return tuple(dict.fromkeys(name.split()[0] for name in self.folders))

    @property
    def test_folders(self) -> dict[str, Path]:
        """The folders of test images by the names of the test sets; the only one has an empty name."""
        named = {name.partition(" "): folder for name, folder in self.folders.items()}
        return {name: folder for (split, _, name), folder in named.items() if split == "test"}


def detect_layout(folder: Path, *, levels: str | None = None) -> FolderLayout:
    """Detect the layout of a folder of images.

    ``levels`` is what the folders of images are, as ``data.folders``; None: their names tell.

    While a folder contains only one folder of folders, as in unpacked archives, that one is used.

    Raises
    ------
    UserError
        If there is no such folder, or it has no classes.
    """
    if not folder.is_dir():
        raise UserError(f"folder={folder}: no such folder; give one with a folder of images for each class")
    with folder_errors():
        if (bccd := find_bccd(folder)) is not None and _names(bccd / "TRAIN") == BCCD_CLASSES:
            folders = {"train": bccd / "TRAIN", "test": bccd / "TEST"}
            return FolderLayout("bccd", bccd, folders, _unused(bccd, folders))
        top = _unwrapped(folder)
        splits = _splits(top)
        if splits:
            return FolderLayout("splits", top, splits, _unused(top, splits), _levels(splits, levels))
        if not subfolders(top):
            raise UserError(_no_classes(top))
        return FolderLayout("classes", top, {"train": top}, (), _levels({"train": top}, levels))


def split_of(name: str) -> str | None:
    """Return the split that a name such as ``Training_set`` means, or None."""
    plain = re.sub(WITHOUT_MEANING, "", name.lower())
    return next((split for split, spelling in SPELLINGS.items() if re.fullmatch(spelling, plain)), None)


def _levels(folders: Mapping[str, Path], given: str | None) -> Levels:
    """Return what the folders in those of the splits are; in folders that do not tell, as in the others."""
    if given is not None:
        return Levels(given, unit_of(given))
    found = {
        split: find_levels(folder, setting=f"folder={folder}", name="folders") for split, folder in folders.items()
    }
    first = next((levels for levels in found.values() if levels.noun), found["train"])
    for split, levels in found.items():
        if levels.levels != first.levels:
            raise UserError(
                f"folder={folders[split]}: has folders {levels.levels}, and other splits {first.levels}; rename them"
            )
    return first


def _names(folder: Path) -> set[str]:
    return {path.name for path in subfolders(folder)}


def _unused(top: Path, splits: Mapping[str, Path]) -> tuple[str, ...]:
    return tuple(sorted(_names(top) - {path.name for path in splits.values()}))


def _unwrapped(folder: Path) -> Path:
    """Return the first folder that contains more than one folder of folders."""
    while len(inner := subfolders(folder)) == 1 and subfolders(inner[0]) and split_of(inner[0].name) != "train":
        folder = inner[0]
    return folder


def _splits(top: Path) -> dict[str, Path]:
    """Return the folder of each split; empty if there are none."""
    found = {split: [path for path in subfolders(top) if split_of(path.name) == split] for split in SPELLINGS}
    if not any(found.values()):
        return {}
    for split, paths in found.items():
        if len(paths) > 1 and split != "test":
            both = " and ".join(path.name for path in paths)
            raise UserError(f"folder={top}: has {both}, which are both {split}; merge them, or rename one")
    if not found["train"]:
        names = " and ".join(path.name for paths in found.values() for path in paths)
        raise UserError(f"folder={top}: has {names} but no folder train; add it, or rename the training folder")
    several = {f"test {path.name}": path for path in found.pop("test")} if len(found["test"]) > 1 else {}
    return {split: paths[0] for split, paths in found.items() if paths} | several


def _no_classes(top: Path) -> str:
    n_images = sum(file.suffix.lower() in SUFFIXES for file in files_below(top))
    if n_images:
        return f"folder={top}: {n_images:,} images are not in class folders; put the images of each class into a folder"
    return f"folder={top}: has no images; give one with a folder of images for each class"
