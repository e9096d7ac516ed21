"""A backbone cut in two: what is frozen, and what is trained on top of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Cut:
    """An application cut below a layer.

    Attributes
    ----------
    application
        The application.
    boundary
        Index of the first layer above the cut.
    tensors
        What crosses the cut, symbolic: what layers above it take from layers below it. More than one where it goes
        through a residual or an inception block.
    """

    application: keras.Model
    boundary: int
    tensors: Sequence[Any]

    @property
    def width(self) -> int:
        """How many numbers cross the cut for one image."""
        return sum(self._sizes)

    @property
    def weights(self) -> list[NDArray[np.generic]]:
        """The weights below the cut, in order."""
        return [np.asarray(weight) for layer in self.application.layers[: self.boundary] for weight in layer.weights]

    def below(self, images: Any) -> Any:
        """Return what crosses the cut as one row for each image, (batch, width), float32, from preprocessed images."""
        crossing = keras.Model(self.application.input, list(self.tensors))(images, training=False)
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


def cut_at(application: keras.Model, boundary: int) -> Cut:
    """Cut an application below the layer with this index."""
    operations = application.operations
    position = operations.index(application.layers[boundary])
    below = {id(operation) for operation in operations[:position]}
    taken = [tensor for operation in operations[position:] for tensor in keras.tree.flatten(operation.input)]
    # What comes out below the cut crosses it too, to those who take it.
    taken += application.outputs
    crossing = {id(tensor): tensor for tensor in taken if id(tensor._keras_history.operation) in below}
    return Cut(application=application, boundary=boundary, tensors=list(crossing.values()))
