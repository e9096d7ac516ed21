"""The manifest: the table of images, one row for each."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.files import atomic_write

COLUMNS = ("path", "label", "source", "group", "split", "sha256")
SPLITS = ("train", "val", "test")
FOLDER = "folder"
"""The column with an image's group, if ``data.folders`` says which folders are groups."""
UNTEXTURED = "untextured"
"""The column that says whether an image has too little texture to be matched, if sources are recovered."""
OF_TABLE = ("path", "label", "split", "fold")
"""Columns that a table of images gives the manifest under their own names."""


@dataclass(frozen=True)
class ImageSet:
    """A set of labelled images.

    Attributes
    ----------
    root, classes
        The folder of the manifest's relative paths; the class names in the order of the model's outputs: sorted.
    manifest
        One row for each readable image: ``path`` (relative to ``root``, with forward slashes), ``label``, ``source``
        (the photograph that it was made from), ``group`` (what is independent: the source, or its patient, slide or
        day), ``split`` (``train``, ``val`` or ``test``), ``sha256`` of the file.
    unreadable, other_files
        One row for each image that was left out: ``path`` and ``reason``; files without an image suffix.
    notes
        What a user should know of the images, a sentence each.
    """

    root: Path
    classes: tuple[str, ...]
    manifest: pd.DataFrame
    unreadable: pd.DataFrame
    other_files: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def part(self, split: str) -> pd.DataFrame:
        """Return the rows of one split, in the manifest's order."""
        return self.manifest[self.manifest["split"] == split].reset_index(drop=True)

    def files(self, rows: pd.DataFrame) -> list[Path]:
        """Return the rows' files."""
        return [self.root / path for path in rows["path"]]

    def class_indices(self, rows: pd.DataFrame) -> NDArray[np.int64]:
        """Return the rows' labels as indices into ``classes``, shape (n,)."""
        return np.asarray(pd.Index(self.classes).get_indexer(pd.Index(rows["label"])), dtype=np.int64)


def column_in_manifest(name: str) -> str:
    """Return the name that another column of a table of images has in the manifest, which has columns of its own."""
    return f"table_{name}" if name in (*COLUMNS, FOLDER, UNTEXTURED) and name not in OF_TABLE else name


def digest(manifest: pd.DataFrame) -> str:
    """Return a digest of all images' content, path, label, source, group and split, independent of their order."""
    # File names have no NUL, so different tables give different texts.
    rows = map("\0".join, zip(*(manifest[column].astype(str) for column in COLUMNS), strict=True))
    return hashlib.sha256("\0".join(sorted(rows)).encode()).hexdigest()[:16]


def write_manifest(manifest: pd.DataFrame, path: Path) -> None:
    """Write the manifest as Parquet."""
    with atomic_write(path) as partial:
        manifest.to_parquet(partial, index=False)
