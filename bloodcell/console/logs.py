"""The log file of a run: what is worth knowing later, and no terminal is the place for."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bloodcell.errors import UserError

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
"""As conf/hydra/bloodcell.yaml has it for the runs that Hydra starts."""


def log_file() -> Path | None:
    """Return the file that is logged to; None where a job keeps no log."""
    files = [handler for handler in logging.getLogger().handlers if isinstance(handler, logging.FileHandler)]
    return Path(files[-1].baseFilename) if files else None


@contextmanager
def logging_to(file: Path) -> Iterator[None]:
    """Log to this file, made with its folder, instead of where it goes now: for a run that another job starts."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter(FORMAT))
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        handler.close()


@contextmanager
def warnings_logged() -> Iterator[None]:
    """Log Python's warnings, which libraries mean for programmers, in place of printing them."""
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)


@contextmanager
def errors_logged() -> Iterator[None]:
    """Log why a job ends before its time: what the user can mend as one line, any other error with its traceback."""
    try:
        yield
    except UserError as error:
        _log(str(error))
        raise
    except Exception:
        _log("failed", with_traceback=True)
        raise
    except BaseException as error:
        _log(f"ended by {type(error).__name__}")
        raise


def _log(message: str, *, with_traceback: bool = False) -> None:
    # Without a file Python would print it, and the command line does so already.
    if log_file() is not None:
        logging.getLogger(__name__).error(message, exc_info=with_traceback)
