"""Keeping libraries from talking over the program."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

ENVIRONMENT = {
    "GIT_PYTHON_REFRESH": "quiet",
    "KERAS_BACKEND": "tensorflow",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # With a server it greets with every run's address where only a job's own words should be.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # Half a minute for a server to come back, where MLflow's own patience would hold up every epoch for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
"""Environment variables that keep libraries to themselves, unless the user has set them."""


def quieten_libraries() -> None:
    """Set `ENVIRONMENT`. It holds for what is imported afterwards."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Silence the process's error stream, also for what writes to it below Python.

    TensorFlow's libraries report missing GPUs while they are imported, before any of their log levels holds.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
