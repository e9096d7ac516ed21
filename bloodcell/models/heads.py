"""Heads: from feature maps and extra features to class probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from bloodcell.models.attention import masked_averages


@dataclass(frozen=True, kw_only=True)
class Head:
    """A head: pooling, and the layers that follow it.

    Its input is feature maps, or the same maps pooled in both ways. The latter are cached for a frozen backbone and
    serve every head.

    Attributes
    ----------
    pooling
        ``average``, ``max``, ``both`` (concatenated), or ``cell`` (averages over the nucleus and its surroundings).
    average, maximum, join
        The two ways of pooling, from (batch, h, w, c) to (batch, c), and the layer that concatenates features.
    standardise
        Scales each feature to mean 0 and variance 1, with statistics of the training images; None: not done.
    projection
        A frozen linear layer, from the (scaled) features to the principal components of the training images; None: not
        done.
    stack
        The remaining layers, to probabilities.
    """

    pooling: str
    average: keras.Layer
    maximum: keras.Layer
    join: keras.Layer
    standardise: keras.Layer | None
    projection: keras.Layer | None
    stack: Sequence[keras.Layer]

    @property
    def needs_masks(self) -> bool:
        """Whether pooling needs masks of the cell."""
        return self.pooling == "cell"

    def __call__(self, maps: Sequence[Any], *, masks: Any = None, extra_features: Any = None) -> Any:
        """Return probabilities (batch, n_classes).

        Parameters
        ----------
        maps
            Feature maps, each (batch, h, w, c); may be empty.
        masks
            From `bloodcell.models.attention.cell_masks`; needed by ``cell``.
        extra_features
            Hand-made features (batch, k), or None.
        """
        pooled = [self.pool(maps, masks=masks)] if maps else []
        return self.classify(self.concatenate([*pooled, *([] if extra_features is None else [extra_features])]))

    def pool(self, maps: Sequence[Any], *, masks: Any = None) -> Any:
        """Return the pooled features for `classify`, (batch, c) or (batch, 2 c)."""
        match self.pooling:
            case "average":
                return self.concatenate([self.average(each) for each in maps])
            case "max":
                return self.concatenate([self.maximum(each) for each in maps])
            case _:
                return self.pool_both(maps, masks)

    def pool_both(self, maps: Sequence[Any], masks: Any = None) -> Any:
        """Return maps pooled in both ways, (batch, 2 c), for c channels in total.

        All averages, then all maxima; with ``cell`` all averages over the nucleus, then over its surroundings.
        """
        if self.needs_masks:
            pairs = [masked_averages(each, masks) for each in maps]
        else:
            pairs = [(self.average(each), self.maximum(each)) for each in maps]
        return self.concatenate([first for first, _ in pairs] + [second for _, second in pairs])

    def used_columns(self, channels: int) -> slice:
        """Return the columns of `pool_both` that the head uses."""
        columns = {"average": slice(channels), "max": slice(channels, None)}
        return columns.get(self.pooling, slice(None))

    def concatenate(self, features: Sequence[Any]) -> Any:
        """Concatenate rows of features."""
        return self.join(list(features)) if len(features) > 1 else features[0]

    def classify(self, features: Any) -> Any:
        """Return probabilities (batch, n_classes) from the `used_columns` of pooled features and extra features."""
        for layer in (self.standardise, self.projection):
            features = features if layer is None else layer(features)
        return self.classify_projected(features)

    def classify_projected(self, features: Any) -> Any:
        """Return probabilities (batch, n_classes) from scaled and projected features, see `projected`."""
        for layer in self.stack:
            features = layer(features)
        return features

    def projected(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale and project rows of features, as the head's frozen layers do.

        From shape (n, width) to (n, width), or (n, n_components) with a projection; call
        `bloodcell.training.heads.fit_frozen_layers` first.
        """
        rows = self.scaled(rows)
        if self.projection is not None:
            kernel, bias = (np.asarray(each) for each in (self.projection.kernel, self.projection.bias))
            rows = rows @ kernel + bias
        return rows

    def scaled(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale rows of features (n, width) to mean 0 and variance 1, if the head does."""
        layer = self.standardise
        if layer is None:
            return rows
        mean, variance = (np.asarray(moment) for moment in (layer.moving_mean, layer.moving_variance))
        return np.asarray((rows - mean) / np.sqrt(variance + layer.epsilon), np.float32)


def build_head(
    *,
    n_classes: int,
    pooling: str = "average",
    hidden_units: Sequence[int] = (),
    dropout: float = 0.0,
    standardise: bool = False,
    projection: int | None = None,
    l2: float = 0.0,
) -> Head:
    """Build a head.

    Parameters
    ----------
    n_classes
        Number of classes.
    pooling
        ``average``, ``max``, ``both`` concatenated, or ``cell``.
    hidden_units
        Widths of the hidden layers, ReLU each; empty for a linear classifier.
    dropout
        Before each dense layer, in [0, 1).
    standardise
        Whether features are scaled to mean 0 and variance 1; `bloodcell.training.heads` sets the statistics.
    projection
        The number of principal components to which features are projected; `bloodcell.training.heads` sets them. None:
        not done.
    l2
        Factor of the sum of the squared weights of all dense layers in the loss, at least 0.
    """
    penalty = keras.regularizers.L2(l2) if l2 else None
    stack: list[keras.Layer] = []
    for number, units in enumerate(hidden_units, start=1):
        if dropout:
            stack.append(layers.Dropout(dropout, name=f"dropout_{number}"))
        stack.append(layers.Dense(units, activation="relu", kernel_regularizer=penalty, name=f"hidden_{number}"))
    if dropout:
        stack.append(layers.Dropout(dropout, name="dropout"))
    # float32 with every policy: a softmax in half precision does not sum to one.
    stack.append(
        layers.Dense(n_classes, activation="softmax", kernel_regularizer=penalty, dtype="float32", name="probabilities")
    )
    return Head(
        pooling=pooling,
        average=layers.GlobalAveragePooling2D(name="average_pooling"),
        maximum=layers.GlobalMaxPooling2D(name="max_pooling"),
        join=layers.Concatenate(name="pooling"),
        # Frozen: it uses the given statistics in training, too.
        standardise=layers.BatchNormalization(
            center=False, scale=False, epsilon=1e-6, trainable=False, dtype="float32", name="standardise"
        )
        if standardise
        else None,
        projection=layers.Dense(
            projection, kernel_initializer="zeros", trainable=False, dtype="float32", name="projection"
        )
        if projection is not None
        else None,
        stack=stack,
    )
