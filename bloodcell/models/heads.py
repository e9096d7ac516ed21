"""Heads: from feature maps to class probabilities."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers


def head_layers(
    *, pooling: str, hidden_units: Sequence[int], dropout: float, n_classes: int
) -> tuple[Any, list[keras.Layer]]:
    """Make a head's layers.

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

    Returns
    -------
    pool, stack
        A callable from feature maps (batch, h, w, c) to features (batch, c or 2 c), and the layers that follow it.
    """
    pools = {
        "average": [layers.GlobalAveragePooling2D(name="average_pooling")],
        "max": [layers.GlobalMaxPooling2D(name="max_pooling")],
    }
    pools["both"] = [*pools["average"], *pools["max"]]
    join = layers.Concatenate(name="pooling")

    def pool(feature_maps: Any) -> Any:
        pooled = [layer(feature_maps) for layer in pools[pooling]]
        return join(pooled) if len(pooled) > 1 else pooled[0]

    stack: list[keras.Layer] = []
    for number, units in enumerate(hidden_units, start=1):
        if dropout:
            stack.append(layers.Dropout(dropout, name=f"dropout_{number}"))
        stack.append(layers.Dense(units, activation="relu", name=f"hidden_{number}"))
    if dropout:
        stack.append(layers.Dropout(dropout, name="dropout"))
    # float32 whatever the policy: a softmax in half precision does not sum to one.
    stack.append(layers.Dense(n_classes, activation="softmax", dtype="float32", name="probabilities"))
    return pool, stack
