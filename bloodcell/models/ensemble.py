"""An ensemble as one model: its members and their combination."""

from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray

import bloodcell.models.preparing  # noqa: F401 - registers layers of loaded members with Keras


def join_models(
    members: Sequence[Sequence[keras.Model]],
    *,
    weights: NDArray[np.floating] | None = None,
    kernel: NDArray[np.floating] | None = None,
    bias: NDArray[np.floating] | None = None,
    floor: float | None = None,
) -> keras.Model:
    """Join models to one model with the same input.

    Parameters
    ----------
    members
        The models of each of m members, from raw RGB of any size (batch, height, width, 3), uint8, to probabilities
        (batch, k). Probabilities of several models of a member, such as those of folds, are averaged. The models are
        renamed, because names must be unique.
    weights
        Shape (m,), at least 0, sum 1: the output is the weighted mean. Members with weight 0 are left out.
    kernel, bias, floor
        In place of weights, for stacking: shapes (m k, k) and (k,), and the smallest probability for the logarithm. The
        output is the softmax of the members' concatenated log probabilities times the kernel, plus the bias.

    Returns
    -------
    keras.Model
        From raw RGB of any size, uint8, to probabilities (batch, k), float32. It shares the members' weights, which are
        not trainable.

    Raises
    ------
    ValueError
        If there is no member, a member has no model, or not exactly one of weights and kernel (with bias and floor) is
        given.
    """
    if not members or not all(members):
        raise ValueError("an ensemble needs at least one member, and each member a model")
    stacked = [given is not None for given in (kernel, bias, floor)]
    if any(stacked) != all(stacked) or (weights is None) != all(stacked):
        raise ValueError("give either weights, or kernel, bias and floor")
    numbers = [number for number in range(len(members)) if weights is None or weights[number] > 0]
    raw = keras.Input((None, None, 3), dtype="uint8", name="image")
    outputs = [_mean_of(members[number], raw, name=f"member_{number + 1}") for number in numbers]
    k = int(outputs[0].shape[-1])
    stacked = keras.layers.Concatenate(dtype="float32", name="members")(outputs) if len(outputs) > 1 else outputs[0]
    if weights is not None:
        mixing = np.vstack([weights[number] * np.eye(k) for number in numbers])
        combine = keras.layers.Dense(k, use_bias=False, dtype="float32", trainable=False, name="probabilities")
        combined = combine(stacked)
        combine.set_weights([mixing])
    else:
        combine = keras.layers.Dense(k, activation="softmax", dtype="float32", trainable=False, name="probabilities")
        combined = combine(keras.ops.log(keras.ops.clip(stacked, floor, 1.0)))
        combine.set_weights([kernel, bias])
    ensemble = keras.Model(raw, combined, name="ensemble")
    ensemble.trainable = False
    return ensemble


def _mean_of(models: Sequence[keras.Model], raw: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    outputs = []
    for number, model in enumerate(models, start=1):
        model.name = name if len(models) == 1 else f"{name}_model_{number}"
        outputs.append(model(raw, training=False))
    return keras.layers.Average(dtype="float32", name=name)(outputs) if len(outputs) > 1 else outputs[0]
