"""What a model costs: parameters, floating-point operations, time."""

import time
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2_as_graph


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


def measure_cost(core: keras.Model, *, batch_size: int = 32, seconds: float = 1.0) -> Cost:
    """Count a model's parameters and operations, and time it for about so many seconds on made-up images."""
    images = np.zeros((batch_size, *core.input_shape[1:]), np.float32)
    core.predict_on_batch(images)
    start, batches = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        core.predict_on_batch(images)
        batches += 1
    return Cost(
        parameters=core.count_params(),
        megabytes=sum(weight.nbytes for weight in core.get_weights()) / 1e6,
        flops=count_flops(core),
        images_per_second=batches * batch_size / elapsed,
    )


def count_flops(model: keras.Model) -> int:
    """Count the floating-point operations of a model for one image, as TensorFlow's profiler does."""
    forward = tf.function(lambda image: model(image, training=False))
    concrete = forward.get_concrete_function(tf.TensorSpec((1, *model.input_shape[1:])))
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")  # the profiler tells of its own deprecated parts
    try:
        _, definition = convert_variables_to_constants_v2_as_graph(concrete)
        with tf.Graph().as_default() as graph:
            tf.graph_util.import_graph_def(definition, name="")
            options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
            options["output"] = "none"
            return int(tf.compat.v1.profiler.profile(graph=graph, options=options).total_float_ops)
    finally:
        logger.setLevel(level)
