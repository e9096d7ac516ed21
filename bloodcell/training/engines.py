"""Inference engines for frozen layers: TensorFlow or OpenVINO."""

import functools
import importlib.metadata
import importlib.util
import logging
import os
import sys
import warnings
from typing import Any, Literal, Protocol

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bloodcell.errors import UserError

log = logging.getLogger(__name__)

EngineName = Literal["tensorflow", "openvino"]

MAX_DIFFERENCE = 1e-2
"""Largest allowed relative difference of an engine's output from Keras's."""


class EngineDiffersError(UserError):
    """An engine's output differs from Keras's, or it cannot run the model; the message says why."""


class Engine(Protocol):
    """Computes a model's output."""

    def __call__(self, images: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Return the output (n, width) for images (n, size, size, 3)."""


def choose_engine(name: Literal["auto", "tensorflow", "openvino"], *, mixed: bool) -> EngineName:
    """Return the engine of a setting; ``auto`` is OpenVINO on a CPU if it is installed, else TensorFlow.

    Parameters
    ----------
    name
        The setting.
    mixed
        Whether layers compute in mixed precision, which only TensorFlow supports.

    Raises
    ------
    UserError
        If OpenVINO is chosen and not installed.
    """
    installed = importlib.util.find_spec("openvino") is not None
    if name == "openvino" and not installed:
        raise UserError(
            "features.engine=openvino: it is not installed; run `pip install openvino`, or use features.engine=auto"
        )
    if name == "auto":
        on_cpu = not tf.config.list_physical_devices("GPU")
        return "openvino" if installed and on_cpu and not mixed else "tensorflow"
    return name


def engine_version(name: EngineName) -> str:
    """Return an engine's name and version, for example ``openvino 2026.4.1``."""
    return f"{name} {importlib.metadata.version(name)}"


def build_engine(name: EngineName, model: keras.Model, *, examples: NDArray[np.float32]) -> Engine:
    """Build an engine for a model, and check that its output equals Keras's.

    Parameters
    ----------
    name
        The engine.
    model
        From images (n, size, size, 3), float32, to rows (n, width), float32.
    examples
        A few images for the check.

    Raises
    ------
    EngineDiffersError
        If the output differs from Keras's by more than `MAX_DIFFERENCE`, or an operation is not supported.
    """
    reference = _Keras(model)
    if name == "tensorflow":
        return reference
    try:
        engine = _OpenVino(model)
    except Exception as error:  # OpenVINO's error classes are not imported here
        raise EngineDiffersError(
            f"features.engine={name}: {engine_version(name)} cannot run {model.name} "
            f"({str(error).strip().splitlines()[-1]}); use features.engine=tensorflow"
        ) from error
    difference = _relative_difference(engine(examples), reference.without_compiling(examples))
    log.info("%s differs from Keras by %.1e at most", engine_version(name), difference)
    if not difference <= MAX_DIFFERENCE:
        raise EngineDiffersError(
            f"features.engine={name}: {engine_version(name)} differs from Keras by {difference:.2g} of the output of "
            f"{model.name} ({MAX_DIFFERENCE:g} is allowed); use features.engine=tensorflow"
        )
    return engine


class _Keras:
    """Keras, in batches of one size, because it compiles the model for each size."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._batch_size = 0

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        self._batch_size = max(self._batch_size, len(images))
        missing = self._batch_size - len(images)
        padded = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)]) if missing else images
        return np.asarray(self._model.predict_on_batch(padded))[: len(images)]

    def without_compiling(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the output for a few images."""
        return np.asarray(self._model(images, training=False))


class _OpenVino:
    """OpenVINO on the CPU: each core computes one image, which is faster than batches."""

    def __init__(self, model: keras.Model) -> None:
        core = _openvino_core()
        import openvino

        with warnings.catch_warnings(action="ignore"):  # Keras's warnings about tracing
            converted = openvino.convert_model(model)
        settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "THROUGHPUT"}
        compiled = core.compile_model(converted, "CPU", settings)
        self._queue = openvino.AsyncInferQueue(compiled, os.cpu_count() or 1)
        self._queue.set_callback(self._keep)
        self._width = model.output_shape[-1]

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = np.empty((len(images), self._width), np.float32)
        for number in range(len(images)):
            self._queue.start_async({0: images[number : number + 1]}, (rows, number))
        self._queue.wait_all()
        return rows

    @staticmethod
    def _keep(request: Any, place: tuple[NDArray[np.float32], int]) -> None:
        rows, number = place
        rows[number] = request.get_output_tensor(0).data[0]


@functools.cache
def _openvino_core() -> Any:
    """Return the only core of this process.

    Each core of OpenVINO 2026.4 sets its own stack for signals and, when it is freed, sets the stack before it, which
    may be freed too: then the process crashes at the next signal, such as Ctrl-C.
    """
    # Disables telemetry: without this package OpenVINO uses a stub.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino.Core()


def _relative_difference(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the largest relative Euclidean distance of two rows."""
    distances = np.linalg.norm(found - expected, axis=1) / np.maximum(np.linalg.norm(expected, axis=1), 1e-12)
    return float(distances.max())
