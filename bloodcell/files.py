"""Files: written so that a crash does not tear them, refused before the work if they cannot be written, cached."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bloodcell.errors import UserError


def require_writable(folder: Path) -> None:
    """See that files can be made in a folder that may not be there yet, and leave nothing behind.

    Raises
    ------
    OSError
        If they cannot.
    """
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    attempt = folder / f".{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        attempt.touch()
    finally:
        with suppress(OSError):
            attempt.unlink(missing_ok=True)
        for made in missing:
            with suppress(OSError):
                made.rmdir()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place when the block ends well.

    The temporary name keeps the suffixes of ``path``, because some writers choose their format by it. A block that
    raises leaves ``path`` as it was and nothing beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{uuid.uuid4().hex}{''.join(path.suffixes)}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def cache_dir() -> Path:
    """Return the folder of bloodcell's caches: ``bloodcell`` under ``XDG_CACHE_HOME``, else under ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bloodcell"


def require_output_folder(output: Path) -> None:
    """Refuse a folder that ``output`` names and that cannot be written to.

    Raises
    ------
    UserError
        If it cannot.
    """
    _require(output, output, what="folder")


def require_output_file(output: Path) -> None:
    """Refuse a file that ``output`` names and that cannot be written.

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
