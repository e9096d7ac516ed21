"""Masks of nucleus and surroundings, computed inside the model, and feature maps averaged over each.

The nucleus is where blue exceeds green by more than Otsu's (1979) threshold, as in
`bloodcell.cells.segmentation.find_stained`, which is more exact. All operations are Keras's, so a saved model needs no
other code.
"""

from typing import Any

import keras
from keras import ops

SIDE = 56
"""Side of the grid on which the nucleus is found, in cells."""
LEVELS = 64
"""Number of thresholds that are tried."""
TOUCHING, AROUND = 3, 15
"""Sides of the dilation squares, in cells: the border of the nucleus, and its surroundings."""
MASKS_SHAPE = (28, 28, 2)
"""Height, width and channels of the masks."""


def cell_masks(images: Any) -> Any:
    """Return masks of the nucleus and of its surroundings.

    Parameters
    ----------
    images
        RGB, (batch, size, size, 3), float32 in [0, 255].

    Returns
    -------
    Tensor (batch, 28, 28, 2), float32 in [0, 1]
        The share of each grid cell in the nucleus, and in its surroundings (up to an eighth of the image from it).
    """
    violet = _to_grid(ops.maximum(images[..., 2:3] - images[..., 1:2], 0.0), SIDE)
    nucleus = ops.cast(violet > _otsu(violet), "float32")
    grown = ops.max_pool(nucleus, AROUND, strides=1, padding="same")
    around = grown - ops.max_pool(nucleus, TOUCHING, strides=1, padding="same")
    return _to_grid(ops.concatenate([nucleus, around], axis=-1), MASKS_SHAPE[0])


def masked_averages(feature_map: Any, masks: Any) -> tuple[Any, Any]:
    """Return a feature map's averages over the nucleus and over its surroundings, each (batch, c).

    Parameters
    ----------
    feature_map
        (batch, h, w, c).
    masks
        From `cell_masks`.
    """
    weights = ops.cast(_to_grid(masks, feature_map.shape[1]), feature_map.dtype)
    sums = ops.einsum("bhwc,bhwp->bpc", feature_map, weights)
    means = sums / (ops.sum(weights, axis=(1, 2))[..., None] + keras.config.epsilon())
    return means[:, 0], means[:, 1]


def _to_grid(maps: Any, side: int) -> Any:
    """Resize square maps to a side: average by a whole factor first, then interpolate."""
    factor = maps.shape[1] // side
    if factor > 1:
        maps = ops.average_pool(maps, factor, strides=factor)
    if maps.shape[1] != side:
        maps = ops.image.resize(maps, (side, side), interpolation="bilinear")
    return maps


def _otsu(values: Any) -> Any:
    """Return Otsu's threshold (batch, 1, 1, 1) of each map (batch, side, side, 1)."""
    flat = ops.reshape(values, (-1, SIDE * SIDE, 1))
    thresholds = ops.max(flat, axis=1, keepdims=True) * (ops.arange(LEVELS, dtype="float32") / LEVELS)
    above = ops.cast(flat > thresholds, "float32")
    share, mean = ops.mean(above, axis=1), ops.mean(flat, axis=1)
    between = ops.square(mean * share - ops.mean(flat * above, axis=1)) / (share * (1.0 - share) + 1e-6)
    # The mean of equally good thresholds; without argmax, because OpenVINO does not support Keras's.
    best = ops.cast(between >= ops.max(between, axis=1, keepdims=True), "float32")
    chosen = ops.sum(best * thresholds[:, 0], axis=1) / ops.sum(best, axis=1)
    return ops.reshape(chosen, (-1, 1, 1, 1))
