"""The cost of a model: parameters, floating-point operations, time."""

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bloodcell.models.classifier import Classifier
from bloodcell.models.extractors import FeatureExtractor

HEAD_SECONDS = 0.02
"""Seconds for which a head is timed: it takes a small part of the time of its backbone."""


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


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a model does for a batch: floating-point operations, and seconds."""

    flops: int
    seconds: float


_measured: dict[Hashable, Work] = {}


def measure_cost(classifier: Classifier, *, batch_size: int = 8, seconds: float = 0.3) -> Cost:
    """Count a classifier's parameters and operations, and time it for about ``seconds`` on blank images.

    Backbone and head are measured one after the other, and each architecture once in a process.
    """
    backbone, head, core = classifier.backbone, classifier.head, classifier.core
    images, maps = backbone.evaluated()
    head_key = (
        *(head.pooling, head.standardise is not None, classifier.n_extra, batch_size),
        *((type(layer).__name__, getattr(layer, "units", None)) for layer in head.stack),
    )
    if maps and not head.needs_masks:
        body = _once(
            _key(backbone, [*images, *maps], batch_size, core),
            keras.Model(images, maps, name="body"),
            batch_size=batch_size,
            seconds=seconds,
        )
        features = [keras.Input(each.shape[1:], dtype=each.dtype) for each in maps]
        extra = [keras.Input((classifier.n_extra,), dtype="float32")] if classifier.n_extra else []
        top = keras.Model([*features, *extra], head(features, extra_features=extra[0] if extra else None), name="top")
        key = (head_key, *(tuple(each.shape) for each in maps), core.dtype_policy.name)
        parts = [body, _once(key, top, batch_size=batch_size, seconds=HEAD_SECONDS)]
    else:
        key = (_key(backbone, [*core.inputs, *maps], batch_size, core), head_key)
        parts = [_once(key, core, batch_size=batch_size, seconds=seconds)]
    weights = {id(weight): weight for weight in core.weights}.values()
    return Cost(
        parameters=core.count_params(),
        megabytes=sum(_bytes(weight) for weight in weights) / 1e6,
        flops=sum(part.flops for part in parts) // batch_size,
        images_per_second=batch_size / sum(part.seconds for part in parts),
    )


def _key(backbone: FeatureExtractor, tensors: Sequence[Any], batch_size: int, core: keras.Model) -> Hashable:
    """Return what tells architectures apart."""
    sizes = tuple((layer.name, *(tuple(weight.shape) for weight in layer.weights)) for layer in backbone.layers)
    shapes = tuple(tuple(each.shape) for each in tensors)
    return backbone.name, sizes, shapes, core.dtype_policy.name, batch_size


def _bytes(weight: Any) -> int:
    return int(np.prod(weight.shape)) * int(tf.as_dtype(weight.dtype).size)


def _once(key: Hashable, model: keras.Model, *, batch_size: int, seconds: float) -> Work:
    if key not in _measured:
        _measured[key] = measure_work(model, batch_size=batch_size, seconds=seconds)
    return _measured[key]


def measure_work(model: keras.Model, *, batch_size: int, seconds: float) -> Work:
    """Count a model's operations for a batch, and time it for about ``seconds`` on blank inputs."""
    inputs = [tf.zeros((batch_size, *each.shape[1:]), each.dtype) for each in model.inputs]
    predict = _traced(model, batch_size=batch_size)
    predict(*inputs)
    start, batches = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds or not batches:
        predict(*inputs)
        batches += 1
    return Work(flops=_flops(predict), seconds=elapsed / batches)


def _traced(model: keras.Model, *, batch_size: int) -> Any:
    def forward(*inputs: Any) -> Any:
        return model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)

    specifications = [tf.TensorSpec((batch_size, *each.shape[1:]), each.dtype) for each in model.inputs]
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
