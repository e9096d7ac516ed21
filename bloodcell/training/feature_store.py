"""The feature store: features of frozen layers, computed once and cached on disk.

A table holds the rows of one recipe. The recipe is everything that a row depends on, except the image and the number of
its view. A table is a folder named after the recipe's digest:

    recipe.json   the recipe; its modification time is the time of the last use
    rows          the rows, memory-mapped
    index         a record for each row: the image's digest, the view's number, checksums of row and record

A process that uses a table holds a shared lock of the folder, its lease, so that no other process removes it. One that
adds rows also holds the table's lock file. It only appends, first the row and then its record, so a crash can
damage only the end of the files, which the next process overwrites. A row with a wrong checksum is computed again.
"""

import errno
import hashlib
import json
import logging
import math
import mmap
import os
import re
import shutil
import weakref
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
from bloodcell.files import atomic_write, cache_dir, lock_folder, remove_unused, require_writable

log = logging.getLogger(__name__)

RECORD = np.dtype([("image", "u1", 32), ("view", "<u4"), ("row_sum", "<u4"), ("sum", "<u4")])
CHECKED = RECORD.itemsize - 4
"""Bytes of a record that its checksum covers."""
FILES = {"recipe.json", "rows", "index"}
ATTEMPTS = 10
MIN_FREE = 1e9
"""Bytes of the disk that stay free."""

MAX_CONTENTS = 4
"""Tables of which this process keeps the index, the last used."""
READ_BYTES = 2**24
"""Bytes that are read at a time to check rows."""

Key = tuple[bytes, int]
"""The SHA-256 of an image's content, and the number of its view."""


class StoreFullError(Exception):
    """The store has no room for the features; the message says why."""


@dataclass(frozen=True, kw_only=True)
class TableUse:
    """The size and last use of a table.

    Attributes
    ----------
    name
        16 hexadecimal digits of the recipe's digest.
    recipe
        The recipe; empty if its file cannot be read.
    rows
        Number of rows.
    n_bytes
        Bytes on disk.
    last_used
        Time of the last use, in seconds since 1970.
    """

    name: str
    recipe: Mapping[str, Any]
    rows: int
    n_bytes: int
    last_used: float


def require_usable(folder: Path) -> None:
    """Check that features can be stored in a folder, or that it has some to read.

    Raises
    ------
    OSError
        If it cannot be written, and has no features.
    """
    try:
        require_writable(folder)
    except OSError:
        if not FeatureStore(folder).usage():
            raise


def features_dir(folder: str | None) -> Path:
    """Return the folder of stored features; by default it is in bloodcell's cache."""
    return Path(folder).expanduser() if folder else cache_dir() / "features"


