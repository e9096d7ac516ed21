"""Heads: from feature maps, and what was measured beside them, to class probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from bloodcell.models.attention import pooled_where


@dataclass(frozen=True, kw_only=True)
class Head:
    """A head: pooling, and the layers that follow it.

    It takes feature maps, or the same pooled in two ways, which is all that a head needs of a frozen backbone and does
    not depend on the layers that follow.

    Attributes
    ----------
    pooling
        ``average``, ``max``, ``both`` side by side, or ``cell``: the averages over the nucleus and over what is around
        it.
    average, maximum, join
        The two ways of pooling, from (batch, h, w, c) to (batch, c), and what puts features side by side.
    standardise
        Brings each feature to mean 0 and variance 1 over the training images, as they were told to it; None: not done.
    stack
        The layers from there to probabilities.
    """

    pooling: str
    average: keras.Layer
    maximum: keras.Layer
    join: keras.Layer
    standardise: keras.Layer | None
    stack: Sequence[keras.Layer]

    @property
    def attends(self) -> bool:
        """Whether pooling needs to know where the cell is."""
        return self.pooling == "cell"

    def __call__(self, maps: Sequence[Any], *, where: Any = None, measured: Any = None) -> Any:
        """Return probabilities (batch, n_classes).

        Parameters
        ----------
        maps
            Feature maps, each (batch, h, w, c); none where there is no network.
        where
            Where nucleus and surroundings are, as of `bloodcell.models.attention.where_the_cell_is`; needed by
            ``cell``.
        measured
            What was measured of the images, (batch, k); None: nothing.
        """
        pooled = [self.pool(maps, where=where)] if maps else []
        return self.stacked(self.concatenate([*pooled, *([] if measured is None else [measured])]))

    def pool(self, maps: Sequence[Any], *, where: Any = None) -> Any:
        """Return the features that the stack takes of feature maps, (batch, c) or (batch, 2 c)."""
        match self.pooling:
            case "average":
                return self.concatenate([self.average(each) for each in maps])
            case "max":
                return self.concatenate([self.maximum(each) for each in maps])
            case _:
                return self.pooled(maps, where=where)

    def pooled(self, maps: Sequence[Any], *, where: Any = None) -> Any:
        """Return maps pooled in two ways, (batch, 2 c), c the channels of all of them.

        First all averages and then all maxima, or with ``cell`` all averages over the nucleus and then over what is
        around it.
        """
        if self.attends:
            parts = [pooled_where(each, where) for each in maps]
            return self.concatenate([nucleus for nucleus, _ in parts] + [around for _, around in parts])
        return self.concatenate([self.average(each) for each in maps] + [self.maximum(each) for each in maps])

    def used(self, channels: int) -> slice:
        """Return which of the 2 c columns of `pooled` the stack takes."""
        columns = {"average": slice(channels), "max": slice(channels, None)}
        return columns.get(self.pooling, slice(None))

    def concatenate(self, features: Sequence[Any]) -> Any:
        """Put rows of features side by side."""
        return self.join(list(features)) if len(features) > 1 else features[0]

    def stacked(self, features: Any) -> Any:
        """Return probabilities (batch, n_classes) from pooled features, those that are `used`."""
        if self.standardise is not None:
            features = self.standardise(features)
        for layer in self.stack:
            features = layer(features)
        return features


def build_head(
    *,
    pooling: str,
    hidden_units: Sequence[int],
    dropout: float,
    n_classes: int,
    standardise: bool = False,
    l2: float = 0.0,
) -> Head:
    """Build a head.

    Parameters
    ----------
    pooling
        ``average``, ``max``, ``both`` side by side, or ``cell``.
    hidden_units
        Widths of the hidden layers, ReLU each; empty for a linear classifier.
    dropout
        Before each dense layer, in [0, 1).
    n_classes
        How many probabilities come out.
    standardise
        Whether features are brought to mean 0 and variance 1, as `bloodcell.training.heads` tells it.
    l2
        What the sum of the squared weights of all dense layers counts in the loss, at least 0.
    """
    penalty = keras.regularizers.L2(l2) if l2 else None
    stack: list[keras.Layer] = []
    for number, units in enumerate(hidden_units, start=1):
        if dropout:
            stack.append(layers.Dropout(dropout, name=f"dropout_{number}"))
        stack.append(layers.Dense(units, activation="relu", kernel_regularizer=penalty, name=f"hidden_{number}"))
    if dropout:
        stack.append(layers.Dropout(dropout, name="dropout"))
    # float32 whatever the policy: a softmax in half precision does not sum to one.
    stack.append(
        layers.Dense(n_classes, activation="softmax", kernel_regularizer=penalty, dtype="float32", name="probabilities")
    )
    return Head(
        pooling=pooling,
        average=layers.GlobalAveragePooling2D(name="average_pooling"),
        maximum=layers.GlobalMaxPooling2D(name="max_pooling"),
        join=layers.Concatenate(name="pooling"),
        # Frozen, so that it works by the statistics that it was told, in training too.
        standardise=layers.BatchNormalization(
            center=False, scale=False, epsilon=1e-6, trainable=False, dtype="float32", name="standardise"
        )
        if standardise
        else None,
        stack=stack,
    )
