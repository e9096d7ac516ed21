"""The eight orientations of a square image (the dihedral group): flips and quarter rotations, without resampling."""

from dataclasses import dataclass
from typing import Any, Literal

import tensorflow as tf

Tensor = Any  # TensorFlow ships no types

ORIENTATIONS_VERSION = 1
"""Increased when an orientation's pixels change; caches of features of oriented images are keyed by it."""

OrientationSet = Literal["none", "flips", "flips_and_rotations"]
"""``none``: the image itself. ``flips``: also flipped left to right, top to bottom, and both. ``flips_and_rotations``:
also the same of its transpose, which gives all quarter rotations with and without flips."""

N_ORIENTATIONS: dict[OrientationSet, int] = {"none": 1, "flips": 4, "flips_and_rotations": 8}
"""Number of orientations in each, including the image itself."""


@dataclass(frozen=True)
class Orientations:
    """Views that are orientations: view k is orientation k; view 0 is the image itself."""


def orient(image: Tensor, number: Tensor) -> Tensor:
    """Flip, rotate or transpose a square image.

    The image, shape (size, size, channels), keeps shape and type. The number is 0..7. Bit 1: flip left to right; bit 2:
    flip top to bottom; bit 4: transpose first.
    """
    oriented = tf.where(_bit(number, 4), tf.transpose(image, (1, 0, 2)), image)
    oriented = tf.where(_bit(number, 2), tf.reverse(oriented, axis=(0,)), oriented)
    return tf.ensure_shape(tf.where(_bit(number, 1), tf.reverse(oriented, axis=(1,)), oriented), image.shape)


def _bit(number: Tensor, bit: int) -> Tensor:
    return tf.cast(tf.bitwise.bitwise_and(tf.cast(number, tf.int64), bit), tf.bool)
