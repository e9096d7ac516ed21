"""The manifest: the table of images, one row for each."""

import functools
import hashlib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.files import atomic_write
from bloodcell.images.address import Address, address_of

COLUMNS = ("path", "label", "source", "group", "split", "sha256")
SPLITS = ("train", "val", "test")
FOLDER = "folder"
"""The column with an image's group, if ``data.folders`` says which folders are groups."""
BITS = "bits"
"""The column with the bits a channel that are used of an image with more than 8; 0: it has no more."""
TEST_SET = "test_set"
"""The column with the name of an image's test set, if there are several; empty for other images."""
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
        day), ``split`` (``train``, ``val`` or ``test``), ``sha256`` of the file, or see
        `bloodcell.images.address.Address.digest`. If images have more than 8 bits a channel, also `BITS`.
    unreadable, other_files
        One row for each image that cannot be read: ``path`` and ``reason``; files without an image suffix.
    notes
        What a user should know of the images, a sentence each.
    excluded
        One row for each image that the user excluded: ``path`` and ``reason``.
    """

    root: Path
    classes: tuple[str, ...]
    manifest: pd.DataFrame
    unreadable: pd.DataFrame
    other_files: tuple[str, ...]
    notes: tuple[str, ...] = ()
    excluded: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["path", "reason"]))

    def part(self, split: str) -> pd.DataFrame:
        """Return the rows of one split, in the manifest's order."""
        return self.manifest[self.manifest["split"] == split].reset_index(drop=True)

    def files(self, rows: pd.DataFrame) -> list[Path]:
        """Return the rows' files, or see `bloodcell.images.address`."""
        return [self.file(path) for path in rows["path"]]

    def file(self, path: str) -> Path:
        """Return an image's file, or see `bloodcell.images.address`."""
        return _addressed_below(self.root, path, self._bits_by_path.get(path, 0))

    @cached_property
    def computed(self) -> dict[Hashable, Any]:
        """Values that were computed from these images, by what they are: several trainings use them."""
        return {}

    @property
    def test_sets(self) -> dict[str, str]:
        """The test set of each test image by its path, if there are several."""
        if TEST_SET not in self.manifest:
            return {}
        test = self.part("test")
        return dict(zip(test["path"], test[TEST_SET], strict=True))

    @property
    def bits(self) -> int | None:
        """The bits a channel of the images that have more than 8; None if there are none."""
        return max(self._bits_by_path.values(), default=0) or None

    @cached_property
    def _bits_by_path(self) -> Mapping[str, int]:
        return bits_by_path(self.manifest)

    def class_indices(self, rows: pd.DataFrame) -> NDArray[np.int64]:
        """Return the rows' labels as indices into ``classes``, shape (n,)."""
        return np.asarray(pd.Index(self.classes).get_indexer(pd.Index(rows["label"])), dtype=np.int64)


def bits_by_path(manifest: pd.DataFrame) -> dict[str, int]:
    """Return the bits of the images that have more than 8 a channel, by their paths."""
    if BITS not in manifest:
        return {}
    deep = manifest[manifest[BITS] > 0]
    return dict(zip(deep["path"], deep[BITS].astype(int), strict=True))


@functools.lru_cache(maxsize=2**16)  # thousands of paths take longer to join than a training of a head
def _addressed_below(root: Path, path: str, bits: int) -> Path:
    return addressed(root / path, bits)


def addressed(file: Path, bits: int) -> Path:
    """Return the address of a file or page of which some bits a channel are used, if it has more than 8."""
    if not bits:
        return file
    address = address_of(file)
    return Path(str(Address(address.file, address.page, bits)))


def column_in_manifest(name: str) -> str:
    """Return the name that another column of a table of images has in the manifest, which has columns of its own."""
    return f"table_{name}" if name in (*COLUMNS, FOLDER, BITS, TEST_SET, UNTEXTURED) and name not in OF_TABLE else name


def digest(manifest: pd.DataFrame) -> str:
    """Return a digest of all images' content, path, label, source, group and split, independent of their order."""
    # File names have no NUL, so different tables give different texts.
    rows = map("\0".join, zip(*(manifest[column].astype(str) for column in COLUMNS), strict=True))
    return hashlib.sha256("\0".join(sorted(rows)).encode()).hexdigest()[:16]


def write_manifest(manifest: pd.DataFrame, path: Path) -> None:
    """Write the manifest as Parquet."""
    with atomic_write(path) as partial:
        manifest.to_parquet(partial, index=False)
