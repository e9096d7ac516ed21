"""Exit of the program: one line for errors that the user can fix, after files and runs are closed."""

import atexit
import errno
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from bloodcell.console.json_output import set_json_error
from bloodcell.console.logs import print_traceback
from bloodcell.errors import UserError, reason_of
from bloodcell.signals import Terminated

FULL = ("No space left on device", "disk is full", "errno = 28", "Disk quota exceeded")
NO_MEMORY = (
    *("bad_alloc", "Cannot allocate memory", "cannot allocate memory", "failed to map segment", "OOM when allocating"),
    *("Insufficient memory", "can't start new thread", "Unable to allocate"),
)
"""What libraries say of a full disk, and of too little memory, in errors of any type."""

_left: list[int] = []


def quiet_exhaustion() -> None:
    """Keep libraries from tracebacks and crashes after a full disk or too little memory.

    For a process of its own. Libraries that could not write a file, such as HDF5, try again when an object is deleted
    and when Python ends.
    """
    atexit.register(_leave_at_once)  # what is registered first runs last
    logging.raiseExceptions = False  # a log that cannot be written
    sys.excepthook = lambda _, error, __: _print_fault(error)
    sys.unraisablehook = lambda fault: _print_fault(fault.exc_value)
    threading.excepthook = lambda fault: _print_fault(fault.exc_value)


def _print_fault(error: BaseException | None) -> None:
    if error is not None and not isinstance(error, SystemExit) and exhausted(error) is None:
        print_traceback(error)


def _leave_at_once() -> None:
    if _left:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(_left[0])


def fail(message: str, *, code: int) -> NoReturn:
    """Print one line to standard error and exit with a code.

    Control characters of names in the message, which a terminal would obey, are escaped.
    """
    line = "".join(each if each.isprintable() else repr(each)[1:-1] for each in " ".join(message.split()))
    print(f"bloodcell: {line}", file=sys.stderr)
    set_json_error(line)
    raise SystemExit(code)


@contextmanager
def one_line_errors(job: str = "", arguments: Sequence[str] = ()) -> Iterator[None]:
    """Exit with one line for errors that the user can fix; other errors keep their traceback."""
    try:
        yield
    except UserError as error:
        fail(str(error), code=error.exit_code)
    except Terminated as error:
        fail("terminated" if error.number == signal.SIGTERM else "the terminal is gone", code=128 + error.number)
    except KeyboardInterrupt:
        fail("interrupted", code=130)
    except Exception as error:
        if (reason := exhausted(error)) is not None:
            _left.append(1)
            fail(reason, code=1)
        if "hydra" in sys.modules:
            from bloodcell.config.composition import composition_message, is_composition_error

            if is_composition_error(error):
                fail(composition_message(error, job, arguments), code=2)
        raise


def remove_unused_folder(folder: Path) -> None:
    """Remove the folder that Hydra created for a run, if it has only Hydra's files and the log."""
    notes, logs = folder / ".hydra", [*folder.glob("*.log")]
    if folder.resolve() == Path.cwd() or not notes.is_dir() or {*folder.iterdir()} != {notes, *logs}:
        return
    shutil.rmtree(notes)
    for log in logs:
        log.unlink()
    for emptied in (folder, *list(folder.parents)[:2]):  # then the folders of the day and of all days, if empty
        with suppress(OSError):
            emptied.rmdir()


def exhausted(error: BaseException) -> str | None:
    """Return the message for an error that a full disk or too little memory caused; None for others."""
    each: BaseException | None = error
    chain: list[BaseException] = []
    while each is not None and each not in chain:
        chain.append(each)
        each = each.__cause__ or each.__context__
    for each in chain:
        if getattr(each, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or _says(each, FULL):
            # A failed write has no file name; then use the fuller of the usual places.
            places = (str(Path.cwd()), tempfile.gettempdir())
            named = re.search("filename = '([^']+)'", str(each))
            place = named[1] if named else getattr(each, "filename", None)
            place = place or min(places, key=lambda place: shutil.disk_usage(place).free)
            return f"{place}: the disk is full; free space and run the command again"
    for each in chain:
        if isinstance(each, MemoryError) or getattr(each, "errno", None) == errno.ENOMEM or _says(each, NO_MEMORY):
            return (
                f"too little memory ({reason_of(each)[:200]}); end other programs, or use a smaller "
                "hyperparameters.batch_size or backbone.input_size"
            )
    return None


def _says(error: BaseException, phrases: Sequence[str]) -> bool:
    return not isinstance(error, UserError) and any(phrase in str(error) for phrase in phrases)