class FeatureStore:
    """Feature tables in a folder, with a limit of their total size.

    Parameters
    ----------
    folder
        The folder.
    max_bytes
        The limit; to keep it, the least recently used tables are removed.
    """

    def __init__(self, folder: Path, *, max_bytes: float = math.inf) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._leases: dict[str, weakref.finalize[..., FeatureStore]] = {}

    def table(self, recipe: Mapping[str, Any], *, width: int, dtype: str) -> "FeatureTable":
        """Return the table of a recipe; create it if it does not exist. Other processes do not remove it from then on.

        Parameters
        ----------
        recipe
            What the rows depend on: plain values by name.
        width, dtype
            Of a row; they are added to the recipe.

        Raises
        ------
        OSError
            If it cannot be created.
        """
        text = json.dumps({**recipe, "width": width, "dtype": dtype}, sort_keys=True, indent=2)
        folder = self._folder / hashlib.sha256(text.encode()).hexdigest()[:16]
        table = FeatureTable(folder, recipe=text, width=width, dtype=np.dtype(dtype))
        table.touch()
        while table.name not in self._leases:
            lease = lock_folder(folder, "shared")
            if lease is not None:
                self._leases[table.name] = weakref.finalize(self, os.close, lease)
            else:  # another process removed it
                table.touch()
        return table

    def make_room(self, n_bytes: float, *, for_table: "FeatureTable") -> None:
        """Remove the least recently used other tables until ``n_bytes`` can be added to a table.

        Raises
        ------
        StoreFullError
            If removing all others is not enough; then none is removed.
        """
        free = shutil.disk_usage(self._folder).free - MIN_FREE
        uses = self.usage()
        own = sum(use.n_bytes for use in uses if use.name == for_table.name)
        others = [use for use in uses if use.name != for_table.name]
        total = sum(use.n_bytes for use in others)
        if own + n_bytes > self._max_bytes:
            raise StoreFullError(
                f"they would take {(own + n_bytes) / 1e9:.1f} GB of {self._max_bytes / 1e9:.1f} GB allowed; "
                "`bloodcell cache` shows what can be removed"
            )
        if n_bytes > free + total:
            raise StoreFullError(
                f"they would take {n_bytes / 1e9:.1f} GB, and the disk has {max(free, 0) / 1e9:.1f} GB left"
            )
        for use in sorted(others, key=lambda use: use.last_used):
            if own + total + n_bytes <= self._max_bytes and n_bytes <= free:
                return
            if self.remove(use.name):
                log.warning("features of %s removed to make room", use.name)
                print_status(f"features {use.name} of {use.recipe.get('backbone', 'another')} removed to make room")
                total, free = total - use.n_bytes, free + use.n_bytes
        if own + total + n_bytes > self._max_bytes or n_bytes > free:
            raise StoreFullError(
                f"they would take {n_bytes / 1e9:.1f} GB, and other processes use the tables to be removed"
            )

    def usage(self) -> list[TableUse]:
        """Return the use of every table, the last used first; other folders and files are ignored."""
        folders = self._folder.iterdir() if self._folder.is_dir() else ()
        uses = [use for use in map(_use, filter(_is_table, folders)) if use is not None]
        return sorted(uses, key=lambda use: -use.last_used)

    def remove(self, name: str) -> bool:
        """Remove a table unless another `FeatureStore`, of any process, uses it; return whether it was removed."""
        folder = self._folder / name
        if not _is_table(folder):
            return not folder.exists()
        if own := self._leases.pop(name, None):
            own()  # rows that are mapped remain valid
        try:
            with FileLock(_lock_of(folder), timeout=0):
                return remove_unused(folder)
        except Timeout:
            return False


class _Content:
    """The rows of a table, the place of each key, checksums, and which rows were checked and are whole."""

    def __init__(
        self,
        state: tuple[tuple[int, ...], ...],
        rows: NDArray[Any],
        places: Mapping[Key, int],
        sums: NDArray[np.uint32],
    ) -> None:
        self.state, self.rows, self.places, self.sums = state, rows, places, sums
        self.is_checked, self.is_whole = np.zeros((2, len(sums)), bool)


_contents: dict[Path, _Content] = {}


def release_pages() -> None:
    """Let the system take the memory of mapped rows, which it would count as this process's; they can still be read."""
    for content in _contents.values():
        mapped = getattr(content.rows, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)


