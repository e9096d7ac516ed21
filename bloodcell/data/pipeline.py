"""The input pipeline: from image files to the batches that a model is trained and evaluated on."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray

from bloodcell.cells.crop import CropName, crop
from bloodcell.data.augmentation import Augmentation, Tensor, augment
from bloodcell.data.manifest import ImageSet
from bloodcell.data.mixup import mix_batches
from bloodcell.data.orientations import Orientations, orient
from bloodcell.data.sampling import Sampling, sample_sources
from bloodcell.images.address import address_of
from bloodcell.images.reading import UnreadableImage, decode_image, read_file, read_image

Dataset = Any  # TensorFlow ships no types

N_READERS = os.cpu_count() or 1
"""Number of images that are read at a time."""
_REPEAT_STRIDE = 2**32
"""Difference between the view numbers of an image that an epoch has several times."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Labelled image files, and the size to which they are resized.

    Attributes
    ----------
    files
        n image files.
    digests
        The SHA-256 of each file's content, in hexadecimal; views are derived from it.
    labels
        Class indices, shape (n,), int64.
    n_classes
        Number of classes.
    input_size
        Height and width in pixels.
    interpolation
        ``nearest``, ``bilinear`` or ``bicubic``.
    crop
        How images are cropped before resizing, see `bloodcell.cells.crop`; or ``none``.
    extra_features
        Hand-made features of each image, shape (n, k), float32; None: the model takes the image only.
    sources
        The source of each image, as a number, shape (n,), int64; None: unknown.
    groups
        The group of each image, as a number, shape (n,), int64; None: each source is one.
    weights
        The weight of each image in validation, shape (n,), float64; None: all the same.
    cells
        Where each image's cell is, see `bloodcell.cells.places.cell_places`: augmentation keeps it inside; None: it may
        leave the image.
    """

    files: Sequence[Path]
    digests: Sequence[str]
    labels: NDArray[np.int64]
    n_classes: int
    input_size: int
    interpolation: str
    crop: CropName = "none"
    extra_features: NDArray[np.float32] | None = None
    sources: NDArray[np.int64] | None = None
    groups: NDArray[np.int64] | None = None
    weights: NDArray[np.float64] | None = None
    cells: NDArray[np.float32] | None = None

    @property
    def source_ids(self) -> NDArray[np.int64]:
        """The source of each image, shape (n,), int64; if sources are unknown, each image is one."""
        return np.arange(len(self)) if self.sources is None else self.sources

    @property
    def group_ids(self) -> NDArray[np.int64]:
        """The group of each image, shape (n,), int64; if groups are unknown, each source is one."""
        return self.source_ids if self.groups is None else self.groups

    @property
    def extra_columns(self) -> NDArray[np.float32]:
        """The extra features, shape (n, k), float32; k is 0 if there are none."""
        return np.zeros((len(self), 0), np.float32) if self.extra_features is None else self.extra_features

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.files)


@dataclass(frozen=True, kw_only=True)
class Epochs:
    """Consecutive epochs of a training: which images they draw, and in which batches.

    Attributes
    ----------
    first, number
        The first epoch, counted over all stages, and how many there are.
    steps
        Batches in an epoch, at most ceil(n / batch_size).
    batch_size, seed
        Images in a batch; the seed of order, views and mixing.
    sampling
        As of `bloodcell.data.sampling.Sampling`.
    mixup, cutmix
        As of `bloodcell.data.mixup.mix_batches`.
    """

    first: int = 0
    number: int = 1
    steps: int
    batch_size: int
    seed: int
    sampling: Sampling = "images"
    mixup: float = 0.0
    cutmix: float = 0.0

    @property
    def numbers(self) -> range:
        """The numbers of the epochs."""
        return range(self.first, self.first + self.number)

    def mixed(self, batches: Dataset) -> Dataset:
        """Mix the batches of all epochs."""
        first_batch = self.first * self.steps
        return mix_batches(batches, mixup=self.mixup, cutmix=self.cutmix, seed=self.seed, first_batch=first_batch)


def samples_of(
    images: ImageSet,
    rows: pd.DataFrame,
    *,
    input_size: int,
    interpolation: str,
    crop: CropName = "none",
    extra_features: NDArray[np.float32] | None = None,
    cells: NDArray[np.float32] | None = None,
) -> Samples:
    """Return files and labels of some rows of a set's manifest."""
    return Samples(
        files=images.files(rows),
        digests=rows["sha256"].tolist(),
        labels=images.class_indices(rows),
        n_classes=len(images.classes),
        input_size=input_size,
        interpolation=interpolation,
        crop=crop,
        extra_features=extra_features,
        cells=cells,
        sources=np.asarray(pd.factorize(rows["source"], sort=True)[0], np.int64),
        groups=np.asarray(pd.factorize(rows["group"], sort=True)[0], np.int64),
    )


