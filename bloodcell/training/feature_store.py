"""The feature store: what frozen layers make of images, computed once and kept on disk.

A shelf holds the rows of one recipe: everything that a row depends on but the image and the number of its view. It is a
folder named after the recipe's digest:

    recipe.json   the recipe, for people; touched whenever the shelf is used
    rows          row after row, memory-mapped
    index         a record for each row: the image's digest, the view's number, checksums of row and record

Whoever adds rows holds a lock, a file beside the shelf. Rows are only ever appended, first the row and then its record,
so what a crash tears is at the end and is written over. A row or record whose checksum does not hold counts as missing,
and is made again.
"""

import hashlib
import json
import logging
import math
import os
import re
import shutil
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from bloodcell.console.progress import print_status
from bloodcell.files import atomic_write, cache_dir

log = logging.getLogger(__name__)

RECORD = np.dtype([("image", "u1", 32), ("view", "<u4"), ("row_sum", "<u4"), ("sum", "<u4")])
CHECKED = RECORD.itemsize - 4
"""Bytes of a record that its own checksum is of."""
FILES = {"recipe.json", "rows", "index"}
ATTEMPTS = 10
SPARE = 1e9
"""Bytes that are left free on the disk."""

Key = tuple[bytes, int]
"""The SHA-256 of an image's content, and the number of its view."""


class StoreFullError(Exception):
    """The store has no room for the features; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Use:
    """What a shelf takes, for people.

    Attributes
    ----------
    name, recipe
        16 hexadecimal digits of the recipe's digest; the recipe, empty where its file cannot be read.
    rows, n_bytes
        How many views of images it holds; its size on disk.
    used
        When it was last used, in seconds since 1970.
    """

    name: str
    recipe: Mapping[str, Any]
    rows: int
    n_bytes: int
    used: float


def features_dir(folder: str | None) -> Path:
    """Return the folder of stored features: the one that is given, else that of bloodcell's cache."""
    return Path(folder).expanduser() if folder else cache_dir() / "features"


class FeatureStore:
    """Shelves in a folder, together no larger than a limit.

    Parameters
    ----------
    folder
        Where the shelves are.
    max_bytes
        The limit; shelves that were not used for longest make room for new ones.
    """

    def __init__(self, folder: Path, *, max_bytes: float = math.inf) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def shelf(self, recipe: Mapping[str, Any], *, width: int, dtype: str) -> "Shelf":
        """Return the shelf for a recipe, made if there is none.

        Parameters
        ----------
        recipe
            What its rows depend on: plain values by name.
        width, dtype
            Of a row; a part of the recipe too.

        Raises
        ------
        OSError
            If it cannot be made.
        """
        text = json.dumps({**recipe, "width": width, "dtype": dtype}, sort_keys=True, indent=2)
        folder = self._folder / hashlib.sha256(text.encode()).hexdigest()[:16]
        shelf = Shelf(folder, recipe=text, width=width, dtype=np.dtype(dtype))
        shelf.label()
        return shelf

    def make_room(self, n_bytes: float, *, for_shelf: "Shelf") -> None:
        """Take shelves away, those first that were not used for longest, until so many bytes can be added to one.

        Raises
        ------
        StoreFullError
            If they cannot, however many others are taken away; then none is.
        """
        free = shutil.disk_usage(self._folder).free - SPARE
        uses = self.uses()
        own = sum(use.n_bytes for use in uses if use.name == for_shelf.name)
        others = [use for use in uses if use.name != for_shelf.name]
        total = sum(use.n_bytes for use in others)
        if own + n_bytes > self._max_bytes:
            raise StoreFullError(
                f"they would take {(own + n_bytes) / 1e9:.1f} GB of {self._max_bytes / 1e9:.1f} GB allowed; "
                "`bloodcell cache` shows what can go"
            )
        if n_bytes > free + total:
            raise StoreFullError(
                f"they would take {n_bytes / 1e9:.1f} GB, and the disk has {max(free, 0) / 1e9:.1f} GB left"
            )
        for use in sorted(others, key=lambda use: use.used):
            if own + total + n_bytes <= self._max_bytes and n_bytes <= free:
                return
            if self.remove(use.name):
                log.warning("features of %s removed to make room", use.name)
                print_status(f"features {use.name} of {use.recipe.get('backbone', 'another')} removed to make room")
                total, free = total - use.n_bytes, free + use.n_bytes
        if own + total + n_bytes > self._max_bytes or n_bytes > free:
            raise StoreFullError(
                f"they would take {n_bytes / 1e9:.1f} GB, and other processes add to what would have to go"
            )

    def uses(self) -> list[Use]:
        """Return what every shelf takes, the one used last first; other folders and files are nobody's business."""
        folders = self._folder.iterdir() if self._folder.is_dir() else ()
        uses = [use for use in map(_use, filter(_is_shelf, folders)) if use is not None]
        return sorted(uses, key=lambda use: -use.used)

    def remove(self, name: str) -> bool:
        """Remove a shelf, unless a process adds to it at this moment; return whether it is gone."""
        folder = self._folder / name
        if not _is_shelf(folder):
            return not folder.exists()
        try:
            with FileLock(_lock_of(folder), timeout=0):
                # Another process may use the name again at any moment, or have been faster.
                going = folder.with_name(f".{uuid.uuid4().hex}")
                with suppress(FileNotFoundError):
                    folder.rename(going)
                    shutil.rmtree(going)
        except Timeout:
            return False
        return True