class FeatureTable:
    """The rows of one recipe. See `FeatureStore.table`."""

    def __init__(self, folder: Path, *, recipe: str, width: int, dtype: np.dtype[Any]) -> None:
        self._folder, self._recipe, self._width, self._dtype = folder, recipe, width, dtype
        self._lock = FileLock(_lock_of(folder))

    @property
    def name(self) -> str:
        """16 hexadecimal digits of the recipe's digest."""
        return self._folder.name

    @property
    def row_bytes(self) -> int:
        """Bytes of a row and its record."""
        return self._width * self._dtype.itemsize + RECORD.itemsize

    def touch(self) -> None:
        """Write the recipe if it is missing, and record that the table is used now."""
        path = self._folder / "recipe.json"
        for _ in range(ATTEMPTS):
            with suppress(FileNotFoundError):  # another process removes the table
                if _read(path) != self._recipe.encode():
                    with atomic_write(path) as partial:
                        partial.write_text(self._recipe, encoding="utf-8")
                _record_use(path)
                return

    def find(self, keys: Sequence[Key]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return all rows, and the indices of the rows of some keys.

        Returns
        -------
        rows
            Memory-mapped, read-only, shape (n, width).
        places
            Shape (len(keys),): indices into ``rows``; -1 if a row is missing or damaged.
        """
        content = self._content()
        places = np.array([content.places.get(key, -1) for key in keys], np.int64)
        self._check(content, np.unique(places[places >= 0]))
        places[places >= 0] = np.where(content.is_whole[places[places >= 0]], places[places >= 0], -1)
        return content.rows, places

    def _content(self) -> "_Content":
        """Return the rows and the index; those of an earlier call if the files have not changed."""
        state = tuple(_state_of(self._folder / part) for part in ("rows", "index"))
        content = _contents.get(self._folder)
        if content is None or content.state != state:
            records, rows = self._records(), self._rows()
            records = records[: len(rows)]
            known = {
                (record[:32], int.from_bytes(record[32:36], "little")): place
                for place, record in enumerate(_split(records, RECORD.itemsize))
                if zlib.crc32(record[:CHECKED]) == int.from_bytes(record[CHECKED:], "little")
            }
            content = _Content(state, rows, known, records["row_sum"])
        _contents.pop(self._folder, None)
        _contents[self._folder] = content
        while len(_contents) > MAX_CONTENTS:
            del _contents[next(iter(_contents))]
        return content

    def _check(self, content: "_Content", places: NDArray[np.int64]) -> None:
        """Compare rows with their checksums, unless it was done before.

        They are read, not mapped: the pages of a mapping would stay in memory.
        """
        unchecked = places[~content.is_checked[places]]
        if not unchecked.size:
            return
        size = self._width * self._dtype.itemsize
        at_once = max(1, READ_BYTES // size)
        with (self._folder / "rows").open("rb") as file:
            for start in np.unique(unchecked // at_once) * at_once:
                file.seek(int(start) * size)
                data = memoryview(file.read(at_once * size))
                for place in unchecked[(unchecked >= start) & (unchecked < start + at_once)]:
                    offset = int(place - start) * size
                    content.is_whole[place] = zlib.crc32(data[offset : offset + size]) == content.sums[place]
        content.is_checked[unchecked] = True
        for place in unchecked[~content.is_whole[unchecked]]:
            log.warning("row %d of %s is damaged and will be computed again", place, self._folder)

    @contextmanager
    def adding(self) -> Iterator[bool]:
        """Lock the table for the block; yield whether it had to wait for another process."""
        waited = False
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            waited = True
            log.info("%s: another process adds features; waiting for it", self._folder)
            self._lock.acquire()
        try:
            self.touch()  # the process that held the lock may have removed the table
            self._repair()
            yield waited
        finally:
            self._lock.release()

    def add(self, keys: Sequence[Key], rows: NDArray[np.floating[Any]]) -> None:
        """Append rows (len(keys), width). Only inside `adding`.

        Raises
        ------
        OSError
            If the disk is full; rows that were added before remain.
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
        """Remove what a crash damaged at the end of the files, and make both files equally long.

        A complete row without a record gets an empty record: other processes may have mapped the row.
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
            if n_rows := path.stat().st_size // size:  # an empty file cannot be mapped
                return np.memmap(path, self._dtype, mode="r", shape=(n_rows, self._width))
        return np.empty((0, self._width), self._dtype)


def _state_of(path: Path) -> tuple[int, ...]:
    """Return what changes with a file; empty if it does not exist."""
    with suppress(FileNotFoundError):
        state = path.stat()
        return state.st_size, state.st_mtime_ns, state.st_ino
    return ()


def _record_use(path: Path) -> None:
    """Set the time of a file to now; not in a cache that this user only reads."""
    try:
        os.utime(path)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _split(records: NDArray[Any], size: int) -> Iterator[bytes]:
    data = records.tobytes()
    return (data[start : start + size] for start in range(0, len(data), size))


def _read(path: Path) -> bytes | None:
    with suppress(FileNotFoundError):
        return path.read_bytes()
    return None


def _is_table(folder: Path) -> bool:
    """Return whether a folder is a table of this store; others are neither counted nor removed."""
    try:
        names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    except OSError:
        return False
    return re.fullmatch("[0-9a-f]{16}", folder.name) is not None and names <= FILES


def _use(folder: Path) -> TableUse | None:
    """Return the use of a table; None if another process is removing it."""
    recipe, last_used = {}, 0.0
    with suppress(OSError, ValueError):
        recipe = json.loads((folder / "recipe.json").read_bytes())
        last_used = (folder / "recipe.json").stat().st_mtime
    try:
        sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    except FileNotFoundError:
        return None
    return TableUse(
        name=folder.name,
        recipe=recipe,
        rows=sizes.get("index", 0) // RECORD.itemsize,
        n_bytes=sum(sizes.values()),
        last_used=last_used,
    )
