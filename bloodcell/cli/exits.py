"""Exit of the program: one line for errors that the user can fix, after files and runs are closed."""

import errno
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from bloodcell.console.json_output import set_json_error
from bloodcell.errors import UserError
from bloodcell.signals import Terminated


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
        if (full := _full_disk(error)) is not None:
            fail(f"{full}: the disk is full; free space and run the command again", code=1)
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


def _full_disk(error: BaseException | None) -> str | None:
    """Return a file or folder on the full disk, if a full disk caused the error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            # A failed write has no file name; then use the fuller of the usual places.
            places = (str(Path.cwd()), tempfile.gettempdir())
            return str(error.filename or min(places, key=lambda place: shutil.disk_usage(place).free))
        error = error.__cause__ or error.__context__
    return None
