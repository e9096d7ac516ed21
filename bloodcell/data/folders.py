"""Files in a folder and its subfolders."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from bloodcell.errors import UserError


def files_below(folder: Path) -> list[Path]:
    """Return the files in a folder and its subfolders, without hidden ones; links are followed once.

    Sorted by folder, then by name, which is the order of Keras's ImageDataGenerator.

    Raises
    ------
    OSError
        If a folder cannot be listed.
    """
    directories, seen = [], set()
    for directory, below, names in os.walk(folder, onerror=_raise, followlinks=True):
        below[:] = sorted(name for name in below if not is_hidden(name))
        real = os.path.realpath(directory)
        if real in seen:  # reached through a link before
            below.clear()
        else:
            seen.add(real)
            directories.append((directory, names))
    return [
        Path(directory, name)
        for directory, names in sorted(directories)
        for name in sorted(names)
        if not is_hidden(name)
    ]


@contextmanager
def folder_errors() -> Iterator[None]:
    """Turn an ``OSError`` of listing a folder into a `UserError`.

    Raises
    ------
    UserError
        If a folder cannot be listed.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be listed ({error.strerror}); make it readable") from error


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden ones."""
    with os.scandir(folder) as entries:  # it knows which are folders; paths ask for each
        return sorted(folder / entry.name for entry in entries if not is_hidden(entry.name) and entry.is_dir())


def is_hidden(name: str) -> bool:
    """Return whether a name is that of a hidden file or folder, or of an archive's metadata."""
    return name.startswith(".") or name == "__MACOSX"


def printable(path: str | Path) -> str:
    """Return a path with bytes that are not valid Unicode escaped."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _raise(error: OSError) -> NoReturn:
    raise error
