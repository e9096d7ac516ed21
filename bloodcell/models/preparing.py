"""Layers that prepare raw images inside a saved model as the input pipeline does outside it.

They call OpenCV from TensorFlow, so loading such a model needs bloodcell, and XLA cannot compile it. Models that only
resize do not have them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bloodcell.cells.crop import CropName, crop
from bloodcell.data.pipeline import resize
from bloodcell.models.feature_sets import count_features, image_features


@keras.saving.register_keras_serializable(package="bloodcell")
class CropImages(keras.Layer):
    """Crops and resizes raw images.

    Parameters
    ----------
    crop
        As for `bloodcell.cells.crop.crop`.
    size, interpolation
        As for `bloodcell.data.pipeline.resize`.
    """

    def __init__(self, *, crop: CropName, size: int, interpolation: str, **settings: Any) -> None:
        super().__init__(**{"dtype": "float32"} | settings)
        self._crop, self._size, self._interpolation = crop, size, interpolation
        self.supports_jit = False

    @property
    def crop(self) -> CropName:
        """How images are cropped."""
        return self._crop

    def call(self, images: Any) -> Any:
        """Return images (batch, size, size, 3), float32 in [0, 255], from raw RGB (batch, height, width, 3), uint8."""

        def prepared(image: Any) -> Any:
            cropped = _in_python(lambda pixels: crop(pixels, self._crop), image, dtype=tf.uint8, shape=(None, None, 3))
            return resize(cropped, input_size=self._size, interpolation=self._interpolation)

        return _each(prepared, images, shape=(self._size, self._size, 3))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Return (batch, size, size, 3)."""
        return (input_shape[0], self._size, self._size, 3)

    def get_config(self) -> dict[str, Any]:
        """Return the layer's parameters."""
        parameters = {"crop": self._crop, "size": self._size, "interpolation": self._interpolation}
        return {**super().get_config(), **parameters}


@keras.saving.register_keras_serializable(package="bloodcell")
class MeasureImages(keras.Layer):
    """Computes hand-made features of raw images.

    Parameters
    ----------
    kinds
        Names in `bloodcell.models.feature_sets.FEATURE_SETS`. Saved models have this parameter's name.
    """

    def __init__(self, *, kinds: Sequence[str], **settings: Any) -> None:
        super().__init__(**{"dtype": "float32"} | settings)
        self._kinds = tuple(kinds)
        self.supports_jit = False

    def call(self, images: Any) -> Any:
        """Return features (batch, k), float32, of raw RGB (batch, height, width, 3), uint8."""
        shape = (count_features(self._kinds),)

        def computed(image: Any) -> Any:
            return _in_python(lambda pixels: image_features(pixels, self._kinds), image, dtype=tf.float32, shape=shape)

        return _each(computed, images, shape=shape)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Return (batch, k)."""
        return (input_shape[0], count_features(self._kinds))

    def get_config(self) -> dict[str, Any]:
        """Return the layer's parameters."""
        return {**super().get_config(), "kinds": list(self._kinds)}


def _each(function: Callable[[Any], Any], images: Any, *, shape: tuple[int, ...]) -> Any:
    return tf.map_fn(function, images, fn_output_signature=tf.TensorSpec(shape, tf.float32))


def _in_python(
    function: Callable[[NDArray[np.uint8]], NDArray[Any]], image: Any, *, dtype: Any, shape: tuple[int | None, ...]
) -> Any:
    result = tf.numpy_function(function, [image], dtype, stateful=False)
    result.set_shape(shape)
    return result
