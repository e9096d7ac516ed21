"""What a model costs: parameters, floating-point operations, time."""

import time
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

_known: dict[str, "Cost"] = {}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a model costs to keep and to run.

    Attributes
    ----------
    parameters
        How many numbers were learnt or can be.
    megabytes
        Of its weights.
    flops
        Floating-point operations for one image, a multiplication and an addition counted as two.
    images_per_second
        Of the model alone, on this machine, in batches.
    """

    parameters: int
    megabytes: float
    flops: int
    images_per_second: float


def measure_cost(core: keras.Model, *, batch_size: int = 8, seconds: float = 0.3) -> Cost:
    """Count a model's parameters and operations, and time it for about so many seconds on made-up images.

    Models that are built alike, as those of folds and of many trials are, cost the same and are measured once.
    """
    key = core.to_json()
    if key not in _known:
        _known[key] = _measure(core, batch_size=batch_size, seconds=seconds)
    return _known[key]


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
    logger.setLevel("ERROR")  # the profiler tells of its own deprecated parts
    try:
        options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
        options["output"] = "none"
        return int(tf.compat.v1.profiler.profile(graph=traced.graph, options=options).total_float_ops)
    finally:
        logger.setLevel(level)
