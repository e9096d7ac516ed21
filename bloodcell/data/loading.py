"""Load images from folders with one folder per class."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bloodcell.data.folders import files_below, folder_errors, is_hidden, printable
from bloodcell.data.manifest import COLUMNS, ImageSet
from bloodcell.errors import UserError
from bloodcell.images.inspection import inspect
from bloodcell.images.reading import SUFFIXES

KAGGLE_FOLDERS = ("", "images", "dataset2-master/images", "dataset2-master/dataset2-master/images")
"""Folders of TRAIN and TEST below the folder in which Kaggle's archive was unpacked."""

N_LISTED = 3
"""Files that an error lists before it counts the others."""


@dataclass(frozen=True)
class _Listing:
    """The files of one split's folder."""

    setting: str
    folder: Path
    images: Mapping[str, Sequence[Path]]
    others: Sequence[Path]


def load_bccd(*, root: str | Path, on_bad_image: str) -> ImageSet:
    """Load the Kaggle "Blood Cell Images" set; see `load_folders`.

    ``root`` is the folder of ``TRAIN/<class>`` and ``TEST/<class>``, or the one in which Kaggle's archive was unpacked.
    """
    folder = require_bccd(root, setting="data.root", advice="give the folder of TRAIN and TEST")
    return load_folders(
        folders={"train": folder / "TRAIN", "test": folder / "TEST"},
        settings={"train": "data.root", "test": "data.root"},
        on_bad_image=on_bad_image,
    )


def require_bccd(root: str | Path, *, setting: str, advice: str) -> Path:
    """Return the folder of ``TRAIN`` and ``TEST``; see `find_bccd`.

    Raises
    ------
    UserError
        If the setting's folder does not exist, with the advice; or it does not have them.
    """
    top = Path(root).expanduser()
    if not top.is_dir():
        raise UserError(f"{setting}={root}: no such folder; {advice}")
    folder = find_bccd(top)
    if folder is None:
        raise UserError(f"{setting}={root}: has no folders TRAIN and TEST; give the folder that has them")
    return folder


def find_bccd(root: Path) -> Path | None:
    """Return the folder of ``TRAIN`` and ``TEST`` in an unpacked Kaggle archive, or None."""
    folders = (root / below for below in KAGGLE_FOLDERS)
    return next((folder for folder in folders if (folder / "TRAIN").is_dir() and (folder / "TEST").is_dir()), None)


def load_folders(
    *,
    folders: Mapping[str, str | Path],
    on_bad_image: str,
    settings: Mapping[str, str] | None = None,
) -> ImageSet:
    """Load images from folders with one folder per class.

    Parameters
    ----------
    folders, settings
        The folder of each split, ``train``, ``test`` and perhaps ``val``; their subfolders are the classes, the same in
        each. The setting of each folder, for messages.
    on_bad_image
        For unreadable images: ``error``, or ``skip``, which leaves them out and lists them in the result.

    Returns
    -------
    ImageSet
        ``source`` and ``group`` are the digest of the file's content: only exact copies have one source.

    Raises
    ------
    UserError
        If a folder is missing, a class is missing or empty, there are fewer than two classes, or an image cannot be
        read and ``on_bad_image`` is ``error``.
    """
    names = settings or {split: f"data.{split}_dir" for split in folders}
    with folder_errors():
        listings = {split: _list(names[split], Path(folder).expanduser()) for split, folder in folders.items()}
    _require_disjoint(listings.values())
    classes = _common_classes(listings)
    root = Path(os.path.commonpath([listing.folder.resolve() for listing in listings.values()]))

    rows = [
        (file, path, label, split)
        for split, listing in listings.items()
        for label in classes
        for file, path in zip(listing.images[label], _relative(listing.images[label], listing, root), strict=True)
    ]
    table = pd.DataFrame(rows, columns=["file", "path", "label", "split"])
    table = table.join(inspect(table["file"].tolist()))
    bad = table["reason"] != ""
    if bad.any() and on_bad_image == "error":
        raise UserError(_bad_images(table[bad]))
    _require_readable(table, classes, names)
    content = table["sha256"].str[:16]
    readable = table[~bad].assign(source=content, group=content)
    return ImageSet(
        root=root,
        classes=classes,
        manifest=readable.loc[:, list(COLUMNS)].reset_index(drop=True),
        unreadable=table.loc[bad, ["path", "reason"]].reset_index(drop=True),
        other_files=tuple(path for listing in listings.values() for path in _relative(listing.others, listing, root)),
    )


