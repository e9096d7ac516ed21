"""``--json``: what a job comes to as one document on the standard output, for machines.

Until the document is written, everything else that goes to the standard output is turned to the error stream, also what
is written below Python, so that nothing can get between. A job says what it came to with `tell`, whether anybody asked
for a document or not, and knows nothing else of this.
"""

import json
import math
import os
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version
from typing import Any, TextIO

FLAG = "--json"

_told: ContextVar[dict[str, Any] | None] = ContextVar("told", default=None)
_error: ContextVar[list[str] | None] = ContextVar("error", default=None)


def tell(**values: Any) -> None:
    """Say what the job has come to. A job that is made of others, as a sweep is, tells last: only that is kept.

    Parameters
    ----------
    values
        Of plain types, NumPy's, paths, and mappings and iterables of them. What is no number becomes null.
    """
    told = _told.get()
    if told is not None:
        told.clear()
        told.update(values)


def tell_error(message: str) -> None:
    """Say why the program ends before its time. What was told before stays."""
    errors = _error.get()
    if errors is not None:
        errors.append(message)


@contextmanager
def json_document(job: str) -> Generator[None]:
    """Write a document when the block ends, however it does.

    It has ``bloodcell`` (the version), ``job`` and what was told; where something went wrong also ``error``.
    """
    told: dict[str, Any] = {}
    errors: list[str] = []
    tokens = _told.set(told), _error.set(errors)
    with _stdout_aside() as stdout:
        try:
            yield
        except Exception as error:
            errors.append(f"{type(error).__name__}: {' '.join(str(error).split())}")
            raise
        finally:
            _told.reset(tokens[0])
            _error.reset(tokens[1])
            document = {"bloodcell": version("bloodcell"), "job": job, **told}
            if errors:
                document["error"] = errors[0]
            stdout.append(json.dumps(plain(document), indent=2, allow_nan=False))


def plain(value: Any) -> Any:
    """Return a value as JSON knows it; NaN and infinity become null."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "tolist"):  # NumPy's arrays and numbers
        return plain(value.tolist())
    if isinstance(value, Iterable):
        return [plain(entry) for entry in value]
    return str(value)


@contextmanager
def _stdout_aside() -> Iterator[list[str]]:
    """Turn the standard output into the error stream; at the end write to it what the list holds."""
    texts: list[str] = []
    stdout: TextIO = sys.stdout
    stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        yield texts
    finally:
        sys.stdout = stdout
        os.dup2(kept, 1)
        os.close(kept)
        for text in texts:
            print(text, file=stdout, flush=True)
