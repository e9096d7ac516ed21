"""Where images come from: folders with one folder per class."""

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
"""Where TRAIN and TEST lie below the folder that Kaggle's archive was unpacked in."""

NAMED = 3
"""How many files an error names before it counts the rest."""


@dataclass(frozen=True)
class _Listing:
    """The files of one split's folder."""

    setting: str
    folder: Path
    images: Mapping[str, Sequence[Path]]
    others: Sequence[Path]


def load_bccd(*, root: str | Path, on_bad_image: str) -> ImageSet:
    """Read the Kaggle "Blood Cell Images" set: ``TRAIN/<class>`` and ``TEST/<class>``.

    Parameters
    ----------
    root
        The folder that holds ``TRAIN`` and ``TEST``, or one above it as Kaggle's archive unpacks.
    on_bad_image
        As for `load_folders`.

    Raises
    ------
    UserError
        As `load_folders`.
    """
    top = Path(root).expanduser()
    if not top.is_dir():
        raise UserError(f"data.root={root}: no such folder; give the folder that holds TRAIN and TEST")
    folder = find_bccd(top)
    if folder is None:
        raise UserError(f"data.root={root}: holds no folders TRAIN and TEST; give the folder that holds them")
    return load_folders(
        folders={"train": folder / "TRAIN", "test": folder / "TEST"},
        settings={"train": "data.root", "test": "data.root"},
        on_bad_image=on_bad_image,
    )


def find_bccd(root: Path) -> Path | None:
    """Return the folder with ``TRAIN`` and ``TEST`` at or below a folder, as Kaggle's archive unpacks."""
    folders = (root / below for below in KAGGLE_FOLDERS)
    return next((folder for folder in folders if (folder / "TRAIN").is_dir() and (folder / "TEST").is_dir()), None)


def load_folders(
    *,
    folders: Mapping[str, str | Path],
    on_bad_image: str,
    settings: Mapping[str, str] | None = None,
) -> ImageSet:
    """Read images from folders with one folder per class.

    Parameters
    ----------
    folders
        The folder of each split: ``train``, ``test`` and perhaps ``val``. The classes are the names of the folders in
        them and must be the same in each.
    on_bad_image
        ``error`` refuses a set with an unreadable image; ``skip`` leaves those out and lists them in the result.
    settings
        The setting that each folder came from, for messages.

    Returns
    -------
    ImageSet
        ``source`` and ``group`` are the file's content: exact copies are one group, until something better is known.

    Raises
    ------
    UserError
        If a folder is missing, a class is missing or empty, there are fewer than two classes, or an image cannot be
        read and ``on_bad_image`` is ``error``.
    """
    names = settings or {split: f"data.{split}_dir" for split in folders}
    with folder_errors():
        listings = {split: _list(names[split], Path(folder).expanduser()) for split, folder in folders.items()}
    _check_apart(listings.values())
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
    _refuse_emptied(table, classes, names)
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
        raise UserError(f"{setting}={folder}: no such folder; give one that holds a folder of images for each class")
    entries = sorted(entry for entry in folder.iterdir() if not is_hidden(entry.name))
    class_folders = [entry for entry in entries if entry.is_dir()]
    if not class_folders:
        raise UserError(f"{setting}={folder}: holds no folders; put the images of each class in a folder of their own")
    images: dict[str, list[Path]] = {}
    others = [entry for entry in entries if not entry.is_dir()]
    for class_folder in class_folders:
        if not _is_unicode(class_folder.name):
            raise UserError(f"{setting}={folder}: folder {class_folder.name!a} has no valid Unicode name; rename it")
        files = files_below(class_folder)
        images[class_folder.name] = [file for file in files if file.suffix.lower() in SUFFIXES]
        others += [file for file in files if file.suffix.lower() not in SUFFIXES]
    return _Listing(setting=setting, folder=folder, images=images, others=others)


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _relative(files: Iterable[Path], listing: _Listing, root: Path) -> list[str]:
    folder = listing.folder.resolve().relative_to(root)
    paths = (folder / file.relative_to(listing.folder) for file in files)
    return [printable(path.as_posix()) for path in paths]


def _check_apart(listings: Iterable[_Listing]) -> None:
    seen: list[_Listing] = []
    for listing in listings:
        for other in seen:
            here, there = listing.folder.resolve(), other.folder.resolve()
            if here.is_relative_to(there) or there.is_relative_to(here):
                raise UserError(
                    f"{listing.setting}={listing.folder}: lies in the same folder as {other.setting}={other.folder}; "
                    "each image may be on one side only, so give folders apart from each other"
                )
        seen.append(listing)


def _common_classes(listings: Mapping[str, _Listing]) -> tuple[str, ...]:
    train = listings["train"]
    classes = set(train.images)
    if len(classes) == 1:
        raise UserError(
            f"{train.setting}={train.folder}: holds one class only ({classes.pop()}); two or more are needed"
        )
    for listing in listings.values():
        missing, unknown = sorted(classes - set(listing.images)), sorted(set(listing.images) - classes)
        if missing or unknown:
            differences = [f"no folder {', '.join(missing)}"] * bool(missing)
            differences += [f"a folder {', '.join(unknown)} that {train.folder} has not"] * bool(unknown)
            raise UserError(
                f"{listing.setting}={listing.folder}: has {' and '.join(differences)}; "
                "every split must have the same classes"
            )
        empty = sorted(label for label, files in listing.images.items() if not files)
        if empty:
            raise UserError(
                f"{listing.setting}={listing.folder}: the class folder {', '.join(empty)} holds no images "
                f"({', '.join(sorted(SUFFIXES))}); add some, or remove the class from every split"
            )
    return tuple(sorted(classes))


def _bad_images(bad: pd.DataFrame) -> str:
    count = "1 image cannot be read" if len(bad) == 1 else f"{len(bad)} images cannot be read"
    return f"{count}: {_named(bad)}; mend or remove, or leave out with data.on_bad_image=skip"


def _named(bad: pd.DataFrame) -> str:
    shown = "; ".join(f"{row.file} ({row.reason})" for row in bad.head(NAMED).itertuples())
    return f"{shown}; and {len(bad) - NAMED} more" if len(bad) > NAMED else shown


def _refuse_emptied(table: pd.DataFrame, classes: Sequence[str], names: Mapping[str, str]) -> None:
    for split, setting in names.items():
        for label in classes:
            rows = table[(table["split"] == split) & (table["label"] == label)]
            if (rows["reason"] != "").all():
                raise UserError(
                    f"{setting}: no image of class {label} can be read: {_named(rows)}; "
                    "mend them, or remove the class from every split"
                )
