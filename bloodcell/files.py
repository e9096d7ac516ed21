"""Files: atomic writes, checks that files can be written, locks of folders, and the cache folder."""

import os
import re
import shutil
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from bloodcell.errors import UserError

if sys.platform != "win32":
    import fcntl

OLD = 3600.0
"""Seconds after which a temporary file is left over."""
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}(\.|$)")


def require_writable(folder: Path) -> None:
    """Check that files can be created in a folder, or in the nearest existing one above it.

    Raises
    ------
    OSError
        If files cannot be created.
    """
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    attempt = existing / f".{uuid.uuid4().hex}"
    attempt.touch()
    attempt.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to ``path``, which replaces ``path`` if the block succeeds.

    The temporary name has the suffixes of ``path``, because some writers choose their format by it. If the block
    raises, ``path`` stays as it was and the temporary file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{uuid.uuid4().hex}{''.join(path.suffixes)}")
    try:
        with named_in_errors(path):
            yield partial
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def named_in_errors(path: Path) -> Iterator[None]:
    """Name a file in errors of the operating system that name none, such as that of a write to a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # else its text would be lost
            error.filename = error.filename or str(path)
        raise


def lock_folder(folder: Path, kind: Literal["shared", "exclusive"]) -> int | None:
    """Lock a folder until the returned file descriptor is closed; None if it is no longer there.

    A shared lock waits for a process that removes the folder. BlockingIOError: an exclusive lock is unavailable.
    Windows locks no folders, and removes no file that is in use.
    """
    if sys.platform == "win32":
        return os.open(os.devnull, os.O_RDONLY) if folder.is_dir() else None
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH if kind == "shared" else fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), folder.stat()):
            return descriptor
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def remove_unused(folder: Path) -> bool:
    """Remove a folder unless another process has a lock of it; return whether it is gone."""
    try:
        lock = lock_folder(folder, "exclusive")
    except BlockingIOError:
        return False
    if lock is None:
        return True
    try:
        # Renamed first: another process may create a folder of this name at any moment.
        removed = folder.with_name(f".{uuid.uuid4().hex}")
        folder.rename(removed)
        shutil.rmtree(removed)
    finally:
        os.close(lock)
    return True


def left_over_files(roots: Iterable[Path]) -> list[Path]:
    """Return temporary files in these folders, at any depth, that a process left when it was killed.

    They have the names of `atomic_write`, and are older than `OLD` seconds: a process may be writing newer ones.
    """
    before = time.time() - OLD
    found = {path for root in roots if root.is_dir() for path in root.rglob(".*") if _TEMPORARY.match(path.name)}
    return sorted(path for path in found if path.is_file() and path.stat().st_mtime < before)


def cache_dir() -> Path:
    """Return the folder of bloodcell's caches: ``bloodcell`` in ``XDG_CACHE_HOME``, else in ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bloodcell"


def existing_folder(folder: str) -> Path:
    """Return the folder of runs that the setting ``folder`` names.

    Raises
    ------
    UserError
        If there is no such folder.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise UserError(f"folder={path}: is not a folder; give the folder of the runs")
    return path


def require_output_folder(output: Path) -> None:
    """Check that the folder ``output`` can be written to.

    Raises
    ------
    UserError
        If it cannot.
    """
    _require(output, output, what="folder")


def require_output_file(output: Path) -> None:
    """Check that the file ``output`` can be written.

    Raises
    ------
    UserError
        If it cannot, or is a folder.
    """
    if output.is_dir():
        raise UserError(f"output={output}: is a folder; give the name of a file")
    _require(output, output.parent, what="file")


def _require(output: Path, folder: Path, *, what: str) -> None:
    try:
        require_writable(folder)
    except OSError as error:
        raise UserError(f"output={output}: cannot be written ({error.strerror}); give another {what}") from error
