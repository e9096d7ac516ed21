"""Which photograph each image was made from (its source), and what it is independent of (its group).

A group is a photograph, or what photographs belong to: a patient, slide or day. Every function here takes an `ImageSet`
and returns it with a column of its manifest filled: ``source``, ``group`` or both.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

import pandas as pd

from bloodcell.data.manifest import ImageSet
from bloodcell.errors import UserError

Level = Literal["source", "group"]

SETTINGS: dict[Level, str] = {"source": "photographs", "group": "groups"}
"""What the settings of each level are called in ``data``."""

NAMED = 3
"""How many images an error names before it counts the rest."""


def recovered_groups(images: ImageSet) -> ImageSet:
    """Find the photographs in the pixels; each is a group."""
    found = recovered_sources(images)
    return _with(found, found.manifest["source"].tolist(), "group")


def recovered_sources(images: ImageSet) -> ImageSet:
    """Find in the pixels which images were made from one photograph; exact copies always are."""
    from bloodcell.provenance.recovery import recover_sources

    rows = images.manifest
    return _with(images, recover_sources(images.files(rows), rows["sha256"].tolist()), "source")


def listed_groups(images: ImageSet, *, file: str | Path, column: str, level: Level = "group") -> ImageSet:
    """Take the groups, or sources, from a table.

    Parameters
    ----------
    images
        The images.
    file
        A CSV with a column ``path``, relative to the images' root, and one that names the group. Images that are not
        in the set may be listed too.
    column
        The name of that column.
    level
        What to fill.

    Raises
    ------
    UserError
        If the file cannot be read, lacks a column, names two groups for an image, or none for one of the set.
    """
    listed = _read_csv(file, column, level)
    listed["path"] = listed["path"].map(lambda path: PurePosixPath(path).as_posix())  # ./a.png is a.png
    table = listed[listed[column] != ""].drop_duplicates(["path", column])
    twice = table[table["path"].duplicated(keep=False)]
    if len(twice):
        path = twice["path"].iloc[0]
        both = " and ".join(twice.loc[twice["path"] == path, column])
        raise UserError(f"data.groups_file={file}: puts {path} into the {level}s {both}; an image has one")
    names = images.manifest["path"].map(dict(zip(table["path"], table[column], strict=True)))
    if names.isna().any():
        raise UserError(
            f"data.groups_file={file}: names no {level} for {_some(images, names.isna())}; list every image, "
            f"its path relative to {images.root}"
        )
    return _with(images, names.tolist(), level)


def matched_groups(images: ImageSet, *, pattern: str, level: Level = "group") -> ImageSet:
    """Take the groups, or sources, from the paths.

    Parameters
    ----------
    images
        The images.
    pattern
        A regular expression that is searched for in each path relative to the images' root. The capture group that is
        named like the level, or else the first one, is the image's group.
    level
        What to fill.

    Raises
    ------
    UserError
        If it finds no group in a path.
    """
    regex = re.compile(pattern)
    captured = level if level in regex.groupindex else 1
    matches = [regex.search(path) for path in images.manifest["path"]]
    names = [match[captured] if match else None for match in matches]
    unmatched = pd.Series([not name for name in names], index=images.manifest.index)
    if unmatched.any():
        raise UserError(
            f"data.{SETTINGS[level]}_pattern={pattern}: finds no {level} in the path of {_some(images, unmatched)}; "
            "it has to in every"
        )
    return _with(images, [str(name) for name in names], level)


def folder_groups(images: ImageSet) -> ImageSet:
    """Make a group of every folder: of the images that lie in it, not in folders below."""
    return _with(images, [PurePosixPath(path).parent.as_posix() for path in images.manifest["path"]], "group")


def single_groups(images: ImageSet) -> ImageSet:
    """Make every image its own source and group."""
    return _with(images, images.manifest["path"].tolist(), "source", "group")


def groups_as_sources(images: ImageSet) -> ImageSet:
    """Take every group for one photograph."""
    return _with(images, images.manifest["group"].tolist(), "source")


def sources_in_several_groups(manifest: pd.DataFrame) -> dict[str, list[str]]:
    """Return the photographs whose images lie in more than one group, and the names of those groups."""
    pairs = manifest[["source", "group"]].drop_duplicates().sort_values(["source", "group"])
    several = pairs[pairs["source"].duplicated(keep=False)]
    return {str(source): list(names) for source, names in several.groupby("source")["group"]}


def _with(images: ImageSet, names: Sequence[str], *levels: Level) -> ImageSet:
    return replace(images, manifest=images.manifest.assign(**{level: list(names) for level in levels}))


def _read_csv(file: str | Path, column: str, level: Level) -> pd.DataFrame:
    path = Path(file).expanduser()
    try:
        listed = pd.read_csv(path, dtype=str, keep_default_na=False)
    except OSError as error:
        raise UserError(f"data.groups_file={file}: cannot be read ({error.strerror}); give a CSV file") from error
    except (ValueError, pd.errors.ParserError) as error:  # no UTF-8, no columns, rows of unequal length
        raise UserError(f"data.groups_file={file}: is not CSV ({' '.join(str(error).split())})") from error
    ways_out = {"path": "name the one with the images' paths so", column: f"choose data.{SETTINGS[level]}_column"}
    for name, way_out in ways_out.items():
        if name not in listed.columns:
            there = ", ".join(map(str, listed.columns))
            raise UserError(f"data.groups_file={file}: has no column {name}, but {there}; {way_out}")
    return listed


def _some(images: ImageSet, chosen: "pd.Series[bool]") -> str:
    """Name the first few of some images, and count them."""
    paths = images.manifest.loc[chosen, "path"].tolist()
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return f"{len(paths)} of {len(chosen)} images ({', '.join(paths[:NAMED])}{more})"
