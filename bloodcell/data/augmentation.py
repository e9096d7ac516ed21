"""Augmentation: random changes of an image that keep its label.

Views are numbered: the same image, seed and view give the same pixels, in any order and with any number of threads.
View 0 is the image itself.
"""

from dataclasses import dataclass
from typing import Any, Literal

import tensorflow as tf

Tensor = Any  # TensorFlow ships no types

AUGMENTATION_VERSION = 2
"""Increased when a view's pixels change; caches of features of views are keyed by it."""

MAX_MARGIN = 0.35
"""Largest margin of a cell to the border, as a share of the image: a cell that fills the image may move, too."""

_N_DRAWS = 9
_FILL_MODES = {"constant": "CONSTANT", "reflect": "REFLECT", "nearest": "NEAREST"}


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Ranges of the random changes; the defaults change nothing.

    Attributes
    ----------
    horizontal_flip, vertical_flip
        Whether to flip, with probability 1/2.
    rotation
        Largest rotation in degrees, uniform in both directions.
    shift
        Largest shift as a fraction of width and height, uniform in both directions.
    zoom
        The scale is uniform between ``1 - zoom`` and ``1 + zoom``.
    brightness
        Largest change as a fraction of the full range, uniform in both directions.
    contrast
        The contrast factor is uniform between ``1 - contrast`` and ``1 + contrast``.
    hue
        Largest rotation as a fraction of the colour circle, uniform in both directions.
    fill
        Pixels beyond the border: black (``constant``), mirrored (``reflect``) or the border's (``nearest``).
    """

    horizontal_flip: bool = False
    vertical_flip: bool = False
    rotation: float = 0.0
    shift: float = 0.0
    zoom: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    hue: float = 0.0
    fill: Literal["constant", "reflect", "nearest"] = "reflect"

    @property
    def moves(self) -> bool:
        """Whether pixels move."""
        return any((self.horizontal_flip, self.vertical_flip, self.rotation, self.shift, self.zoom))

    @property
    def displaces(self) -> bool:
        """Whether something can leave the image."""
        return any((self.rotation, self.shift, self.zoom))

    @property
    def changes(self) -> bool:
        """Whether anything changes."""
        return self.moves or any((self.brightness, self.contrast, self.hue))


def augment(image: Tensor, *, augmentation: Augmentation, seed: Tensor, cell: Tensor | None = None) -> Tensor:
    """Change an image at random.

    The image, shape (height, width, 3), float32 in [0, 255], keeps shape and range. The seed is a tensor of shape (2,),
    int32 or int64. The cell is a row of `bloodcell.cells.places.cell_places`: it stays in the image, or as near to the
    border as it is; None: anything may leave the image.
    """
    draws = tf.random.stateless_uniform((_N_DRAWS,), seed=seed, minval=-1.0, maxval=1.0)
    if augmentation.moves:
        image = _move(image, augmentation, draws, cell)
    if augmentation.brightness:
        image += 255.0 * augmentation.brightness * draws[6]
    if augmentation.contrast:
        mean = tf.reduce_mean(image, axis=(0, 1), keepdims=True)
        image = (image - mean) * (1.0 + augmentation.contrast * draws[7]) + mean
    image = tf.clip_by_value(image, 0.0, 255.0)
    if augmentation.hue:
        image = tf.image.adjust_hue(image / 255.0, augmentation.hue * draws[8]) * 255.0
    return image


def _move(image: Tensor, augmentation: Augmentation, draws: Tensor, cell: Tensor | None) -> Tensor:
    """Flip, rotate, zoom and shift about the centre, in one resampling."""
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
    angle = draws[0] * augmentation.rotation * (3.141592653589793 / 180.0)
    scale = 1.0 / (1.0 + augmentation.zoom * draws[1])
    flip_x = tf.where(draws[2] < 0, -1.0, 1.0) if augmentation.horizontal_flip else 1.0
    flip_y = tf.where(draws[3] < 0, -1.0, 1.0) if augmentation.vertical_flip else 1.0
    # Rows of the matrix from output to input pixels, about the centre.
    a, b = flip_x * scale * tf.cos(angle), -flip_x * scale * tf.sin(angle)
    c, d = flip_y * scale * tf.sin(angle), flip_y * scale * tf.cos(angle)
    centre_x, centre_y = (width - 1.0) / 2.0, (height - 1.0) / 2.0
    shift_x = centre_x + draws[4] * augmentation.shift * width
    shift_y = centre_y + draws[5] * augmentation.shift * height
    if cell is not None:
        x, y = cell[0] * width - 0.5, cell[1] * height - 0.5
        determinant = a * d - b * c
        from_x, from_y = x - shift_x, y - shift_y
        to_x = _inside((d * from_x - b * from_y) / determinant + centre_x, at=x, margin=cell[2] * width, size=width)
        to_y = _inside((a * from_y - c * from_x) / determinant + centre_y, at=y, margin=cell[3] * height, size=height)
        shift_x = x - a * (to_x - centre_x) - b * (to_y - centre_y)
        shift_y = y - c * (to_x - centre_x) - d * (to_y - centre_y)
    transform = [
        *(a, b, shift_x - a * centre_x - b * centre_y),
        *(c, d, shift_y - c * centre_x - d * centre_y),
        *(0.0, 0.0),
    ]
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[tf.newaxis],
        transforms=tf.stack(transform)[tf.newaxis],
        output_shape=tf.shape(image)[:2],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode=_FILL_MODES[augmentation.fill],
    )
    return tf.ensure_shape(moved[0], image.shape)


def _inside(place: Tensor, *, at: Tensor, margin: Tensor, size: Tensor) -> Tensor:
    """Bring a place into the image, with a margin to the border, unless what is there was nearer to it at first."""
    nearest = tf.minimum(at, size - 1.0 - at)
    margin = tf.maximum(tf.minimum(tf.minimum(margin, MAX_MARGIN * size), nearest), 0.0)
    return tf.clip_by_value(place, margin, size - 1.0 - margin)
