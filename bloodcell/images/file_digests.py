"""Digests of files that have not changed since they were read, so that they need not be read again.

A file counts as unchanged if path, size, inode and the times of its last change of content and of status are the same
as when it was read. As in git ("racy git problem", its technical documentation), a file that was changed shortly before
it was read is read again: a second change within the same tick of the file system's clock would leave the same times.
"""

import hashlib
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.files import atomic_write, cache_dir

log = logging.getLogger(__name__)

STATE = ("size", "changed", "status_changed", "inode")
"""The columns that identify the state of a file; times are in nanoseconds since 1970."""
TICK = 2_000_000_000
"""Nanoseconds; the clocks of file systems have ticks of at most 2 s (FAT)."""
MAX_FOLDERS = 200
"""The number of folders whose digests are kept, the last used."""

State = tuple[int, int, int, int]


def state_of(file: Path) -> State | None:
    """Return what changes with a file's content, see `STATE`; None if it cannot be read."""
    try:
        found = os.stat(file)  # noqa: PTH116 - twice as fast as the path's method
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


class FileDigests:
    """The known digests of the files below a folder; kept in the cache.

    Parameters
    ----------
    folder
        The folder.
    """

    def __init__(self, folder: Path) -> None:
        name = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:16]
        self._path = cache_dir() / "files" / f"{name}.parquet"
        self._known: dict[str, tuple[State, str]] = {}
        try:
            table = pd.read_parquet(self._path)
            states = zip(*(table[column].tolist() for column in STATE), strict=True)
            self._known = dict(
                zip(table["path"].tolist(), zip(states, table["sha256"].tolist(), strict=True), strict=True)
            )
            with suppress(OSError):
                os.utime(self._path)  # the time of the last use
        except FileNotFoundError:
            pass
        except Exception as error:  # any error of reading a damaged file
            log.warning("%s cannot be read (%s); all files will be read", self._path, error)

    def find(self, file: Path, state: State | None) -> str | None:
        """Return the SHA-256 of a file that had this state when it was read; None if it is unknown."""
        known = self._known.get(str(file))
        return known[1] if known is not None and known[0] == state else None

    def keep(self, files: Sequence[Path], states: Sequence[State | None], digests: Sequence[str], *, read: int) -> None:
        """Keep digests of files, each with the state before it was read; an empty digest is not kept.

        ``read`` is the time when reading began, in nanoseconds since 1970: files that were changed less than `TICK`
        before are not kept.
        """
        found = {
            str(file): (state, digest)
            for file, state, digest in zip(files, states, digests, strict=True)
            if digest and state is not None and max(state[1:3]) < read - TICK
        }
        if all(self._known.get(path) == known for path, known in found.items()):
            return
        self._known |= found
        columns = list(zip(*(state for state, _ in self._known.values()), strict=True))
        numbers: dict[str, NDArray[np.int64 | np.uint64]] = {
            name: np.array(values, np.uint64 if name == "inode" else np.int64)
            for name, values in zip(STATE, columns, strict=True)
        }
        table = pd.DataFrame(
            {"path": [*self._known], **numbers, "sha256": [digest for _, digest in self._known.values()]}
        )
        try:
            with atomic_write(self._path) as partial:
                table.to_parquet(partial, index=False)
            self._remove_unused()
        except OSError as error:
            log.warning("%s cannot be written (%s); all files will be read again next time", self._path, error)

    def _remove_unused(self) -> None:
        tables = sorted(self._path.parent.glob("*.parquet"), key=lambda path: path.stat().st_mtime)
        for path in tables[:-MAX_FOLDERS]:
            path.unlink(missing_ok=True)
