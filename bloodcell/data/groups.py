"""The source of each image (the photograph that it was made from) and its group (what is independent).

A group is a source, or what sources belong to: a patient, slide or day. The functions return an `ImageSet` with the
column ``source``, ``group`` or both of its manifest filled.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

import pandas as pd

from bloodcell.data.csv_files import read_csv
from bloodcell.data.leaks import connected_components
from bloodcell.data.manifest import FOLDER, UNTEXTURED, ImageSet, column_in_manifest
from bloodcell.errors import UserError
from bloodcell.images.address import address_of

Level = Literal["source", "group"]

SETTINGS: dict[Level, str] = {"source": "photographs", "group": "groups"}
"""The setting of each level in ``data``."""

N_LISTED = 3
"""Images that an error lists before it counts the others."""


def recovered_groups(images: ImageSet) -> ImageSet:
    """Recover the sources from the pixels; each is a group."""
    found = recovered_sources(images)
    return _with(found, found.manifest["source"].tolist(), "group")


def recovered_sources(images: ImageSet) -> ImageSet:
    """Recover the sources from the pixels; exact copies always have one source."""
    from bloodcell.provenance.recovery import recover_sources

    rows = images.manifest
    found = recover_sources(images.files(rows), rows["sha256"].tolist())
    return _with(replace(images, manifest=rows.assign(**{UNTEXTURED: found.untextured})), found.names, "source")


def listed_groups(images: ImageSet, *, file: str | Path, column: str, level: Level = "group") -> ImageSet:
    """Take the groups, or sources, from a column of a CSV file.

    Its column ``path`` is relative to the images' root; it may list other images, too.

    Raises
    ------
    UserError
        If the file cannot be read, lacks a column, or has two groups for an image or none for an image of the set.
    """
    listed = _read_csv(file, column, level)
    listed["path"] = listed["path"].map(lambda path: PurePosixPath(path).as_posix())  # ./a.png is a.png
    table = listed[listed[column] != ""].drop_duplicates(["path", column])
    twice = table[table["path"].duplicated(keep=False)]
    if len(twice):
        path = twice["path"].iloc[0]
        names = " and ".join(twice.loc[twice["path"] == path, column])
        raise UserError(f"data.groups_file={file}: has several {level}s for {path} ({names}); keep one")
    found = _by_path(images, dict(zip(table["path"], table[column], strict=True)))
    if found.isna().any():
        raise UserError(
            f"data.groups_file={file}: has no {level} for {_some(images, found.isna())}; list every image, with its "
            f"path relative to {images.root}"
        )
    return _with(images, found.tolist(), level)


def column_groups(images: ImageSet, *, column: str, level: Level = "group") -> ImageSet:
    """Take the groups, or sources, from a column of the table that lists the images.

    Raises
    ------
    UserError
        If the table does not have the column, or an image has no group.
    """
    name, setting = column_in_manifest(column), f"data.{SETTINGS[level]}_column={column}"
    if name not in images.manifest.columns:
        raise UserError(f"{setting}: the table has no such column; give one that it has")
    names = images.manifest[name].str.strip()
    if (empty := names == "").any():
        raise UserError(f"{setting}: is empty for {_some(images, empty)}; give every image a {level}")
    return _with(images, names.tolist(), level)


def matched_groups(images: ImageSet, *, pattern: str, level: Level = "group") -> ImageSet:
    """Take the groups, or sources, from the paths.

    The pattern is a regular expression that is searched for in each path relative to the images' root. The image's
    group is the capture group with the name of the level, or else the first one.

    Raises
    ------
    UserError
        If the pattern does not match a path.
    """
    regex = re.compile(pattern)
    captured = level if level in regex.groupindex else 1
    matches = [regex.search(address_of(path).file) for path in images.manifest["path"]]
    names = [match[captured] if match else None for match in matches]
    unmatched = pd.Series([not name for name in names], index=images.manifest.index)
    if unmatched.any():
        raise UserError(
            f"data.{SETTINGS[level]}_pattern={pattern}: finds no {level} in the path of {_some(images, unmatched)}; "
            "change the pattern so that it matches every path"
        )
    return _with(images, [str(name) for name in names], level)


def folder_groups(images: ImageSet) -> ImageSet:
    """Make the images of each folder a group, without those of its subfolders.

    If ``data.folders`` says which folders are groups, those are, wherever they are.
    """
    if FOLDER in images.manifest:
        return _with(images, images.manifest[FOLDER].tolist(), "group")
    return _with(
        images, [PurePosixPath(address_of(path).file).parent.as_posix() for path in images.manifest["path"]], "group"
    )


def single_groups(images: ImageSet) -> ImageSet:
    """Make every image its own source and group."""
    return _with(images, images.manifest["path"].tolist(), "source", "group")


def groups_as_sources(images: ImageSet) -> ImageSet:
    """Make every group one source."""
    return _with(images, images.manifest["group"].tolist(), "source")


def joined_pages(images: ImageSet) -> ImageSet:
    """Join the groups, and the sources, of pages of one file."""
    files = [address_of(images.root / path).file for path in images.manifest["path"]]
    if len(set(files)) == len(files):
        return images
    table = images.manifest.assign(file=files)
    levels: tuple[Level, ...] = ("source", "group")
    for level in levels:
        joined = connected_components(table, level, "file")
        images = _with(images, table[level].groupby(joined).transform("first").tolist(), level)
    return images


def sources_in_several_groups(manifest: pd.DataFrame) -> dict[str, list[str]]:
    """Return the sources with images in more than one group, and the names of those groups."""
    pairs = manifest[["source", "group"]].drop_duplicates().sort_values(["source", "group"])
    several = pairs[pairs["source"].duplicated(keep=False)]
    return {str(source): list(names) for source, names in several.groupby("source")["group"]}


def _with(images: ImageSet, names: Sequence[str], *levels: Level) -> ImageSet:
    return replace(images, manifest=images.manifest.assign(**{level: list(names) for level in levels}))


def _by_path(images: ImageSet, listed: Mapping[str, str]) -> "pd.Series[str]":
    """Return what is listed of each image; a page that is not listed has what its file has."""
    return images.manifest["path"].map(lambda path: listed.get(path, listed.get(address_of(path).file)))


def _read_csv(file: str | Path, column: str, level: Level) -> pd.DataFrame:
    listed = read_csv(file, setting="data.groups_file")
    remedies = {"path": "rename the column of the images' paths", column: f"set data.{SETTINGS[level]}_column"}
    for name, remedy in remedies.items():
        if name not in listed.columns:
            columns = ", ".join(map(str, listed.columns))
            raise UserError(f"data.groups_file={file}: has no column {name}; its columns are {columns}; {remedy}")
    return listed


def _some(images: ImageSet, chosen: "pd.Series[bool]") -> str:
    """Return the number of the chosen images and their first paths."""
    paths = images.manifest.loc[chosen, "path"].tolist()
    more = f" and {len(paths) - N_LISTED} more" if len(paths) > N_LISTED else ""
    return f"{len(paths)} of {len(chosen)} images ({', '.join(paths[:N_LISTED])}{more})"
