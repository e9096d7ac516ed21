"""Keep libraries from printing."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

ENVIRONMENT = {
    "GIT_PYTHON_REFRESH": "quiet",
    "KERAS_BACKEND": "tensorflow",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # With a server, MLflow prints the address of every run to standard output.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # Retry a server for seconds; with MLflow's defaults it is minutes, and results are delivered again anyway.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
"""Environment variables that keep libraries quiet, unless the user has set them."""


def quiet_libraries() -> None:
    """Set `ENVIRONMENT`, for libraries that are imported afterwards."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def quiet_tensorflow() -> None:
    """Silence warnings of TensorFlow, if it was imported: in notebooks and at a prompt it prints to standard output."""
    if (tensorflow := sys.modules.get("tensorflow")) is not None:
        tensorflow.get_logger().setLevel("ERROR")


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Discard standard error, also of libraries below Python.

    TensorFlow's libraries report missing GPUs during their import, before their log level has an effect.
    """
    sys.stderr.flush()
    original = os.dup(2)
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(original, 2)
        os.close(original)
        os.close(devnull)
