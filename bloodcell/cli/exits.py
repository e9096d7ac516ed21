"""Ending the program: with one line for an error that the user can fix, and after open runs are closed."""

import errno
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from bloodcell.console.document import tell_error
from bloodcell.errors import UserError
from bloodcell.processes import Terminated


def fail(message: str, *, code: int) -> NoReturn:
    """Print one line on the error stream and end the program with an exit code."""
    line = " ".join(message.split())
    print(f"bloodcell: {line}", file=sys.stderr)
    tell_error(line)
    raise SystemExit(code)


@contextmanager
def one_line_errors(job: str = "", arguments: Sequence[str] = ()) -> Iterator[None]:
    """End the program with one line for an error that the user can fix; other errors keep their traceback."""
    try:
        yield
    except UserError as error:
        fail(str(error), code=error.exit_code)
    except Terminated:
        fail("terminated", code=143)
    except KeyboardInterrupt:
        fail("interrupted", code=130)
    except Exception as error:
        if (full := _full_disk(error)) is not None:
            fail(f"the disk with {full} is full: make room and start again", code=1)
        if "hydra" in sys.modules:
            from bloodcell.config.composition import explain, is_composition_error

            if is_composition_error(error):
                fail(explain(error, job, arguments), code=2)
        raise


@contextmanager
def unwinding_on_sigterm() -> Iterator[None]:
    """Raise `Terminated` where SIGTERM would end the program on the spot. A second one does not disturb the first."""

    def terminate(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, terminate)
    except ValueError:  # only the main thread may; elsewhere there is a program around that decides
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def discard_unused(folder: Path) -> None:
    """Remove the folder that Hydra made for a run, if it holds nothing but Hydra's notes and the log."""
    notes, logs = folder / ".hydra", [*folder.glob("*.log")]
    if folder.resolve() == Path.cwd() or not notes.is_dir() or {*folder.iterdir()} != {notes, *logs}:
        return
    shutil.rmtree(notes)
    for log in logs:
        log.unlink()
    for emptied in (folder, *list(folder.parents)[:2]):  # the folder of the day and that of all days
        with suppress(OSError):
            emptied.rmdir()


def _full_disk(error: BaseException | None) -> str | None:
    """Return what lies on the full disk if that is the cause of an error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            # A failing write does not know its file's name; then it is the fuller of the usual places.
            places = (str(Path.cwd()), tempfile.gettempdir())
            return str(error.filename or min(places, key=lambda place: shutil.disk_usage(place).free))
        error = error.__cause__ or error.__context__
    return None
