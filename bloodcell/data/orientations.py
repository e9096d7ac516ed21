"""Orientations: the eight ways to lay a square image down, none of which changes what it shows or any of its pixels."""

from dataclasses import dataclass
from typing import Any, Literal

import tensorflow as tf

Tensor = Any  # TensorFlow ships no types

ORIENTATIONS_VERSION = 1
"""Counted up when the same orient would have other pixels; caches of anything made of turns are keyed by it."""

OrientationSet = Literal["none", "flips", "flips_and_rotations"]
"""``none``: as it is. ``flips``: that, and mirrored left to right, top to bottom, and both. ``flips_and_rotations``:
these and the same of its transpose, which are all quarter rotations with and without mirroring."""

N_ORIENTATIONS: dict[OrientationSet, int] = {"none": 1, "flips": 4, "flips_and_rotations": 8}
"""How many turns each has, that as it is among them."""


@dataclass(frozen=True)
class Orientations:
    """Views that are turns: view 1 is orient 1, and so on; view 0 is the image as it is."""


def orient(image: Tensor, number: Tensor) -> Tensor:
    """Turn a square image.

    Parameters
    ----------
    image
        Tensor of shape (size, size, channels).
    number
        0..7, the bits of which say: 1, mirrored left to right; 2, top to bottom; 4, its transpose is.

    Returns
    -------
    Tensor of the same shape and type
    """
    turned = tf.where(_bit(number, 4), tf.transpose(image, (1, 0, 2)), image)
    turned = tf.where(_bit(number, 2), tf.reverse(turned, axis=(0,)), turned)
    return tf.ensure_shape(tf.where(_bit(number, 1), tf.reverse(turned, axis=(1,)), turned), image.shape)


def _bit(number: Tensor, bit: int) -> Tensor:
    return tf.cast(tf.bitwise.bitwise_and(tf.cast(number, tf.int64), bit), tf.bool)
