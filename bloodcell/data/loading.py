"""Load images from folders with one folder per class."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from bloodcell.data.exclusion import excluded_paths
from bloodcell.data.folders import files_below, folder_errors, is_hidden, printable, subfolders
from bloodcell.data.levels import find_levels, unit_of
from bloodcell.data.manifest import COLUMNS, FOLDER, TEST_SET, ImageSet
from bloodcell.data.parts import Pages, notes_of, with_depth, with_pages
from bloodcell.errors import UserError
from bloodcell.images.address import address_of
from bloodcell.images.inspection import inspect
from bloodcell.images.reading import SUFFIXES
from bloodcell.wording import listed, plural

KAGGLE_FOLDERS = ("", "images", "dataset2-master/images", "dataset2-master/dataset2-master/images")
"""Folders of TRAIN and TEST below the folder in which Kaggle's archive was unpacked."""

N_LISTED = 3
"""Files that an error lists before it counts the others."""


class _Listed(NamedTuple):
    """An image file, its class, and the name of the folder that is its group or fold, if there is one."""

    file: Path
    label: str
    unit: str


@dataclass(frozen=True)
class _Listing:
    """The files of one split's folder."""

    folder: Path
    setting: str
    images: Sequence[_Listed]
    others: Sequence[Path]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What is done about images and classes that cannot be used.

    Attributes
    ----------
    on_bad_image
        For unreadable images: ``error``, or ``skip``, which leaves them out and lists them in the result.
    rare_classes
        For a class that has no test or validation images: ``error``, or ``train_only``.
    without_classes
        Classes whose images are left out.
    pages
        Of files with several pages or frames: the ``first``, or ``all``.
    bit_depth
        Bits a channel that are used of images with more than 8; None: the most that an image of the set uses.
    exclude_file
        A CSV file of images that are left out, see `bloodcell.data.exclusion.excluded_paths`; None: no file.
    """

    on_bad_image: str = "error"
    rare_classes: str = "error"
    without_classes: Sequence[str] = ()
    pages: Pages = "first"
    bit_depth: int | None = None
    exclude_file: str | None = None


STRICTEST = Policy()


def load_bccd(*, root: str | Path, policy: Policy = STRICTEST) -> ImageSet:
    """Load the Kaggle "Blood Cell Images" set; see `load_folders`.

    ``root`` is the folder of ``TRAIN/<class>`` and ``TEST/<class>``, or the one in which Kaggle's archive was unpacked.
    """
    folder = require_bccd(root, setting="data.root", advice="give the folder of TRAIN and TEST")
    return load_folders(
        folders={"train": folder / "TRAIN", "test": folder / "TEST"},
        settings={"train": "data.root", "test": "data.root"},
        levels="class",
        policy=policy,
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
    policy: Policy = STRICTEST,
    settings: Mapping[str, str] | None = None,
    levels: str | None = None,
) -> ImageSet:
    """Load images from folders with one folder per class.

    Parameters
    ----------
    folders, settings
        The folder of each split, ``train``, ``test`` and perhaps ``val``; of several test sets, ``test NAME``. Their
        subfolders are the classes, the same in each. The setting of each folder, for messages.
    policy
        What is done about images and classes that cannot be used.
    levels
        What the folders in these are, from the outside in, as ``data.folders``: ``class`` and perhaps ``group`` or
        ``fold``; None: classes, which is refused if it may be otherwise.

    Returns
    -------
    ImageSet
        ``source`` and ``group`` are the digest of the file's content: only exact copies have one source. With folders
        of groups, the manifest also has `bloodcell.data.manifest.FOLDER`; with folders of folds, ``fold``.

    Raises
    ------
    UserError
        If a folder is missing, a class is missing or empty, there are fewer than two classes, or an image cannot be
        read and the policy does not allow it.
    """
    names = settings or {name: _setting(name) for name in folders}
    with folder_errors():
        listings = {
            name: _list(names[name], Path(folder).expanduser(), levels=levels) for name, folder in folders.items()
        }
        _require_disjoint(listings.values())
        if not unit_of(levels):
            _require_classes_once(listings.values())
    root = Path(os.path.commonpath([listing.folder.resolve() for listing in listings.values()]))
    rows = [
        (each.file, path, each.label, *name.partition(" ")[::2], each.unit)
        for name, listing in listings.items()
        for each, path in zip(
            listing.images, _relative([each.file for each in listing.images], listing, root), strict=True
        )
    ]
    unit = {"group": FOLDER, "fold": "fold"}.get(unit_of(levels), "")
    table = pd.DataFrame(rows, columns=["file", "path", "label", "split", TEST_SET, unit])
    unused = [column for column, used in ((unit, unit), (TEST_SET, (table[TEST_SET] != "").any())) if not used]
    others = tuple(path for listing in listings.values() for path in _relative(listing.others, listing, root))
    places = {name.partition(" ")[0]: f"{names[name]}={listing.folder}" for name, listing in listings.items()}
    images = checked_images(table.drop(columns=unused), root=root, places=places, policy=policy)
    return replace(images, other_files=others)


def checked_images(table: pd.DataFrame, *, root: Path, places: Mapping[str, str], policy: Policy) -> ImageSet:
    """Read images and return the set of those that can be read.

    Parameters
    ----------
    table
        One row for each image: ``file``, ``path`` (relative to ``root``), ``label``, ``split``, and further columns.
    root
        The folder of all images.
    places
        The setting of each split and its value, for messages.
    policy
        What is done about images and classes that cannot be used.

    Raises
    ------
    UserError
        If the splits' classes do not fit together, an image cannot be read and the policy does not allow it, or no
        image of a class can be read.
    """
    known = set(table["path"])
    table = with_classes(table, places, policy)
    table = with_pages(table.join(inspect(table["file"].tolist())), policy.pages)
    table, excluded = _without_excluded(table, policy, known=known, root=root)
    if len(excluded):  # a class can have lost all its images
        table = with_classes(table, places, replace(policy, without_classes=()))
    bad = table["reason"] != ""
    if bad.any() and policy.on_bad_image == "error":
        raise UserError(_bad_images(table[bad]))
    _require_readable(table, places)
    readable = with_depth(table[~bad], policy.bit_depth, setting=places["train"])
    content = readable["sha256"].str[:16]
    further = [name for name in readable.columns if name not in ("file", *COLUMNS, "reason", "pages")]
    return ImageSet(
        root=root,
        classes=tuple(sorted(table["label"].unique())),
        manifest=readable.assign(source=content, group=content)[[*COLUMNS, *further]].reset_index(drop=True),
        unreadable=table.loc[bad, ["path", "reason"]].reset_index(drop=True),
        other_files=(),
        notes=(*_notes(table), *notes_of(table[~bad], pages=policy.pages, bit_depth=policy.bit_depth)),
        excluded=excluded,
    )


def _without_excluded(
    table: pd.DataFrame, policy: Policy, *, known: Collection[str], root: Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the images that are not excluded, and ``path`` and ``reason`` of the others."""
    given = {}
    if policy.exclude_file is not None:
        given = excluded_paths(policy.exclude_file, known={*known, *table["path"]}, root=root)
    reasons = table["path"].map(lambda path: given.get(path, given.get(address_of(path).file, "")))
    out = reasons != ""
    excluded = table.loc[out, ["path"]].assign(reason=reasons[out])
    return table[~out].reset_index(drop=True), excluded.reset_index(drop=True)


