"""A backbone cut in two: frozen layers below, trained layers above."""

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
        The symbolic outputs of layers below the cut that layers above it use; several if the cut is inside a residual
        or an inception block.
    preprocess
        From images in [0, 255] to the application's input.
    """

    application: keras.Model
    tensors: Sequence[Any]
    preprocess: Callable[[Any], Any]

    @property
    def width(self) -> int:
        """Number of features per image at the cut."""
        return sum(self._sizes)

    def below(self, images: Any) -> Any:
        """Return the features at the cut, (batch, width), float32, of images in [0, 255]."""
        model = keras.Model(self.application.input, list(self.tensors))
        crossing = model(self.preprocess(images), training=False)
        # A model with one output does not return a list.
        rows = [keras.layers.Flatten(dtype="float32")(tensor) for tensor in keras.tree.flatten(crossing)]
        return keras.layers.Concatenate(dtype="float32")(rows) if len(rows) > 1 else rows[0]

    def above(self) -> tuple[Any, keras.Model]:
        """Return a function from rows (batch, width) to the tensors at the cut, and the model above it."""

        def crossing(rows: Any) -> list[Any]:
            ends = np.cumsum(self._sizes).tolist()
            parts = [rows[:, end - size : end] for end, size in zip(ends, self._sizes, strict=True)]
            return [
                keras.layers.Reshape(tensor.shape[1:])(part) for part, tensor in zip(parts, self.tensors, strict=True)
            ]

        ids = {id(tensor) for tensor in self.tensors}
        # Keras refuses a model whose output is one of its inputs.
        outputs = [
            keras.layers.Activation("linear")(output) if id(output) in ids else output
            for output in self.application.outputs
        ]
        return crossing, keras.Model(list(self.tensors), outputs)

    @property
    def _sizes(self) -> list[int]:
        return [math.prod(tensor.shape[1:]) for tensor in self.tensors]


class Inference(keras.Layer):
    """A model in inference mode inside a model in training, where the argument ``training=False`` has no effect."""

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
    """Return the outputs of operations below a position that later operations use or that are outputs of the model."""
    below = {id(operation) for operation in application.operations[:position]}
    used = [tensor for each in application.operations[position:] for tensor in keras.tree.flatten(each.input)]
    used += application.outputs
    return list({id(tensor): tensor for tensor in used if id(tensor._keras_history.operation) in below}.values())
