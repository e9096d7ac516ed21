"""A backbone cut in two: what is frozen, and what is trained on top of it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np


@dataclass(frozen=True, kw_only=True)
class Cut:
    """An application cut below a layer.

    Attributes
    ----------
    application
        The application.
    tensors
        What crosses the cut, symbolic: what layers above it take from layers below it. More than one if it goes
        through a residual or an inception block.
    preprocess
        From images in [0, 255] to what the application takes.
    """

    application: keras.Model
    tensors: Sequence[Any]
    preprocess: Callable[[Any], Any]

    @property
    def width(self) -> int:
        """How many numbers cross the cut for one image."""
        return sum(self._sizes)

    def below(self, images: Any) -> Any:
        """Return what crosses the cut as one row for each image, (batch, width), float32, from images in [0, 255]."""
        model = keras.Model(self.application.input, list(self.tensors))
        crossing = model(self.preprocess(images), training=False)
        # A model of one output returns it by itself.
        rows = [keras.layers.Flatten(dtype="float32")(tensor) for tensor in keras.tree.flatten(crossing)]
        return keras.layers.Concatenate(dtype="float32")(rows) if len(rows) > 1 else rows[0]

    def above(self) -> tuple[Any, keras.Model]:
        """Return how rows (batch, width) become what crosses the cut, and the model from there to feature maps."""

        def crossing(rows: Any) -> list[Any]:
            ends = np.cumsum(self._sizes).tolist()
            parts = [rows[:, end - size : end] for end, size in zip(ends, self._sizes, strict=True)]
            return [
                keras.layers.Reshape(tensor.shape[1:])(part) for part, tensor in zip(parts, self.tensors, strict=True)
            ]

        ids = {id(tensor) for tensor in self.tensors}
        # Keras refuses a model that hands an input on as it is.
        outputs = [
            keras.layers.Activation("linear")(output) if id(output) in ids else output
            for output in self.application.outputs
        ]
        return crossing, keras.Model(list(self.tensors), outputs)

    @property
    def _sizes(self) -> list[int]:
        return [math.prod(tensor.shape[1:]) for tensor in self.tensors]


class Inference(keras.Layer):
    """A model that works as in inference while the model around it trains; ``training=False`` alone is overruled."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__(name=model.name)
        self._model = model

    def call(self, inputs: Any) -> Any:
        """Return the model's outputs."""
        return self._model(inputs, training=False)


def cut_at(application: keras.Model, boundary: int, *, preprocess: Callable[[Any], Any]) -> Cut:
    """Cut an application below the layer with this index."""
    tensors = crossing_tensors(application, application.operations.index(application.layers[boundary]))
    return Cut(application=application, tensors=tensors, preprocess=preprocess)


def crossing_tensors(application: keras.Model, position: int) -> list[Any]:
    """Return what operations from a position on, and the users of the outputs, take from operations below it."""
    below = {id(operation) for operation in application.operations[:position]}
    taken = [tensor for each in application.operations[position:] for tensor in keras.tree.flatten(each.input)]
    taken += application.outputs
    return list({id(tensor): tensor for tensor in taken if id(tensor._keras_history.operation) in below}.values())