def _notes(table: pd.DataFrame) -> Iterator[str]:
    """Yield what a user should know of the classes."""
    by_case: dict[str, set[str]] = {}
    for label in table["label"].unique():
        by_case.setdefault(label.casefold(), set()).add(label)
    for names in by_case.values():
        if len(names) > 1:
            yield f"the classes {listed(sorted(names))} differ in case only"


def _setting(name: str) -> str:
    split, _, test_set = name.partition(" ")
    return f"data.{split}_dir" + (f".{test_set}" if test_set else "")


def _list(setting: str, folder: Path, *, levels: str | None) -> _Listing:
    if not folder.is_dir():
        raise UserError(f"{setting}={folder}: no such folder; give one with a folder of images for each class")
    outer = subfolders(folder)
    if not outer:
        raise UserError(f"{setting}={folder}: has no folders; put the images of each class into a folder")
    if levels is None and (found := find_levels(folder, setting=f"{setting}={folder}")).noun:
        rest = "split=given" if found.noun == "fold" else f"data.groups=folder data.group_name={found.noun}"
        raise UserError(
            f"{setting}={folder}: has folders of {plural(found.noun)}, such as {outer[0].name}; set "
            f"data.folders={found.levels} {rest}, or data.folders=class if these are the classes"
        )
    images: list[_Listed] = []
    only_classes = not unit_of(levels)
    others = sorted(entry for entry in folder.iterdir() if not entry.is_dir() and not is_hidden(entry.name))
    for each in outer:
        parts = [each] if only_classes else subfolders(each)
        for part in parts:
            label, unit = (part, each) if str(levels).endswith("/class") else (each, part)
            _require_unicode(setting, folder, label, unit)
            for file in files_below(part):
                if file.suffix.lower() in SUFFIXES:
                    images.append(_Listed(file, label.name, unit.name))
                else:
                    others.append(file)
        if not only_classes:
            others += [entry for entry in each.iterdir() if not entry.is_dir() and not is_hidden(entry.name)]
    classes = {path.name for path in outer} if only_classes else set()
    if empty := sorted(classes - {each.label for each in images}):
        raise UserError(
            f"{setting}={folder}: the class folder {', '.join(empty)} has no images "
            "(JPEG, PNG, TIFF and others, by the ends of their names); add some, or remove the class from every split"
        )
    return _Listing(folder=folder, setting=setting, images=images, others=others)


