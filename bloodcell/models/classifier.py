"""A classifier: backbone and head joined, from raw images to class probabilities."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from bloodcell.models.backbones import Backbone
from bloodcell.models.cut import cut_at
from bloodcell.models.heads import Head, build_head
from bloodcell.models.weights import digest_of


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A backbone with a head.

    A boundary is the index of the first layer of the application that is trained; with None all of it is frozen.

    Attributes
    ----------
    backbone
        What is frozen at first.
    head
        What is trained on top of it.
    core
        The model that predicts while it is trained: images of the input size (batch, size, size, 3), float32 in
        [0, 255], to probabilities (batch, n_classes), float32.
    whole
        The model that is kept: raw RGB of any size (batch, height, width, 3), uint8, to probabilities. It shares all
        its weights with ``core``.
    """

    backbone: Backbone
    head: Head
    core: keras.Model
    whole: keras.Model

    def frozen_part(self, boundary: int | None) -> keras.Model:
        """Return the model from images, as ``core`` takes them, to the features that cross the boundary.

        Features are rows (batch, width), float32: everything that layers above the boundary take from below it, or
        with the whole backbone frozen its feature maps pooled both ways, whichever the head uses.
        """
        images = self._images()
        preprocessed = self.backbone.preprocess(images)
        if boundary is None:
            features = keras.ops.cast(
                self.head.pooled(self.backbone.application(preprocessed, training=False)), "float32"
            )
        else:
            features = cut_at(self.backbone.application, boundary).below(preprocessed)
        return keras.Model(images, features, name="frozen_part")

    def trained_part(self, boundary: int | None, *, train_statistics: bool = False) -> keras.Model:
        """Freeze the backbone up to a boundary and return the model from features to probabilities.

        Features are the columns `used` of those of `frozen_part`.

        Parameters
        ----------
        boundary
            Where the backbone is cut.
        train_statistics
            Whether batch normalisation above the boundary learns its statistics (and dropout inside the backbone
            acts), rather than working as in inference.
        """
        self._freeze(boundary)
        width = len(range(self.feature_width(boundary))[self.used(boundary)])
        features = keras.Input((width,), dtype="float32", name="features")
        if boundary is None:
            return self._model(features, self.head.stacked(features))
        crossing, above = cut_at(self.backbone.application, boundary).above()
        trained = above if train_statistics else _Inference(above)
        return self._model(features, self.head(trained(crossing(features))))

    def trainable_core(self, *, boundary: int | None, train_statistics: bool) -> keras.Model:
        """Freeze the backbone up to a boundary and return the model from images to probabilities, to train it."""
        self._freeze(boundary)
        images = self._images()
        application = self.backbone.application
        trained = application if train_statistics else _Inference(application)
        return self._model(images, self.head(trained(self.backbone.preprocess(images))))

    def feature_width(self, boundary: int | None) -> int:
        """Return how many numbers `frozen_part` makes of an image."""
        application = self.backbone.application
        return 2 * application.output_shape[-1] if boundary is None else cut_at(application, boundary).width

    def used(self, boundary: int | None) -> slice:
        """Return which columns of `frozen_part`'s features `trained_part` takes."""
        return slice(None) if boundary is not None else self.head.used(self.backbone.application.output_shape[-1])

    def frozen_digest(self, boundary: int | None) -> str:
        """Return 16 hexadecimal digits that change with any weight below the boundary."""
        if boundary is None:
            return digest_of(self.backbone.application.get_weights())
        return digest_of(cut_at(self.backbone.application, boundary).weights)

    def has_frozen_part(self, boundary: int | None) -> bool:
        """Say whether anything below the boundary has weights, so that there is something to save."""
        return boundary is None or any(layer.weights for layer in self.backbone.application.layers[:boundary])

    def _images(self) -> Any:
        size = self.backbone.input_size
        return keras.Input((size, size, 3), dtype="float32", name="resized_image")

    def _model(self, inputs: Any, outputs: Any) -> keras.Model:
        model = keras.Model(inputs, outputs, name="core")
        # The policy that the layers were built under, or Keras would not scale the loss when they compute in float16.
        model.dtype_policy = self.core.dtype_policy
        return model

    def _freeze(self, boundary: int | None) -> None:
        self.backbone.application.trainable = True
        for index, layer in enumerate(self.backbone.application.layers):
            layer.trainable = boundary is not None and index >= boundary


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
        As for `bloodcell.models.heads.build_head`.
    interpolation
        How ``whole`` resizes images: ``nearest``, ``bilinear`` or ``bicubic``.
    """
    head = build_head(pooling=pooling, hidden_units=hidden_units, dropout=dropout, n_classes=n_classes)
    size = backbone.input_size
    images = keras.Input((size, size, 3), dtype="float32", name="resized_image")
    application: Callable[[Any], Any] = functools.partial(backbone.application, training=False)
    core = keras.Model(images, head(application(backbone.preprocess(images))), name="core")
    raw = keras.Input((None, None, 3), dtype="uint8", name="image")
    resized = keras.layers.Resizing(size, size, interpolation=interpolation, dtype="float32", name="resize")(
        keras.ops.cast(raw, "float32")
    )
    # Resizing's own default, training=True, would reach the layers after it where the model is called as a function.
    whole = keras.Model(raw, core(keras.ops.clip(resized, 0.0, 255.0), training=False), name="classifier")
    return Classifier(backbone=backbone, head=head, core=core, whole=whole)


class _Inference(keras.Layer):
    """A model that works as in inference while the model around it trains; ``training=False`` alone is overruled."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__(name=model.name)
        self._model = model

    def call(self, inputs: Any) -> Any:
        return self._model(inputs, training=False)
