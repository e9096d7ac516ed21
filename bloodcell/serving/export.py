"""Models in the formats of other programs: raw RGB in, calibrated probabilities out."""

import os
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Literal, get_args

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from bloodcell.errors import UserError
from bloodcell.evaluation.temperature import MIN_PROBABILITY
from bloodcell.models import preparing

Format = Literal["onnx", "openvino", "tflite", "keras"]
FORMATS: tuple[Format, ...] = get_args(Format)
FILES: dict[Format, str] = {
    "onnx": "model.onnx",
    "openvino": "model.xml",
    "tflite": "model.tflite",
    "keras": "model.keras",
}
"""The file that a program opens; OpenVINO's has its weights in ``model.bin`` beside it."""
OPSET = 18
"""ONNX's set of operations of 2023, which every maintained runtime knows."""
PYTHON_OPERATIONS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
"""What bloodcell's layers are in a graph of TensorFlow: calls of Python, which no other program has."""
INPUT, OUTPUT = "image", "probabilities"

Images = NDArray[np.uint8]
Run = Callable[[Images], NDArray[np.float32]]
"""From raw RGB (1, height, width, 3), uint8, to probabilities (1, k), float32."""


def calibrated_model(model: keras.Model, temperature: float) -> keras.Model:
    """Return a model with its calibration inside.

    Parameters
    ----------
    model
        From raw RGB of any size (batch, height, width, 3), uint8, to probabilities (batch, k), float32.
    temperature
        See `bloodcell.evaluation.temperature`.
    """
    raw = keras.Input((None, None, 3), dtype="uint8", name=INPUT)
    logits = keras.ops.log(keras.ops.maximum(keras.ops.cast(model(raw, training=False), "float32"), MIN_PROBABILITY))
    probabilities = keras.layers.Softmax(dtype="float32", name=OUTPUT)(logits / temperature)
    return keras.Model(raw, probabilities, name="calibrated")


def calls_python(model: keras.Model) -> bool:
    """Return whether a model crops or measures images in Python."""
    graph = _function_of(model).get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    return any(node.op in PYTHON_OPERATIONS for node in nodes)


def export_model(model: keras.Model, folder: Path, *, to: Format) -> None:
    """Write a model.

    Parameters
    ----------
    model
        See `calibrated_model`.
    folder
        An existing folder, which gets the file of `FILES`.
    to
        The format. With another than ``keras``, the model must not call Python.

    Raises
    ------
    UserError
        If a package that writes the format is missing.
    """
    file = folder / FILES[to]
    match to:
        case "keras":
            model.save(file)
        case "tflite":
            with tempfile.TemporaryDirectory() as scratch:
                signature = [keras.InputSpec(shape=(None, None, None, 3), dtype="uint8", name=INPUT)]
                with redirect_stdout(StringIO()):
                    model.export(scratch, input_signature=signature, verbose=False)
                file.write_bytes(tf.lite.TFLiteConverter.from_saved_model(scratch).convert())
        case "onnx":
            tf2onnx = _required("tf2onnx")
            # Frozen before: tf2onnx takes constants of a model, such as means of colours, for inputs.
            frozen = convert_variables_to_constants_v2(_function_of(model).get_concrete_function())
            (given,), (result,) = frozen.inputs, frozen.outputs
            with redirect_stderr(StringIO()):
                tf2onnx.convert.from_graph_def(
                    frozen.graph.as_graph_def(),
                    input_names=[given.name],
                    output_names=[result.name],
                    tensors_to_rename={given.name: INPUT, result.name: OUTPUT},
                    opset=OPSET,
                    output_path=os.fspath(file),
                )
        case "openvino":
            openvino = _required("openvino")
            converted = openvino.convert_model(_function_of(model).get_concrete_function())
            converted.inputs[0].get_tensor().set_names({INPUT})
            openvino.save_model(converted, file, compress_to_fp16=False)


def runner(folder: Path, *, of: Format) -> Run:
    """Return a function that runs an exported model in its own runtime.

    Raises
    ------
    UserError
        If the runtime is missing.
    """
    file = folder / FILES[of]
    match of:
        case "keras":
            loaded = keras.saving.load_model(file, compile=False)
            return lambda images: np.asarray(loaded(images, training=False))
        case "onnx":
            session = _required("onnxruntime").InferenceSession(os.fspath(file))
            return lambda images: np.asarray(session.run(None, {INPUT: images})[0])
        case "openvino":
            compiled = _required("openvino").Core().compile_model(file, "CPU")
            return lambda images: np.asarray(compiled(images)[0])
        case "tflite":
            signature = _required("ai_edge_litert.interpreter").Interpreter(os.fspath(file)).get_signature_runner()
            return lambda images: next(iter(signature(**{INPUT: images}).values()))


def uses_own_layers(model: keras.Model) -> bool:
    """Return whether only bloodcell can load a model."""
    own = (preparing.CropImages, preparing.MeasureImages)
    return any(isinstance(layer, own) for layer in model._flatten_layers())


def _function_of(model: keras.Model) -> Any:
    signature = [tf.TensorSpec((None, None, None, 3), tf.uint8, name=INPUT)]
    return tf.function(lambda image: {OUTPUT: model(image, training=False)}, input_signature=signature)


def _required(package: str) -> Any:
    from importlib import import_module

    try:
        return import_module(package)
    except ImportError as error:
        name = package.partition(".")[0]
        raise UserError(f"format: needs {name}; pip install 'bloodcell[export]'") from error
