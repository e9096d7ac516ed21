"""Where the cell is in an image, reckoned inside the model: pooling that looks at nucleus and cytoplasm by themselves.

The nucleus is where blue stands far above green, by Otsu's (1979) threshold, as in `bloodcell.cells.segmentation`,
which is more exact; here everything is an operation of Keras, so that the model that is kept needs nothing else.
"""

from typing import Any

import keras
from keras import ops

SIDE = 56
"""Of the grid that is looked at, in cells."""
LEVELS = 64
"""Thresholds that are tried."""
TOUCHING, AROUND = 3, 15
"""Side of the square that a nucleus grows by on the grid: what still belongs to it, and what is around it."""
POOLED_SIDE = 28
"""Of the grid on which the result is told."""


def where_the_cell_is(images: Any) -> Any:
    """Return where nucleus and surroundings are.

    Parameters
    ----------
    images
        RGB, (batch, size, size, 3), float32 in [0, 255].

    Returns
    -------
    Tensor (batch, 28, 28, 2), float32 in [0, 1]
        The share of each grid cell that is nucleus, and that is within an eighth of the image around it.
    """
    violet = _to_grid(ops.maximum(images[..., 2:3] - images[..., 1:2], 0.0), SIDE)
    nucleus = ops.cast(violet > _otsu(violet), "float32")
    grown = ops.max_pool(nucleus, AROUND, strides=1, padding="same")
    around = grown - ops.max_pool(nucleus, TOUCHING, strides=1, padding="same")
    return _to_grid(ops.concatenate([nucleus, around], axis=-1), POOLED_SIDE)


def pooled_where(feature_map: Any, where: Any) -> tuple[Any, Any]:
    """Return a feature map's averages over the nucleus and over what is around it, each (batch, c).

    Parameters
    ----------
    feature_map
        (batch, h, w, c).
    where
        As of `where_the_cell_is`.
    """
    weights = ops.cast(_to_grid(where, feature_map.shape[1]), feature_map.dtype)
    sums = ops.einsum("bhwc,bhwp->bpc", feature_map, weights)
    means = sums / (ops.sum(weights, axis=(1, 2))[..., None] + keras.config.epsilon())
    return means[:, 0], means[:, 1]


def _to_grid(maps: Any, side: int) -> Any:
    """Bring square maps to a side: averaged as far as it comes out even, then interpolated."""
    factor = maps.shape[1] // side
    if factor > 1:
        maps = ops.average_pool(maps, factor, strides=factor)
    if maps.shape[1] != side:
        maps = ops.image.resize(maps, (side, side), interpolation="bilinear")
    return maps


def _otsu(values: Any) -> Any:
    """Return for each map (batch, side, side, 1) the threshold that parts its values best, (batch, 1, 1, 1)."""
    flat = ops.reshape(values, (-1, SIDE * SIDE, 1))
    thresholds = ops.max(flat, axis=1, keepdims=True) * (ops.arange(LEVELS, dtype="float32") / LEVELS)
    above = ops.cast(flat > thresholds, "float32")
    share, mean = ops.mean(above, axis=1), ops.mean(flat, axis=1)
    between = ops.square(mean * share - ops.mean(flat * above, axis=1)) / (share * (1.0 - share) + 1e-6)
    # Of several that part them equally well their mean; not by argmax, which OpenVINO does not know as Keras has it.
    best = ops.cast(between >= ops.max(between, axis=1, keepdims=True), "float32")
    chosen = ops.sum(best * thresholds[:, 0], axis=1) / ops.sum(best, axis=1)
    return ops.reshape(chosen, (-1, 1, 1, 1))