def evaluation_batches(samples: Samples, *, batch_size: int, orientation: int = 0) -> Dataset:
    """Return every image once, in order and in one orientation (`bloodcell.data.orientations.orient`).

    Returns
    -------
    tf.data.Dataset
        Batches of images (batch, size, size, 3), float32 in [0, 255], or pairs of them and the extra features
        (batch, k), float32, if there are any; one-hot labels (batch, n_classes), float32; and the weights of the
        images, (batch,), float32, if there are any. The last batch may be smaller.
    """
    files = [os.fspath(file) for file in samples.files]
    labels = tf.one_hot(samples.labels, samples.n_classes)

    def load(file: Tensor, extra: Tensor, label: Tensor) -> tuple[Any, Tensor]:
        image = _load(file, samples)
        return _inputs(orient(image, orientation) if orientation else image, extra), label

    chosen = tf.data.Dataset.from_tensor_slices((files, samples.extra_columns, labels))
    loaded = chosen.map(load, num_parallel_calls=N_READERS, deterministic=True)
    return with_weights(without_autotune(loaded.batch(batch_size).prefetch(2)), samples, batch_size=batch_size)


def training_batches(samples: Samples, epochs: Epochs, *, augmentation: Augmentation) -> Dataset:
    """Return the batches of several epochs: augmented images, shuffled or sampled by source.

    Order and pixels depend only on images, ``epochs.seed`` and the number of the epoch: epoch e has view e + 1 of an
    image. If an epoch has an image several times, its views differ.

    Returns
    -------
    tf.data.Dataset
        ``epochs.number`` times ``epochs.steps`` batches as of `evaluation_batches`; no batch spans two epochs.
    """
    files = tf.constant([os.fspath(file) for file in samples.files])
    labels, extra = tf.one_hot(samples.labels, samples.n_classes), tf.constant(samples.extra_columns)
    keys, seed, cell_at = _keys(samples), epochs.seed, _cell_at(samples)
    source_orders = None
    if epochs.sampling == "photographs":
        orders = [source_order(samples, seed=seed, epoch=epoch) for epoch in epochs.numbers]
        earlier = [pd.Series(order).groupby(order).cumcount() for order in orders]  # occurrences of the same image
        source_orders = tf.constant(np.array(list(zip(orders, earlier, strict=True)), np.int64))

    def one_epoch(epoch: Tensor) -> Dataset:
        if source_orders is None:
            order = tf.random.experimental.stateless_shuffle(
                tf.range(len(samples)), seed=tf.stack([tf.cast(seed, tf.int64), epoch])
            )
            drawn = (order, tf.zeros(len(samples), tf.int64))
        else:
            drawn = tuple(tf.unstack(source_orders[epoch - epochs.first]))

        def view(index: Tensor, again: Tensor) -> tuple[Tensor, Tensor]:
            image = _load(files[index], samples)
            if augmentation.changes:
                view_seed = _view_seed(seed, key=keys[index], view=epoch + 1 + again * _REPEAT_STRIDE)
                image = augment(image, augmentation=augmentation, seed=view_seed, cell=cell_at(index))
            return _inputs(image, extra[index]), labels[index]

        in_order = tf.data.Dataset.from_tensor_slices(drawn)
        made = in_order.map(view, num_parallel_calls=N_READERS, deterministic=True).batch(epochs.batch_size)
        return made.take(epochs.steps)

    batches = tf.data.Dataset.range(epochs.first, epochs.first + epochs.number).flat_map(one_epoch)
    return without_autotune(epochs.mixed(batches).prefetch(2))


