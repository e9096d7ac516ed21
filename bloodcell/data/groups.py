"""Groups: which photograph each image was made from, by whatever says so.

Every function here takes an `ImageSet` and returns it with the column ``group`` of its manifest filled.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pandas as pd

from bloodcell.data.manifest import ImageSet
from bloodcell.errors import UserError

NAMED = 3
"""How many images an error names before it counts the rest."""


def recovered_groups(images: ImageSet) -> ImageSet:
    """Find the groups in the pixels: images made from one photograph, and exact copies, are one group."""
    from bloodcell.data.provenance import recover_groups

    rows = images.manifest
    return _with(images, recover_groups(images.files(rows), rows["sha256"].tolist()))


def listed_groups(images: ImageSet, *, file: str | Path, column: str) -> ImageSet:
    """Take the groups from a table.

    Parameters
    ----------
    images
        The images.
    file
        A CSV with a column ``path``, relative to the images' root, and one that names the group. Images that are not
        in the set may be listed too.
    column
        The name of that column.

    Raises
    ------
    UserError
        If the file cannot be read, lacks a column, names two groups for an image, or none for one of the set.
    """
    listed = _read_csv(file, column)
    listed["path"] = listed["path"].map(lambda path: PurePosixPath(path).as_posix())  # ./a.png is a.png
    table = listed[listed[column] != ""].drop_duplicates(["path", column])
    twice = table[table["path"].duplicated(keep=False)]
    if len(twice):
        path = twice["path"].iloc[0]
        both = " and ".join(twice.loc[twice["path"] == path, column])
        raise UserError(f"data.groups_file={file}: puts {path} into the groups {both}; an image has one")
    groups = images.manifest["path"].map(dict(zip(table["path"], table[column], strict=True)))
    if groups.isna().any():
        raise UserError(
            f"data.groups_file={file}: names no group for {_some(images, groups.isna())}; list every image, "
            f"its path relative to {images.root}"
        )
    return _with(images, groups.tolist())


def matched_groups(images: ImageSet, *, pattern: str) -> ImageSet:
    """Take the groups from the paths.

    Parameters
    ----------
    images
        The images.
    pattern
        A regular expression that is searched for in each path relative to the images' root. The capture group named
        ``group``, or else the first one, is the image's group.

    Raises
    ------
    UserError
        If it finds no group in a path.
    """
    regex = re.compile(pattern)
    captured = "group" if "group" in regex.groupindex else 1
    matches = [regex.search(path) for path in images.manifest["path"]]
    groups = [match[captured] if match else None for match in matches]
    unmatched = pd.Series([not group for group in groups], index=images.manifest.index)
    if unmatched.any():
        named = _some(images, unmatched)
        raise UserError(f"data.groups_pattern={pattern}: finds no group in the path of {named}; it has to in every")
    return _with(images, [str(group) for group in groups])


def folder_groups(images: ImageSet) -> ImageSet:
    """Make a group of every folder: of the images that lie in it, not in folders below."""
    return _with(images, [PurePosixPath(path).parent.as_posix() for path in images.manifest["path"]])


def single_groups(images: ImageSet) -> ImageSet:
    """Make every image its own group."""
    return _with(images, images.manifest["path"].tolist())


def _with(images: ImageSet, groups: Sequence[str]) -> ImageSet:
    return replace(images, manifest=images.manifest.assign(group=list(groups)))


def _read_csv(file: str | Path, column: str) -> pd.DataFrame:
    path = Path(file).expanduser()
    try:
        listed = pd.read_csv(path, dtype=str, keep_default_na=False)
    except OSError as error:
        raise UserError(f"data.groups_file={file}: cannot be read ({error.strerror}); give a CSV file") from error
    except (ValueError, pd.errors.ParserError) as error:  # no UTF-8, no columns, rows of unequal length
        raise UserError(f"data.groups_file={file}: is not CSV ({' '.join(str(error).split())})") from error
    for name, way_out in (("path", "name the one with the images' paths so"), (column, "choose data.groups_column")):
        if name not in listed.columns:
            there = ", ".join(map(str, listed.columns))
            raise UserError(f"data.groups_file={file}: has no column {name}, but {there}; {way_out}")
    return listed


def _some(images: ImageSet, chosen: "pd.Series[bool]") -> str:
    """Name the first few of some images, and count them."""
    paths = images.manifest.loc[chosen, "path"].tolist()
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return f"{len(paths)} of {len(chosen)} images ({', '.join(paths[:NAMED])}{more})"
