"""A classifier: backbone and head joined, from raw images to class probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np

from bloodcell.cells.crop import CropName
from bloodcell.models.attention import MASKS_SHAPE, cell_masks
from bloodcell.models.cut import Inference
from bloodcell.models.extractors import FeatureExtractor
from bloodcell.models.feature_sets import count_features
from bloodcell.models.heads import Head
from bloodcell.models.precision import precision
from bloodcell.models.preparing import MeasureImages


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A backbone with a head.

    A boundary is the index of the backbone's first layer that is trained; None: all layers are frozen.

    Attributes
    ----------
    backbone
        The feature extractor.
    head
        Pooling and the layers that are trained on top of it.
    feature_sets
        The hand-made features that the head uses, names of `bloodcell.models.feature_sets.FEATURE_SETS`.
    core
        The model used in training: from images of the input size (batch, size, size, 3), float32 in [0, 255], if the
        backbone takes images, and hand-made features (batch, n_extra), float32, if there are any, to probabilities
        (batch, n_classes), float32.
    interpolation, crop
        How ``whole`` resizes and crops images.
    """

    backbone: FeatureExtractor
    head: Head
    feature_sets: tuple[str, ...]
    core: keras.Model
    interpolation: str
    crop: CropName

    @cached_property
    def whole(self) -> keras.Model:
        """The model that is saved: from raw RGB of any size (batch, height, width, 3), uint8, to probabilities.

        It shares all weights with ``core``.
        """
        with precision(mixed=self.core.dtype_policy.name != "float32"):
            raw = keras.Input((None, None, 3), dtype="uint8", name="image")
            prepared = self.backbone.prepare(raw, interpolation=self.interpolation, crop=self.crop)
            if self.feature_sets:
                prepared.append(MeasureImages(kinds=self.feature_sets, name="measure")(raw))
            return keras.Model(raw, self.core(_single(prepared), training=False), name="classifier")

    @property
    def n_extra(self) -> int:
        """The number of hand-made features."""
        return count_features(self.feature_sets)

    @property
    def channels(self) -> int:
        """The number of channels of all feature maps together."""
        return sum(output.shape[-1] for output in self.backbone.outputs)

    def frozen_part(self, boundary: int | None) -> keras.Model:
        """Return the model from images, as ``core`` takes them, to the features that cross the boundary.

        Features are rows (batch, width), float32: all outputs below the boundary that layers above it use, or, if all
        layers are frozen, the feature maps pooled in both ways of the head. Hand-made features are not included.
        """
        (images,) = self.backbone.inputs()
        masks = cell_masks(images) if self.head.needs_masks else None
        if boundary is None:
            features = keras.ops.cast(self.head.pool_both(self.backbone.maps([images]), masks), "float32")
        else:
            features = self.backbone.cut(boundary).below(images)
            if masks is not None:
                features = self.head.concatenate([features, keras.layers.Flatten()(masks)])
        return keras.Model(images, features, name="frozen_part")

    def trained_part(self, boundary: int | None, *, train_statistics: bool = False) -> keras.Model:
        """Freeze the backbone up to a boundary and return the model from features to probabilities.

        Its input is the columns `used_columns` of `frozen_part`'s features, followed by the hand-made features.

        Parameters
        ----------
        boundary
            The first trained layer of the backbone.
        train_statistics
            Whether batch normalisation above the boundary learns its statistics and dropout inside the backbone is
            active.
        """
        self.backbone.freeze(boundary)
        width = len(range(self.feature_width(boundary))[self.used_columns(boundary)])
        features = keras.Input((width + self.n_extra,), dtype="float32", name="features")
        if boundary is None:
            return self._model(features, self.head.classify(features))
        crossing, above = self.backbone.cut(boundary).above()
        trained = above if train_statistics else Inference(above)
        n_crossing = width - self._masks_width
        masks = features[:, n_crossing:width]
        probabilities = self.head(
            keras.tree.flatten(trained(crossing(features[:, :n_crossing]))),
            masks=keras.layers.Reshape(MASKS_SHAPE)(masks) if self.head.needs_masks else None,
            extra_features=features[:, width:] if self.n_extra else None,
        )
        return self._model(features, probabilities)

    def trainable_core(self, *, boundary: int | None, train_statistics: bool) -> keras.Model:
        """Freeze the backbone up to a boundary and return a trainable model with the inputs of ``core``."""
        self.backbone.freeze(boundary)
        return self._model(*_join(self.backbone, self.head, self.n_extra, trained=True, statistics=train_statistics))

    def feature_width(self, boundary: int | None) -> int:
        """Return the number of features of `frozen_part`."""
        if boundary is None:
            return 2 * self.channels
        return self.backbone.cut(boundary).width + self._masks_width

    def name_of(self, boundary: int | None) -> str:
        """Return a name of the output of `frozen_part` at a boundary, different for different features."""
        if boundary is None:
            return "pooled over nucleus and surroundings" if self.head.needs_masks else "pooled"
        layer = str(self.backbone.layers[boundary].name)
        return f"{layer}, with where the cell is" if self.head.needs_masks else layer

    def used_columns(self, boundary: int | None) -> slice:
        """Return the columns of `frozen_part`'s features that `trained_part` uses."""
        return slice(None) if boundary is not None else self.head.used_columns(self.channels)

    def frozen_digest(self, boundary: int | None) -> str:
        """Return 16 hexadecimal digits that change with any weight below the boundary."""
        return self.backbone.frozen_digest(boundary)

    def has_frozen_part(self, boundary: int | None) -> bool:
        """Return whether anything below the boundary has weights, so that storing its output saves time."""
        return any(layer.weights for layer in self.backbone.layers[:boundary])

    @property
    def _masks_width(self) -> int:
        return int(np.prod(MASKS_SHAPE)) if self.head.needs_masks else 0

    def _model(self, inputs: Any, outputs: Any) -> keras.Model:
        model = keras.Model(inputs, outputs, name="core")
        # With the layers' policy Keras scales the loss if they compute in float16.
        model.dtype_policy = self.core.dtype_policy
        return model


