"""A classifier: backbone and head joined, from raw images to class probabilities."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from bloodcell.models.backbones import Backbone
from bloodcell.models.heads import head_layers


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A backbone with a head.

    Attributes
    ----------
    backbone
        What is frozen at first.
    pool, stack
        The head.
    core
        The model that predicts while it is trained: images of the input size (batch, size, size, 3), float32 in
        [0, 255], to probabilities (batch, n_classes), float32.
    whole
        The model that is kept: raw RGB of any size (batch, height, width, 3), uint8, to probabilities. It shares all
        its weights with ``core``.
    """

    backbone: Backbone
    pool: Callable[[Any], Any]
    stack: Sequence[keras.Layer]
    core: keras.Model
    whole: keras.Model

    def trainable_core(self, *, boundary: int | None, train_statistics: bool) -> keras.Model:
        """Freeze the backbone up to a boundary and return the model to train.

        Parameters
        ----------
        boundary
            Index of the first layer of the application that is trained; None freezes all of it.
        train_statistics
            Whether batch normalisation above the boundary learns its statistics (and dropout inside the backbone
            acts), rather than working as in inference.
        """
        application = self.backbone.application
        application.trainable = True
        for index, layer in enumerate(application.layers):
            layer.trainable = boundary is not None and index >= boundary
        trained = application if train_statistics else _Inference(application)
        model = _connect(self.backbone, trained, self.pool, self.stack)
        # The policy that the layers were built under, or Keras would not scale the loss when they compute in float16.
        model.dtype_policy = self.core.dtype_policy
        return model


def build_classifier(
    *,
    backbone: Backbone,
    pooling: str,
    hidden_units: Sequence[int],
    dropout: float,
    n_classes: int,
    interpolation: str,
) -> Classifier:
    """Join a backbone and a new head.

    Parameters
    ----------
    backbone
        As `bloodcell.models.backbones.build_backbone` returns it.
    pooling, hidden_units, dropout, n_classes
        As for `bloodcell.models.heads.head_layers`.
    interpolation
        How ``whole`` resizes images: ``nearest``, ``bilinear`` or ``bicubic``.
    """
    pool, stack = head_layers(pooling=pooling, hidden_units=hidden_units, dropout=dropout, n_classes=n_classes)
    core = _connect(backbone, functools.partial(backbone.application, training=False), pool, stack)
    raw = keras.Input((None, None, 3), dtype="uint8", name="image")
    size = backbone.input_size
    resized = keras.layers.Resizing(size, size, interpolation=interpolation, dtype="float32", name="resize")(
        keras.ops.cast(raw, "float32")
    )
    # Resizing's own default, training=True, would reach the layers after it where the model is called as a function.
    whole = keras.Model(raw, core(keras.ops.clip(resized, 0.0, 255.0), training=False), name="classifier")
    return Classifier(backbone=backbone, pool=pool, stack=stack, core=core, whole=whole)


class _Inference(keras.Layer):
    """A model that works as in inference while the model around it trains; ``training=False`` alone is overruled."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__(name=model.name)
        self._model = model

    def call(self, inputs: Any) -> Any:
        return self._model(inputs, training=False)


def _connect(
    backbone: Backbone,
    application: Callable[[Any], Any],
    pool: Callable[[Any], Any],
    stack: Sequence[keras.Layer],
) -> keras.Model:
    size = backbone.input_size
    images = keras.Input((size, size, 3), dtype="float32", name="resized_image")
    tensor = pool(application(backbone.preprocess(images)))
    for layer in stack:
        tensor = layer(tensor)
    return keras.Model(images, tensor, name="core")
