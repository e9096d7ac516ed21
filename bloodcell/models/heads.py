"""Heads: from feature maps to class probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers


@dataclass(frozen=True, kw_only=True)
class Head:
    """A head: pooling, and the layers that follow it.

    It takes feature maps, or the same pooled both ways, which is all that a head needs of a frozen backbone and does
    not depend on the head.

    Attributes
    ----------
    pooling
        ``average``, ``max``, or ``both`` side by side.
    average, maximum, join
        The two ways of pooling, from (batch, h, w, c) to (batch, c), and what puts them side by side.
    stack
        The layers from pooled features to probabilities.
    """

    pooling: str
    average: keras.Layer
    maximum: keras.Layer
    join: keras.Layer
    stack: Sequence[keras.Layer]

    def __call__(self, feature_maps: Any) -> Any:
        """Return probabilities (batch, n_classes) from feature maps (batch, h, w, c)."""
        return self.stacked(self.pool(feature_maps))

    def pool(self, feature_maps: Any) -> Any:
        """Return the features that the stack takes, (batch, c) or (batch, 2 c)."""
        match self.pooling:
            case "average":
                return self.average(feature_maps)
            case "max":
                return self.maximum(feature_maps)
            case _:
                return self.pooled(feature_maps)

    def pooled(self, feature_maps: Any) -> Any:
        """Return the averages and beside them the maxima, (batch, 2 c)."""
        return self.join([self.average(feature_maps), self.maximum(feature_maps)])

    def used(self, channels: int) -> slice:
        """Return which of the 2 c columns of `pooled` the stack takes."""
        columns = {"average": slice(channels), "max": slice(channels, None), "both": slice(None)}
        return columns[self.pooling]

    def stacked(self, features: Any) -> Any:
        """Return probabilities (batch, n_classes) from pooled features, those that are `used`."""
        for layer in self.stack:
            features = layer(features)
        return features


def build_head(*, pooling: str, hidden_units: Sequence[int], dropout: float, n_classes: int) -> Head:
    """Build a head.

    Parameters
    ----------
    pooling
        ``average``, ``max``, or ``both`` side by side.
    hidden_units
        Widths of the hidden layers, ReLU each; empty for a linear classifier.
    dropout
        Before each dense layer, in [0, 1).
    n_classes
        How many probabilities come out.
    """
    stack: list[keras.Layer] = []
    for number, units in enumerate(hidden_units, start=1):
        if dropout:
            stack.append(layers.Dropout(dropout, name=f"dropout_{number}"))
        stack.append(layers.Dense(units, activation="relu", name=f"hidden_{number}"))
    if dropout:
        stack.append(layers.Dropout(dropout, name="dropout"))
    # float32 whatever the policy: a softmax in half precision does not sum to one.
    stack.append(layers.Dense(n_classes, activation="softmax", dtype="float32", name="probabilities"))
    return Head(
        pooling=pooling,
        average=layers.GlobalAveragePooling2D(name="average_pooling"),
        maximum=layers.GlobalMaxPooling2D(name="max_pooling"),
        join=layers.Concatenate(name="pooling"),
        stack=stack,
    )