def source_order(samples: Samples, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the indices of an epoch that is sampled by source, shape (n,)."""
    return sample_sources(samples.labels, samples.source_ids, np.random.default_rng([seed, epoch, 1]))


def view_batches(
    samples: Samples,
    *,
    indices: NDArray[np.int64],
    views: NDArray[np.int64],
    augmentation: Augmentation | Orientations,
    seed: int,
    batch_size: int,
) -> Dataset:
    """Return chosen views of chosen images, in order; refuse an image whose digest has changed.

    ``indices`` and ``views`` are indices of images and numbers of their views, shape (n,); if the augmentation changes
    nothing, every view is the image itself. Batches are images (batch, size, size, 3), float32 in [0, 255]; the last
    one may be smaller.
    """
    files, digests = tf.constant([os.fspath(file) for file in samples.files]), tf.constant(samples.digests)
    keys, cell_at = _keys(samples), _cell_at(samples)

    def view(index: Tensor, number: Tensor) -> Tensor:
        image = _load(files[index], samples, digest=digests[index])
        if isinstance(augmentation, Orientations):
            return orient(image, number)
        if augmentation.changes:
            view_seed = _view_seed(seed, key=keys[index], view=number)
            image = augment(image, augmentation=augmentation, seed=view_seed, cell=cell_at(index))
        return image

    chosen = tf.data.Dataset.from_tensor_slices((indices, views))
    made = chosen.map(view, num_parallel_calls=N_READERS, deterministic=True).batch(batch_size)
    return without_autotune(made.prefetch(2))


def views(
    samples: Samples, *, index: int, augmentation: Augmentation, seed: int, n_views: int
) -> list[NDArray[np.uint8]]:
    """Return the image with this index and its first training views.

    Returns
    -------
    list of n_views + 1 ndarrays of shape (size, size, 3), uint8
    """
    pixels = crop(read_image(samples.files[index]), samples.crop)
    image = resize(pixels, input_size=samples.input_size, interpolation=samples.interpolation)
    key, cell = _keys(samples)[index], _cell_at(samples)(index)
    made = [
        augment(image, augmentation=augmentation, seed=_view_seed(seed, key=key, view=view), cell=cell)
        for view in range(1, n_views + 1)
    ]
    return [tf.cast(tf.round(view), tf.uint8).numpy() for view in (image, *made)]


def unreadable(error: tf.errors.OpError) -> str | None:
    """Return which image cannot be read and why, if that is the error; else None."""
    _, found, rest = str(error).partition(f"{UnreadableImage.__name__}: ")
    return rest.splitlines()[0] if found else None


def with_weights(batches: Dataset, samples: Samples, *, batch_size: int) -> Dataset:
    """Add the samples' weights, if any, to pairs of inputs and labels."""
    if samples.weights is None:
        return batches
    each = tf.data.Dataset.from_tensor_slices(samples.weights.astype(np.float32)).batch(batch_size)
    return without_autotune(tf.data.Dataset.zip(batches, each).map(lambda batch, weight: (*batch, weight)))


def without_autotune(dataset: Dataset) -> Dataset:
    """Turn off TensorFlow's autotuning of a pipeline.

    With autotuning, a pipeline that stops before its end waits for the next tuning step: ten seconds or more after a
    training of one minute.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def resize(image: Tensor, *, input_size: int, interpolation: str) -> Tensor:
    """Resize images to a square, as a saved model does: float32 in [0, 255], not rounded."""
    resized = tf.image.resize(image, (input_size, input_size), method=interpolation)
    return tf.clip_by_value(tf.cast(resized, tf.float32), 0.0, 255.0)


def _keys(samples: Samples) -> Tensor:
    """Return a hash of each image's content, shape (n,), int64."""
    numbers = [int.from_bytes(bytes.fromhex(digest[:16]), "big", signed=True) for digest in samples.digests]
    return tf.constant(numbers, tf.int64)


def _cell_at(samples: Samples) -> Callable[[Any], Tensor | None]:
    """Return a function from the index of an image to where its cell is."""
    if samples.cells is None:
        return lambda _: None
    cells = tf.constant(samples.cells)
    return lambda index: cells[index]


def _view_seed(seed: int, *, key: Tensor, view: Tensor) -> Tensor:
    """Return TensorFlow's pair of seeds for the seed, key and number of a view."""
    pair = tf.stack([tf.cast(seed, tf.int64), tf.cast(view, tf.int64)])
    return tf.random.experimental.stateless_fold_in(pair, key)


def _inputs(image: Tensor, extra: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    """Return a model's inputs: the image, with its extra features if there are any."""
    return (image, extra) if extra.shape[-1] else image


def _load(file: Tensor, samples: Samples, *, digest: Tensor | str = "") -> Tensor:
    def read(file: bytes, digest: bytes) -> NDArray[np.uint8]:
        try:
            address = address_of(file)
            data = read_file(address.file)
            if digest:
                _require_unchanged(address.digest(hashlib.sha256(data).hexdigest()), digest)
            return crop(decode_image(data, page=address.page, bits=address.bits), samples.crop)
        except UnreadableImage as error:
            raise UnreadableImage(f"{os.fsdecode(file)}: {error}") from error

    # stateful=False: a file always gives the same pixels, so TensorFlow can read files in parallel.
    image = tf.numpy_function(read, [file, digest], tf.uint8, stateful=False)
    image.set_shape((None, None, 3))
    return resize(image, input_size=samples.input_size, interpolation=samples.interpolation)


def _require_unchanged(found: str, digest: bytes) -> None:
    if found.encode() != digest:
        raise UnreadableImage("the file was changed during the run; start again")
