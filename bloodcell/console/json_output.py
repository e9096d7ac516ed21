"""``--json``: the result of a job as one JSON document on standard output.

Until the document is written, everything else that is written to standard output, also below Python, goes to standard
error. A job calls `set_json_result` in any case; without ``--json`` this has no effect.
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

_result: ContextVar[dict[str, Any] | None] = ContextVar("result", default=None)
_error: ContextVar[list[str] | None] = ContextVar("error", default=None)


def set_json_result(**values: Any) -> None:
    """Set the result in the JSON document, see `plain`. Only the last call counts, for jobs that run other jobs."""
    result = _result.get()
    if result is not None:
        result.clear()
        result.update(values)


def set_json_error(message: str) -> None:
    """Add the error that ends the program to the JSON document. The result stays."""
    errors = _error.get()
    if errors is not None:
        errors.append(message)


@contextmanager
def json_document(job: str) -> Generator[None]:
    """Write the document when the block ends, also after an error.

    It has ``bloodcell`` (the version), ``job``, the result and, after an error, ``error``.
    """
    result: dict[str, Any] = {}
    errors: list[str] = []
    tokens = _result.set(result), _error.set(errors)
    with _stdout_to_stderr() as stdout:
        try:
            yield
        except Exception as error:
            errors.append(f"{type(error).__name__}: {' '.join(str(error).split())}")
            raise
        finally:
            _result.reset(tokens[0])
            _error.reset(tokens[1])
            document = {"bloodcell": version("bloodcell"), "job": job, **result}
            if errors:
                document["error"] = errors[0]
            stdout.append(json.dumps(plain(document), indent=2, allow_nan=False))


def plain(value: Any) -> Any:
    """Return plain or NumPy's values, paths, and mappings and iterables of these in JSON's types; NaN becomes null."""
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
def _stdout_to_stderr() -> Iterator[list[str]]:
    """Redirect standard output to standard error; at the end print the texts of the yielded list."""
    texts: list[str] = []
    stdout: TextIO = sys.stdout
    stdout.flush()
    original = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        yield texts
    finally:
        sys.stdout = stdout
        os.dup2(original, 1)
        os.close(original)
        for text in texts:
            print(text, file=stdout, flush=True)
