"""What lies in a folder and in those below it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from bloodcell.errors import UserError


def files_below(folder: Path) -> list[Path]:
    """Return the files in a folder and in those below it, but for hidden ones; links are followed, once.

    Folder by folder, each one's files sorted: the order in which Keras's ImageDataGenerator takes them.

    Raises
    ------
    OSError
        If a folder cannot be looked into.
    """
    directories, seen = [], set()
    for directory, below, names in os.walk(folder, onerror=_raise, followlinks=True):
        below[:] = sorted(name for name in below if not is_hidden(name))
        place = os.path.realpath(directory)
        if place in seen:  # a link that leads back: these files were listed
            below.clear()
        else:
            seen.add(place)
            directories.append((directory, names))
    return [
        Path(directory, name)
        for directory, names in sorted(directories)
        for name in sorted(names)
        if not is_hidden(name)
    ]


@contextmanager
def folder_errors() -> Iterator[None]:
    """Turn the system's refusal to list a folder into what a user can mend.

    Raises
    ------
    UserError
        If a folder cannot be looked into.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be looked into ({error.strerror}); make it readable") from error


def is_hidden(name: str) -> bool:
    """Say whether a file or folder of this name is hidden, or litter that an archive left."""
    return name.startswith(".") or name == "__MACOSX"


def printable(path: str | Path) -> str:
    """Return a path that can be printed and written: bytes that are not valid Unicode are shown escaped."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _raise(error: OSError) -> NoReturn:
    raise error
