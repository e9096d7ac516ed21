"""A classifier: backbone and head joined, from raw images to class probabilities."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from bloodcell.cells.crop import CropName
from bloodcell.models.attention import POOLED_SIDE, where_the_cell_is
from bloodcell.models.backbones import Backbone
from bloodcell.models.blocks import depths
from bloodcell.models.cut import cut_at
from bloodcell.models.heads import Head, build_head
from bloodcell.models.measured import Kind, n_columns
from bloodcell.models.preparing import CropImages, MeasureImages
from bloodcell.models.weights import digest_of

_WHERE = (POOLED_SIDE, POOLED_SIDE, 2)


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
    n_measured
        How many numbers the head takes beside the backbone's features.
    core
        The model that predicts while it is trained: images of the input size (batch, size, size, 3), float32 in
        [0, 255], and beside them what was measured (batch, n_measured), float32, if anything is, to probabilities
        (batch, n_classes), float32. Without a network there are no images.
    whole
        The model that is kept: raw RGB of any size (batch, height, width, 3), uint8, to probabilities. It shares all
        its weights with ``core``.
    """

    backbone: Backbone
    head: Head
    n_measured: int
    core: keras.Model
    whole: keras.Model

    @property
    def channels(self) -> int:
        """How many channels the feature maps have that the head takes, all together."""
        return sum(output.shape[-1] for output in self.backbone.outputs)

    def frozen_part(self, boundary: int | None) -> keras.Model:
        """Return the model from images, as ``core`` takes them, to the features that cross the boundary.

        Features are rows (batch, width), float32: everything that layers above the boundary take from below it, or
        with the whole backbone frozen its feature maps pooled in two ways, whichever the head uses. What is measured
        is not among them.
        """
        images = self._images()
        preprocessed = self.backbone.preprocess(images)
        where = where_the_cell_is(images) if self.head.attends else None
        if boundary is None:
            maps = keras.tree.flatten(self._application()(preprocessed, training=False))
            features = keras.ops.cast(self.head.pooled(maps, where=where), "float32")
        else:
            features = cut_at(self._application(), boundary).below(preprocessed)
            if where is not None:
                features = self.head.concatenate([features, keras.layers.Flatten()(where)])
        return keras.Model(images, features, name="frozen_part")

    def trained_part(self, boundary: int | None, *, train_statistics: bool = False) -> keras.Model:
        """Freeze the backbone up to a boundary and return the model from features to probabilities.

        Features are the columns `used` of those of `frozen_part`, and behind them what was measured.

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
        features = keras.Input((width + self.n_measured,), dtype="float32", name="features")
        if boundary is None:
            return self._model(features, self.head.stacked(features))
        crossing, above = cut_at(self._application(), boundary).above()
        trained = above if train_statistics else _Inference(above)
        size = int(np.prod(_WHERE)) if self.head.attends else 0
        rows, where = features[:, : width - size], features[:, width - size : width]
        probabilities = self.head(
            keras.tree.flatten(trained(crossing(rows))),
            where=keras.layers.Reshape(_WHERE)(where) if size else None,
            measured=features[:, width:] if self.n_measured else None,
        )
        return self._model(features, probabilities)

    def trainable_core(self, *, boundary: int | None, train_statistics: bool) -> keras.Model:
        """Freeze the backbone up to a boundary and return the model that takes what ``core`` takes, to train it."""
        self._freeze(boundary)
        inputs = self._inputs()
        trained = self._application() if train_statistics else _Inference(self._application())
        return self._model(_single(inputs), _join(self.backbone, self.head, trained, inputs))

    def rate_factors(self, decay: float) -> dict[str, float]:
        """Return by the path of each weight of the backbone ``decay`` to the number of blocks above its own.

        The head's are not among them. Layer-wise rates are those of Howard and Ruder, "Universal Language Model
        Fine-tuning for Text Classification" (2018), section 3.2, by blocks.
        """
        application = self._application()
        return {
            weight.path: decay**depth
            for layer, depth in zip(application.layers, depths(application), strict=True)
            for weight in layer.weights
        }

    def feature_width(self, boundary: int | None) -> int:
        """Return how many numbers `frozen_part` makes of an image."""
        if boundary is None:
            return 2 * self.channels
        where = int(np.prod(_WHERE)) if self.head.attends else 0
        return cut_at(self._application(), boundary).width + where

    def name_of(self, boundary: int | None) -> str:
        """Name what `frozen_part` puts out at a boundary: other names, other numbers."""
        how = "pooled over nucleus and surroundings" if self.head.attends else "pooled"
        if boundary is None:
            return how
        layer = str(self._application().layers[boundary].name)
        return f"{layer}, with where the cell is" if self.head.attends else layer

    def used(self, boundary: int | None) -> slice:
        """Return which columns of `frozen_part`'s features `trained_part` takes."""
        return slice(None) if boundary is not None else self.head.used(self.channels)

    def frozen_digest(self, boundary: int | None) -> str:
        """Return 16 hexadecimal digits that change with any weight below the boundary."""
        if boundary is None:
            return digest_of(self._application().get_weights())
        return digest_of(cut_at(self._application(), boundary).weights)

    def has_frozen_part(self, boundary: int | None) -> bool:
        """Say whether anything below the boundary has weights, so that there is something to save."""
        if self.backbone.application is None:
            return False
        return boundary is None or any(layer.weights for layer in self.backbone.application.layers[:boundary])

    def _application(self) -> keras.Model:
        assert self.backbone.application is not None  # nothing is asked of a network where there is none
        return self.backbone.application

    def _images(self) -> Any:
        return self._inputs()[0]

    def _inputs(self) -> list[Any]:
        return _inputs(self.backbone, n_measured=self.n_measured)

    def _model(self, inputs: Any, outputs: Any) -> keras.Model:
        model = keras.Model(inputs, outputs, name="core")
        # The policy that the layers were built under, or Keras would not scale the loss when they compute in float16.
        model.dtype_policy = self.core.dtype_policy
        return model

    def _freeze(self, boundary: int | None) -> None:
        if self.backbone.application is None:
            return
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
    standardise: bool = False,
    l2: float = 0.0,
    crop: CropName = "none",
    measured: Sequence[Kind] = (),
) -> Classifier:
    """Join a backbone and a new head.

    Parameters
    ----------
    backbone
        As `bloodcell.models.backbones.build_backbone` returns it.
    pooling, hidden_units, dropout, n_classes, standardise, l2
        As for `bloodcell.models.heads.build_head`.
    interpolation
        How ``whole`` resizes images: ``nearest``, ``bilinear`` or ``bicubic``.
    crop
        How ``whole`` crops images before.
    measured
        What the head takes beside the backbone's features: kinds of `bloodcell.models.measured`.
    """
    head = build_head(
        pooling=pooling,
        hidden_units=hidden_units,
        dropout=dropout,
        n_classes=n_classes,
        standardise=standardise,
        l2=l2,
    )
    kinds = tuple(measured)
    inputs = _inputs(backbone, n_measured=n_columns(kinds))
    application = backbone.application and functools.partial(backbone.application, training=False)
    core = keras.Model(_single(inputs), _join(backbone, head, application, inputs), name="core")
    raw = keras.Input((None, None, 3), dtype="uint8", name="image")
    prepared = []
    if backbone.application is not None:
        prepared.append(_resized(raw, size=backbone.input_size, interpolation=interpolation, crop=crop))
    if kinds:
        prepared.append(MeasureImages(kinds=kinds, name="measure")(raw))
    whole = keras.Model(raw, core(_single(prepared), training=False), name="classifier")
    return Classifier(backbone=backbone, head=head, n_measured=n_columns(kinds), core=core, whole=whole)


