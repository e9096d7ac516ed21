"""Files that a crash must not tear: written beside, then renamed."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


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