def build_classifier(
    backbone: FeatureExtractor,
    head: Head,
    *,
    interpolation: str = "bilinear",
    crop: CropName = "none",
    extra_features: Sequence[str] = (),
) -> Classifier:
    """Join a backbone and a new head.

    Parameters
    ----------
    backbone
        From `bloodcell.models.backbones.build_backbone`.
    head
        From `bloodcell.models.heads.build_head`.
    interpolation
        How ``whole`` resizes images: ``nearest``, ``bilinear`` or ``bicubic``.
    crop
        How ``whole`` crops images before resizing.
    extra_features
        Feature sets that the head uses in addition to the backbone's features, names of
        `bloodcell.models.feature_sets.FEATURE_SETS`.
    """
    feature_sets = tuple(dict.fromkeys((*backbone.feature_sets, *extra_features)))
    inputs, probabilities = _join(backbone, head, count_features(feature_sets))
    return Classifier(
        backbone=backbone,
        head=head,
        feature_sets=feature_sets,
        core=keras.Model(inputs, probabilities, name="core"),
        interpolation=interpolation,
        crop=crop,
    )


def _join(
    backbone: FeatureExtractor, head: Head, n_extra: int, *, trained: bool = False, statistics: bool = False
) -> tuple[Any, Any]:
    """Return new inputs of a core and its output; see `FeatureExtractor.maps`."""
    if trained:
        images = backbone.inputs()
        maps = backbone.maps(images, trained=True, train_statistics=statistics)
    else:
        images, maps = backbone.evaluated()
    extra = [keras.Input((n_extra,), dtype="float32", name="extra_features")] if n_extra else []
    probabilities = head(
        maps,
        masks=cell_masks(images[0]) if head.needs_masks and images else None,
        extra_features=extra[0] if extra else None,
    )
    return _single([*images, *extra]), probabilities


def _single(tensors: Sequence[Any]) -> Any:
    """Return tensors as Keras expects them: a single one without a list."""
    return tensors[0] if len(tensors) == 1 else list(tensors)