def _inputs(backbone: Backbone, *, n_measured: int) -> list[Any]:
    """Return new inputs of a core: images where there is a network, and what was measured where anything is."""
    size = backbone.input_size
    inputs = []
    if backbone.application is not None:
        inputs.append(keras.Input((size, size, 3), dtype="float32", name="resized_image"))
    if n_measured:
        inputs.append(keras.Input((n_measured,), dtype="float32", name="measured"))
    return inputs


def _join(backbone: Backbone, head: Head, application: Any, inputs: Sequence[Any]) -> Any:
    """Return a core's probabilities; ``application`` is the backbone's, or one that works as in inference."""
    if backbone.application is None:
        return head([], measured=inputs[0])
    images = inputs[0]
    return head(
        keras.tree.flatten(application(backbone.preprocess(images))),
        where=where_the_cell_is(images) if head.attends else None,
        measured=inputs[1] if len(inputs) > 1 else None,
    )


def _single(tensors: Sequence[Any]) -> Any:
    """Return tensors as Keras takes them: one by itself."""
    return tensors[0] if len(tensors) == 1 else list(tensors)


def _resized(raw: Any, *, size: int, interpolation: str, crop: CropName) -> Any:
    """Return raw images as ``core`` takes them."""
    if crop != "none":
        return CropImages(crop=crop, size=size, interpolation=interpolation, name="crop")(raw)
    resize = keras.layers.Resizing(size, size, interpolation=interpolation, dtype="float32", name="resize")
    # Resizing's own default, training=True, would reach the layers after it where the model is called as a function.
    return keras.ops.clip(resize(keras.ops.cast(raw, "float32")), 0.0, 255.0)


class _Inference(keras.Layer):
    """A model that works as in inference while the model around it trains; ``training=False`` alone is overruled."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__(name=model.name)
        self._model = model

    def call(self, inputs: Any) -> Any:
        return self._model(inputs, training=False)
