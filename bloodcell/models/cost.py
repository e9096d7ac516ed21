"""The cost of a model: parameters, floating-point operations, time."""

import time
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

_measured: dict[str, "Cost"] = {}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of storing and running a model.

    Attributes
    ----------
    parameters
        Number of weights, trained or not.
    megabytes
        Size of the weights.
    flops
        Floating-point operations for one image; a multiplication and an addition count as two.
    images_per_second
        Speed of prediction in batches on this machine, without reading images.
    """

    parameters: int
    megabytes: float
    flops: int
    images_per_second: float


def measure_cost(core: keras.Model, *, batch_size: int = 8, seconds: float = 0.3) -> Cost:
    """Count a model's parameters and operations, and time it for about ``seconds`` on blank images.

    Models with the same layers, such as those of folds, are measured once.
    """
    key = core.to_json()
    if key not in _measured:
        _measured[key] = _measure(core, batch_size=batch_size, seconds=seconds)
    return _measured[key]


def _measure(core: keras.Model, *, batch_size: int, seconds: float) -> Cost:
    inputs = [tf.zeros((batch_size, *each.shape[1:])) for each in core.inputs]
    predict = _traced(core, batch_size=batch_size)
    predict(*inputs)
    start, batches = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        predict(*inputs)
        batches += 1
    return Cost(
        parameters=core.count_params(),
        megabytes=sum(weight.nbytes for weight in core.get_weights()) / 1e6,
        flops=_flops(predict) // batch_size,
        images_per_second=batches * batch_size / elapsed,
    )


def _traced(model: keras.Model, *, batch_size: int) -> Any:
    def forward(*inputs: Any) -> Any:
        return model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)

    specifications = [tf.TensorSpec((batch_size, *each.shape[1:])) for each in model.inputs]
    return tf.function(forward, autograph=False).get_concrete_function(*specifications)


def _flops(traced: Any) -> int:
    """Count floating-point operations, as TensorFlow's profiler does."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")  # the profiler warns about its deprecated parts
    try:
        options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
        options["output"] = "none"
        return int(tf.compat.v1.profiler.profile(graph=traced.graph, options=options).total_float_ops)
    finally:
        logger.setLevel(level)
