"""Load the images that a CSV file lists, with their classes and perhaps their splits, folds and groups."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from bloodcell.data.csv_files import read_csv
from bloodcell.data.folder_layout import split_of
from bloodcell.data.folders import printable
from bloodcell.data.loading import STRICTEST, Policy, checked_images
from bloodcell.data.manifest import TEST_SET, ImageSet, column_in_manifest
from bloodcell.errors import UserError
from bloodcell.wording import abridged


def load_table(
    *,
    file: str | Path,
    folder: str | Path | None,
    columns: Mapping[str, str],
    policy: Policy = STRICTEST,
) -> ImageSet:
    """Load the images that a CSV file lists.

    Parameters
    ----------
    file
        A CSV file with a row for each image.
    folder
        The folder to which paths are relative, and in which absolute paths are; None: that of the file.
    columns
        The names of its columns ``path`` and ``label``, and of ``split`` and ``fold``, which it may lack.
    policy
        What is done about images and classes that cannot be used.

    Returns
    -------
    ImageSet
        As of `bloodcell.data.loading.load_folders`. Without a column of splits, all images are ``train``. The manifest
        also has ``fold``, if the table has it, `bloodcell.data.manifest.TEST_SET`, if its splits name several test sets
        such as ``TestA``, and every other column of the table, see
        `bloodcell.data.manifest.column_in_manifest`.

    Raises
    ------
    UserError
        If the file or an image cannot be used.
    """
    setting = f"data.table={file}"
    root = table_folder(file, folder)
    table = read_csv(file, setting="data.table")
    for name in ("path", "label"):
        if columns[name] not in table.columns:
            found = ", ".join(map(repr, table.columns))
            raise UserError(f"{setting}: has no column {columns[name]}; set data.{name}_column to one of {found}")
    own_names = {own: name for name, own in columns.items() if own in table.columns}
    table = table.rename(columns=own_names).rename(columns=column_in_manifest)
    if table.empty:
        raise UserError(f"{setting}: lists no images; add a row for each")
    _require_filled(table, ["path", "label"], columns, setting)
    names = table.get("split", pd.Series("", index=table.index)).str.strip()
    table["split"] = _splits(table, columns, setting)
    if names[table["split"] == "test"].nunique() > 1:
        table[TEST_SET] = names.where(table["split"] == "test", "")
    if not root.is_dir():
        raise UserError(f"data.folder={root}: no such folder; give the one to which the table's paths are relative")
    table["path"] = [_path(path, root, setting) for path in table["path"]]
    twice = table["path"].duplicated(keep=False)
    if twice.any():
        raise UserError(
            f"{setting}: lists {abridged(table.loc[twice, 'path'].unique().tolist())} more than once; keep one row each"
        )
    return checked_images(
        table.assign(file=[root / path for path in table["path"]]),
        root=root.resolve(),
        places=dict.fromkeys(table["split"].unique(), setting),
        policy=policy,
    )


def table_folder(file: str | Path, folder: str | Path | None) -> Path:
    """Return the folder to which the paths of a table are relative."""
    return (Path(file).parent if folder is None else Path(folder)).expanduser()


def _require_filled(table: pd.DataFrame, names: Iterable[str], columns: Mapping[str, str], setting: str) -> None:
    for name in names:
        empty = (table[name].str.strip() == "").to_numpy()
        if empty.any():
            raise UserError(
                f"{setting}: has no {columns[name]} in {empty.sum()} rows, first in row {empty.argmax() + 1}; add it"
            )


def _splits(table: pd.DataFrame, columns: Mapping[str, str], setting: str) -> "pd.Series[str]":
    """Return the split of each row, by its usual names."""
    if "split" not in table.columns:
        return pd.Series("train", index=table.index)
    found = table["split"].str.strip().map(split_of)
    if found.isna().any():
        strange = table.loc[found.isna(), "split"].iloc[0]
        raise UserError(
            f"{setting}: the column {columns['split']} has {strange!r} in {found.isna().sum()} rows; use train, val "
            "and test, or give another column by data.split_column"
        )
    if "train" not in set(found):
        raise UserError(f"{setting}: has no row of the split train; add the training images")
    return found


def _path(path: str, root: Path, setting: str) -> str:
    """Return a path of the table relative to the root."""
    file = Path(os.path.normpath(root.absolute() / path.strip()))
    for top in (root.absolute(), root.resolve()):
        if file.is_relative_to(top):
            return printable(file.relative_to(top).as_posix())
    raise UserError(f"{setting}: {path} is not in {root}; set data.folder to the folder that has all images")