def _require_unicode(setting: str, folder: Path, *named: Path) -> None:
    for each in named:
        if printable(each.name) != each.name:
            raise UserError(f"{setting}={folder}: folder {each.name!a} has no valid Unicode name; rename it")


def _relative(files: Iterable[Path], listing: _Listing, root: Path) -> list[str]:
    # As text: joining thousands of paths takes longer than listing them.
    before = (listing.folder.resolve().relative_to(root) / "x").as_posix().removesuffix("x")
    start = len(os.fspath(listing.folder / "x")) - 1
    return [printable(before + os.fspath(file)[start:].replace(os.sep, "/")) for file in files]


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


def _require_classes_once(listings: Iterable[_Listing]) -> None:
    """Refuse a folder among the classes that has the classes again, as archives that were unpacked twice."""
    for listing in listings:
        outer = subfolders(listing.folder)
        names = {each.name for each in outer}
        for each in outer:
            if len(again := sorted(names & {path.name for path in subfolders(each)})) > 1:
                raise UserError(
                    f"{listing.setting}={listing.folder}: its folder {each.name} has the classes {listed(again)} "
                    f"again, perhaps the same images; move it away, or give {each}"
                )


def with_classes(table: pd.DataFrame, places: Mapping[str, str], policy: Policy) -> pd.DataFrame:
    """Leave out the classes that the policy names, and check that the splits have the same.

    Parameters
    ----------
    table
        One row for each image: ``label`` and ``split``, and further columns.
    places, policy
        As for `checked_images`.

    Raises
    ------
    UserError
        If training has fewer than two classes, another split has a class that training lacks, or lacks one that
        training has and the policy does not allow it.
    """
    if unknown := sorted(set(policy.without_classes) - set(table["label"])):
        known = ", ".join(sorted(table["label"].unique()))
        raise UserError(f"data.without_classes: there is no class {unknown[0]}; the classes are {known}")
    table = table[~table["label"].isin(policy.without_classes)].reset_index(drop=True)
    by_split = {split: set(table.loc[table["split"] == split, "label"]) for split in places}
    train = by_split["train"]
    if len(train) < 2:
        only = f"only one class ({min(train)})" if train else "no class"
        raise UserError(f"{places['train']}: has {only}; add at least one more")
    for split, classes in by_split.items():
        if unknown := sorted(classes - train):
            similar = {name.casefold(): name for name in train}
            case = similar.get(unknown[0].casefold())
            how = f"; training has {case}, which differs in case only: rename one" if case else ""
            raise UserError(
                f"{places[split]}: has the class {', '.join(unknown)}, which training does not have{how}"
                + ("" if case else "; give every split the same classes, or use data.without_classes")
            )
        missing = sorted(train - classes)
        if missing and policy.rare_classes == "error":
            raise UserError(
                f"{places[split]}: has no class {', '.join(missing)}; add images, train on it only with "
                f"data.rare_classes=train_only, or leave it out with data.without_classes=[{','.join(missing)}]"
            )
    return table


def _bad_images(bad: pd.DataFrame) -> str:
    count = "1 image cannot be read" if len(bad) == 1 else f"{len(bad)} images cannot be read"
    return f"{count}: {_listed(bad)}; fix or remove them, or leave them out with data.on_bad_image=skip"


def _listed(bad: pd.DataFrame) -> str:
    shown = "; ".join(f"{row.file} ({row.reason})" for row in bad.head(N_LISTED).itertuples())
    return f"{shown}; and {len(bad) - N_LISTED} more" if len(bad) > N_LISTED else shown


def _require_readable(table: pd.DataFrame, places: Mapping[str, str]) -> None:
    for (split, label), rows in table.groupby(["split", "label"]):
        if (rows["reason"] != "").all():
            raise UserError(
                f"{places[str(split)]}: no image of class {label} can be read: {_listed(rows)}; "
                "fix them, or remove the class from every split"
            )