class Shelf:
    """The rows of one recipe. See `FeatureStore.shelf`."""

    def __init__(self, folder: Path, *, recipe: str, width: int, dtype: np.dtype[Any]) -> None:
        self._folder, self._recipe, self._width, self._dtype = folder, recipe, width, dtype
        self._lock = FileLock(_lock_of(folder))

    @property
    def name(self) -> str:
        """16 hexadecimal digits of the recipe's digest."""
        return self._folder.name

    @property
    def row_bytes(self) -> int:
        """Bytes that a row takes, its record included."""
        return self._width * self._dtype.itemsize + RECORD.itemsize

    def label(self) -> None:
        """Write the recipe down, unless it is there, and that the shelf is used now."""
        path = self._folder / "recipe.json"
        for _ in range(ATTEMPTS):
            with suppress(FileNotFoundError):  # another process removes the shelf
                if _read(path) != self._recipe.encode():
                    with atomic_write(path) as partial:
                        partial.write_text(self._recipe, encoding="utf-8")
                os.utime(path)
                return

    def find(self, keys: Sequence[Key]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return all rows, and where the rows of some keys are.

        Returns
        -------
        rows
            Memory-mapped, read-only, shape (n, width).
        places
            Shape (len(keys),): an index into ``rows``; -1 where there is no row, or a damaged one.
        """
        records, rows = self._records(), self._rows()
        records = records[: len(rows)]
        known = {
            (record[:32], int.from_bytes(record[32:36], "little")): place
            for place, record in enumerate(_split(records, RECORD.itemsize))
            if zlib.crc32(record[:CHECKED]) == int.from_bytes(record[CHECKED:], "little")
        }
        sums = records["row_sum"]
        places = np.array([known.get(key, -1) for key in keys], np.int64)
        for place in np.unique(places[places >= 0]):
            if zlib.crc32(rows[place]) != sums[place]:
                log.warning("row %d of %s is damaged; made again", place, self._folder)
                places[places == place] = -1
        return rows, places

    @contextmanager
    def adding(self) -> Iterator[bool]:
        """Keep other processes from adding rows while the block does; yield whether there was one to wait for."""
        waited = False
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            waited = True
            log.info("%s: another process adds features; waiting for it", self._folder)
            self._lock.acquire()
        try:
            self.label()  # whoever held the lock may have removed the shelf
            self._repair()
            yield waited
        finally:
            self._lock.release()

    def add(self, keys: Sequence[Key], rows: NDArray[np.floating[Any]]) -> None:
        """Append rows (len(keys), width). Only inside `adding`.

        Raises
        ------
        OSError
            If the disk is full; what was added before stays.
        """
        rows = np.ascontiguousarray(rows, self._dtype)
        records = np.zeros(len(keys), RECORD)
        records["image"] = [np.frombuffer(image, np.uint8) for image, _ in keys]
        records["view"] = [view for _, view in keys]
        records["row_sum"] = [zlib.crc32(row) for row in rows]
        records["sum"] = [zlib.crc32(record[:CHECKED]) for record in _split(records, RECORD.itemsize)]
        for part, content in (("rows", rows), ("index", records)):
            with (self._folder / part).open("ab") as file:
                file.write(content.tobytes())

    def _repair(self) -> None:
        """Cut off what a crash tore, and make the two files as long as each other.

        No whole row goes, as other processes may have it mapped: one without a record gets a record of nothing.
        """
        n_rows, n_records = len(self._rows()), len(self._records())
        with (self._folder / "rows").open("ab") as file:
            file.truncate(n_rows * self._width * self._dtype.itemsize)
        with (self._folder / "index").open("ab") as file:
            file.truncate(min(n_rows, n_records) * RECORD.itemsize)
            file.write(bytes(max(n_rows - n_records, 0) * RECORD.itemsize))

    def _records(self) -> NDArray[Any]:
        data = _read(self._folder / "index") or b""
        return np.frombuffer(data, RECORD, count=len(data) // RECORD.itemsize)

    def _rows(self) -> NDArray[Any]:
        path, size = self._folder / "rows", self._width * self._dtype.itemsize
        with suppress(FileNotFoundError):
            if n_rows := path.stat().st_size // size:  # nothing cannot be mapped
                return np.memmap(path, self._dtype, mode="r", shape=(n_rows, self._width))
        return np.empty((0, self._width), self._dtype)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _split(records: NDArray[Any], size: int) -> Iterator[bytes]:
    data = records.tobytes()
    return (data[start : start + size] for start in range(0, len(data), size))


def _read(path: Path) -> bytes | None:
    with suppress(FileNotFoundError):
        return path.read_bytes()
    return None


def _is_shelf(folder: Path) -> bool:
    """Say whether a folder is one that this store made: nothing else is ever counted or removed."""
    try:
        names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    except OSError:
        return False
    return re.fullmatch("[0-9a-f]{16}", folder.name) is not None and names <= FILES


def _use(folder: Path) -> Use | None:
    """Return what a shelf takes, or None if it is being removed at this moment."""
    recipe, used = {}, 0.0
    with suppress(OSError, ValueError):
        recipe = json.loads((folder / "recipe.json").read_bytes())
        used = (folder / "recipe.json").stat().st_mtime
    try:
        sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    except FileNotFoundError:
        return None
    return Use(
        name=folder.name,
        recipe=recipe,
        rows=sizes.get("index", 0) // RECORD.itemsize,
        n_bytes=sum(sizes.values()),
        used=used,
    )
