"""How a folder of images is laid out: a folder per class, and perhaps one per split above them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bloodcell.data.folders import files_below, folder_errors, is_hidden
from bloodcell.data.loading import find_bccd
from bloodcell.errors import UserError
from bloodcell.images.reading import SUFFIXES

SPELLINGS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""What the folders of splits are called, in capitals too."""

BCCD_CLASSES = frozenset({"EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"})


@dataclass(frozen=True)
class FolderLayout:
    """What a folder of images holds.

    Attributes
    ----------
    kind
        ``classes``: a folder per class; ``splits``: those in a folder per split; ``bccd``: Kaggle's set.
    top
        The folder that these lie in: the one that was given, or one below.
    folders
        The folder of each split: ``train`` and perhaps ``val`` and ``test``.
    unused
        The names of folders beside those of the splits.
    """

    kind: Literal["classes", "splits", "bccd"]
    top: Path
    folders: Mapping[str, Path]
    unused: tuple[str, ...]


def detect_layout(folder: Path) -> FolderLayout:
    """Find out how a folder of images is laid out.

    A folder that holds nothing but one folder of folders, as archives unpack, is looked through.

    Raises
    ------
    UserError
        If there is no such folder, or nothing in it looks like classes.
    """
    if not folder.is_dir():
        raise UserError(f"folder={folder}: no such folder; give one that holds a folder of images for each class")
    with folder_errors():
        if (bccd := find_bccd(folder)) is not None and _names(bccd / "TRAIN") == BCCD_CLASSES:
            folders = {"train": bccd / "TRAIN", "test": bccd / "TEST"}
            return FolderLayout("bccd", bccd, folders, _beside(bccd, folders))
        top = _unwrapped(folder)
        splits = _splits(top)
        if splits:
            return FolderLayout("splits", top, splits, _beside(top, splits))
        if not _below(top):
            raise UserError(_no_classes(top))
        return FolderLayout("classes", top, {"train": top}, ())


def _below(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not is_hidden(entry.name))


def _names(folder: Path) -> set[str]:
    return {path.name for path in _below(folder)}


def _beside(top: Path, splits: Mapping[str, Path]) -> tuple[str, ...]:
    return tuple(sorted(_names(top) - {path.name for path in splits.values()}))


def _unwrapped(folder: Path) -> Path:
    """Return the first folder below that holds more than one folder of folders."""
    while len(below := _below(folder)) == 1 and _below(below[0]) and below[0].name.lower() not in SPELLINGS["train"]:
        folder = below[0]
    return folder


def _splits(top: Path) -> dict[str, Path]:
    """Return the folder of each split, if there are such."""
    found = {
        split: [path for path in _below(top) if path.name.lower() in spellings]
        for split, spellings in SPELLINGS.items()
    }
    if not any(found.values()):
        return {}
    for split, paths in found.items():
        if len(paths) > 1:
            both = " and ".join(path.name for path in paths)
            raise UserError(f"folder={top}: holds {both}, which are both {split}; put them together, or rename one")
    if not found["train"]:
        there = " and ".join(path.name for paths in found.values() for path in paths)
        raise UserError(f"folder={top}: holds {there}, but no folder train; add it, or rename the one of training")
    return {split: paths[0] for split, paths in found.items() if paths}


def _no_classes(top: Path) -> str:
    n_images = sum(file.suffix.lower() in SUFFIXES for file in files_below(top))
    if n_images:
        return f"folder={top}: {n_images:,} images lie side by side; put those of each class in a folder of its own"
    return f"folder={top}: holds no images; give a folder that holds a folder of images for each class"
