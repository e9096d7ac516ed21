"""What a model costs: parameters, floating-point operations, time."""

import time
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf


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


def measure_cost(core: keras.Model, *, batch_size: int = 32, seconds: float = 0.5) -> Cost:
    """Count a model's parameters and operations, and time it for about so many seconds on made-up images."""
    return Cost(
        parameters=core.count_params(),
        megabytes=sum(weight.nbytes for weight in core.get_weights()) / 1e6,
        flops=count_flops(core),
        images_per_second=_images_per_second(core, batch_size=batch_size, seconds=seconds),
    )


def count_flops(model: keras.Model) -> int:
    """Count the floating-point operations of a model for one image, as TensorFlow's profiler does."""
    concrete = _forward(model).get_concrete_function(tf.TensorSpec((1, *model.input_shape[1:])))
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")  # the profiler tells of its own deprecated parts
    try:
        options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
        options["output"] = "none"
        return int(tf.compat.v1.profiler.profile(graph=concrete.graph, options=options).total_float_ops)
    finally:
        logger.setLevel(level)


def _images_per_second(model: keras.Model, *, batch_size: int, seconds: float) -> float:
    size = model.input_shape[1:]
    forward = _forward(model).get_concrete_function(tf.TensorSpec((None, *size)))
    forward(tf.zeros((1, *size)))  # the first call prepares the graph, for batches of any size
    images = np.zeros((batch_size, *size), np.float32)
    start, batches = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        forward(tf.constant(images)).numpy()
        batches += 1
    return batches * batch_size / elapsed


def _forward(model: keras.Model) -> Any:
    """Return what a model does to images, for TensorFlow to trace; Keras's layers need no rewriting for that."""
    return tf.function(lambda images: model(images, training=False), autograph=False)
