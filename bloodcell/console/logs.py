"""The log file of a run."""

import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bloodcell.errors import UserError, redact

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class RedactedFormatter(logging.Formatter):
    """The format of all log files; messages and tracebacks, of libraries too, have no credentials."""

    def __init__(self) -> None:
        super().__init__(FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        return redact(super().format(record))


def print_traceback(error: BaseException) -> None:
    """Print the traceback of a fault of the program, without credentials."""
    print(redact("".join(traceback.format_exception(error))), end="", file=sys.stderr)


def log_file() -> Path | None:
    """Return the current log file; None if the job has none."""
    files = [handler for handler in logging.getLogger().handlers if isinstance(handler, logging.FileHandler)]
    return Path(files[-1].baseFilename) if files else None


@contextmanager
def log_to(file: Path) -> Iterator[None]:
    """Log to this file only, for a run inside another job. Its folder is created."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(RedactedFormatter())
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
def log_warnings() -> Iterator[None]:
    """Log Python's warnings instead of printing them: libraries address them to programmers."""
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)


@contextmanager
def log_errors() -> Iterator[None]:
    """Log the error that ends a job: a `UserError` as one line, others with their traceback."""
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
    # Without a log file, Python would print the message, which the command line also prints.
    if log_file() is not None:
        logging.getLogger(__name__).error(message, exc_info=with_traceback)