def _list(setting: str, folder: Path) -> _Listing:
    if not folder.is_dir():
        raise UserError(f"{setting}={folder}: no such folder; give one with a folder of images for each class")
    entries = sorted(entry for entry in folder.iterdir() if not is_hidden(entry.name))
    class_folders = [entry for entry in entries if entry.is_dir()]
    if not class_folders:
        raise UserError(f"{setting}={folder}: has no folders; put the images of each class into a folder")
    images: dict[str, list[Path]] = {}
    others = [entry for entry in entries if not entry.is_dir()]
    for class_folder in class_folders:
        if printable(class_folder.name) != class_folder.name:
            raise UserError(f"{setting}={folder}: folder {class_folder.name!a} has no valid Unicode name; rename it")
        files = files_below(class_folder)
        images[class_folder.name] = [file for file in files if file.suffix.lower() in SUFFIXES]
        others += [file for file in files if file.suffix.lower() not in SUFFIXES]
    return _Listing(setting=setting, folder=folder, images=images, others=others)


def _relative(files: Iterable[Path], listing: _Listing, root: Path) -> list[str]:
    folder = listing.folder.resolve().relative_to(root)
    paths = (folder / file.relative_to(listing.folder) for file in files)
    return [printable(path.as_posix()) for path in paths]


def _require_disjoint(listings: Iterable[_Listing]) -> None:
    seen: list[_Listing] = []
    for listing in listings:
        for other in seen:
            one, another = listing.folder.resolve(), other.folder.resolve()
            if one.is_relative_to(another) or another.is_relative_to(one):
                raise UserError(
                    f"{listing.setting}={listing.folder}: overlaps with {other.setting}={other.folder}; give a "
                    "separate folder for each split"
                )
        seen.append(listing)


def _common_classes(listings: Mapping[str, _Listing]) -> tuple[str, ...]:
    train = listings["train"]
    classes = set(train.images)
    if len(classes) == 1:
        raise UserError(f"{train.setting}={train.folder}: has only one class ({classes.pop()}); add at least one more")
    for listing in listings.values():
        missing, unknown = sorted(classes - set(listing.images)), sorted(set(listing.images) - classes)
        if missing or unknown:
            differences = [f"no folder {', '.join(missing)}"] * bool(missing)
            differences += [f"a folder {', '.join(unknown)} that {train.folder} does not have"] * bool(unknown)
            raise UserError(
                f"{listing.setting}={listing.folder}: has {' and '.join(differences)}; "
                "give every split the same classes"
            )
        empty = sorted(label for label, files in listing.images.items() if not files)
        if empty:
            raise UserError(
                f"{listing.setting}={listing.folder}: the class folder {', '.join(empty)} has no images "
                f"({', '.join(sorted(SUFFIXES))}); add some, or remove the class from every split"
            )
    return tuple(sorted(classes))


def _bad_images(bad: pd.DataFrame) -> str:
    count = "1 image cannot be read" if len(bad) == 1 else f"{len(bad)} images cannot be read"
    return f"{count}: {_listed(bad)}; fix or remove them, or leave them out with data.on_bad_image=skip"


def _listed(bad: pd.DataFrame) -> str:
    shown = "; ".join(f"{row.file} ({row.reason})" for row in bad.head(N_LISTED).itertuples())
    return f"{shown}; and {len(bad) - N_LISTED} more" if len(bad) > N_LISTED else shown


def _require_readable(table: pd.DataFrame, classes: Sequence[str], names: Mapping[str, str]) -> None:
    for split, setting in names.items():
        for label in classes:
            rows = table[(table["split"] == split) & (table["label"] == label)]
            if (rows["reason"] != "").all():
                raise UserError(
                    f"{setting}: no image of class {label} can be read: {_listed(rows)}; "
                    "fix them, or remove the class from every split"
                )
