"""Data of a stage: its model, and the batches for training and validation.

Either the features of frozen layers are cached and are the model's input, or images are read and augmented on the fly.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bloodcell.console.progress import print_status
from bloodcell.data.orientations import Orientations
from bloodcell.data.pipeline import (
    Dataset,
    Epochs,
    Samples,
    evaluation_batches,
    source_order,
    training_batches,
    with_weights,
    without_autotune,
)
from bloodcell.models.classifier import Classifier
from bloodcell.training.feature_store import StoreFullError
from bloodcell.training.features import Features
from bloodcell.training.learner import Learner
from bloodcell.training.stages import Stage, lowest_boundary

log = logging.getLogger(__name__)

EVALUATION_BATCH_SIZE = 256
"""Rows of features in one evaluation; `MAX_BYTES` may allow fewer."""
MAX_BYTES = 2**24
"""Bytes of features that are passed to TensorFlow at a time; at least one batch is passed."""


@dataclass(frozen=True, kw_only=True)
class StageData:
    """A stage's model and its batches.

    Attributes
    ----------
    model
        Not compiled; it shares the classifier's weights.
    training
        Batches of all epochs, with one-hot labels (batch, n_classes), float32.
    validation
        Batches of every image once, in order, with weights of images (batch,), float32, if they differ.
    steps_per_execution
        Number of steps that TensorFlow runs at once.
    """

    model: keras.Model
    training: Dataset
    validation: Dataset
    steps_per_execution: int


@dataclass(frozen=True, kw_only=True)
class StageFeatures:
    """Features for training and validation of a stage; None: images are read on the fly.

    Attributes
    ----------
    training, validation
        The features.
    description
        Their origin.
    """

    training: Features | None
    validation: Features | None
    description: str


def stage_features(learner: Learner, stage: Stage, *, train_samples: Samples, val_samples: Samples) -> StageFeatures:
    """Return the features below a stage's boundary, if those layers have weights and the store has room."""
    classifier, cache, boundary = learner.classifier, learner.cache, stage.boundary
    if not classifier.backbone.takes_images:
        return StageFeatures(
            training=no_features(train_samples),
            validation=no_features(val_samples),
            description="hand-made, no network",
        )
    reason = ""
    if cache is not None and classifier.has_frozen_part(boundary):
        augmentation = learner.augmentation if learner.augmentation.changes else None
        n_views = learner.n_views if augmentation else 1
        try:
            return StageFeatures(
                training=cache.features(train_samples, boundary=boundary, augmentation=augmentation, n_views=n_views),
                validation=cache.features(val_samples, boundary=boundary),
                description=f"stored ({cache.engine}{f', {n_views} views of each image' if augmentation else ''})",
            )
        except StoreFullError as error:
            reason = f" ({error})"
            log.warning("%s: features are not stored: %s", stage.name, error)
            print_status(f"{stage.name}: features are not stored, each epoch computes them: {error}")
    return StageFeatures(training=None, validation=None, description=f"on the fly{reason}")


def stage_data(
    learner: Learner,
    stage: Stage,
    *,
    features: StageFeatures,
    train_samples: Samples,
    val_samples: Samples,
    first_epoch: int,
    n_epochs: int,
    steps_per_epoch: int,
) -> StageData:
    """Return a stage's model and batches, of features if there are any, else of images.

    Parameters
    ----------
    learner
        Its classifier is frozen up to the stage's boundary.
    stage
        The stage.
    features
        From `stage_features`.
    train_samples, val_samples
        The images.
    first_epoch, n_epochs, steps_per_epoch
        As ``first``, ``number`` and ``steps`` of `bloodcell.data.pipeline.Epochs`.
    """
    classifier, settings = learner.classifier, learner.settings
    epochs = Epochs(
        first=first_epoch,
        number=n_epochs,
        steps=steps_per_epoch,
        batch_size=settings.batch_size,
        seed=settings.seed,
        sampling=settings.sampling,
        mixup=settings.mixup,
        cutmix=settings.cutmix,
    )
    if features.training is not None and features.validation is not None:
        return StageData(
            model=classifier.trained_part(stage.boundary, train_statistics=stage.train_statistics),
            training=feature_batches(features.training, train_samples, epochs),
            validation=_in_order(features.validation, val_samples),
            steps_per_execution=_divisor(steps_per_epoch),
        )
    return StageData(
        model=classifier.trainable_core(boundary=stage.boundary, train_statistics=stage.train_statistics),
        training=training_batches(train_samples, epochs, augmentation=learner.augmentation),
        validation=evaluation_batches(val_samples, batch_size=settings.batch_size),
        steps_per_execution=1,
    )


def no_features(samples: Samples) -> Features:
    """Return features with no columns, for a head that uses extra features only."""
    return Features(rows=np.zeros((len(samples), 0), np.float32), places=np.arange(len(samples))[:, None])


def head_rows(
    classifier: Classifier, features: Features | None, samples: Samples, *, batch_size: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the input rows of a head if the whole backbone is frozen.

    Parameters
    ----------
    classifier
        The classifier.
    features
        From `stage_features`; every view is used. None: they are computed now, without augmentation.
    samples, batch_size
        The images, and the number of images per batch.

    Returns
    -------
    tuple
        Rows (n, width), float32, and the index of each row's sample, (n,).
    """
    if features is None:
        model = classifier.frozen_part(None)
        images = evaluation_batches(replace(samples, extra_features=None, weights=None), batch_size=batch_size)
        rows = model.predict(images, verbose=0)[:, classifier.used_columns(None)]
        features = Features(rows=rows, places=np.arange(len(samples))[:, None])
    n_views = features.places.shape[1]
    chosen = np.repeat(np.arange(len(samples)), n_views)
    return _rows(features, samples, chosen, features.places.ravel()), chosen


def evaluation_features(learner: Learner, samples: Samples, *, orientation: int = 0) -> Features | None:
    """Return the features below all stages' boundaries, or None: images are read on the fly.

    The last view is the image oriented as by `bloodcell.data.orientations.orient`.
    """
    classifier = learner.classifier
    boundary = lowest_boundary(learner.stages)
    if learner.cache is not None and classifier.has_frozen_part(boundary):
        try:
            flips = Orientations() if orientation else None
            return learner.cache.features(samples, boundary=boundary, augmentation=flips, n_views=max(orientation, 1))
        except StoreFullError as error:
            log.warning("features are not stored: %s", error)
    return None if classifier.backbone.takes_images else no_features(samples)


def evaluation_data(
    learner: Learner, samples: Samples, *, features: Features | None, orientation: int = 0
) -> tuple[keras.Model, Dataset, int]:
    """Return a model for prediction, batches of its inputs in the order of the images, and their number.

    ``features`` are those of `evaluation_features`, with the same orientation.
    """
    classifier, batch_size = learner.classifier, learner.settings.batch_size
    if features is not None:
        n_batches = -(-len(samples) // _evaluation_batch_size(features))
        model = classifier.trained_part(lowest_boundary(learner.stages))
        return model, _in_order(features, samples, view=-1), n_batches
    images = evaluation_batches(samples, batch_size=batch_size, orientation=orientation)
    return classifier.core, images, -(-len(samples) // batch_size)


def feature_batches(features: Features, samples: Samples, epochs: Epochs) -> Dataset:
    """Return shuffled batches of all epochs; an epoch has a random view of every image.

    With ``sampling=photographs`` an epoch has as many images, drawn by photograph. Views and order depend only on the
    seed and the number of the epoch.

    Returns
    -------
    tf.data.Dataset
        ``epochs.number`` times ``epochs.steps`` batches of features (batch, width) and one-hot labels (batch,
        n_classes), both float32.
    """
    drawn = [draw(features, samples, epochs, number) for number in epochs.numbers]
    batches = _batches(drawn, features, samples, batch_size=epochs.batch_size)
    return _finished(replace(epochs, cutmix=0.0).mixed(batches), n_batches=epochs.number * epochs.steps)


def draw(features: Features, samples: Samples, epochs: Epochs, number: int) -> NDArray[np.int64]:
    """Return the indices of the samples of an epoch, and of their rows, shape (2, n)."""
    n_samples, n_views = features.places.shape
    rng = np.random.default_rng([epochs.seed, number])
    if epochs.sampling == "photographs":
        order = source_order(samples, seed=epochs.seed, epoch=number)
    else:
        order = rng.permutation(n_samples)
    order = order[: epochs.steps * epochs.batch_size]
    views: NDArray[np.int64] = rng.integers(0, n_views, size=(len(order),))
    return np.stack([order, features.places[order, views]])


def blocks(
    drawn: NDArray[np.int64], features: Features, samples: Samples, *, batch_size: int
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Yield batches, several at a time: rows (batches, batch, width), and the indices of the samples (batches, batch).

    Parameters
    ----------
    drawn
        The indices of samples and of their rows, shape (2, n), such as from `draw`.
    features, samples
        The features and their images.
    batch_size
        Samples per batch; the last batch may have fewer.
    """
    chosen, places = drawn
    width = features.rows.shape[1] + samples.extra_columns.shape[1]
    # Several batches at a time: passing single batches to TensorFlow takes longer than training.
    at_once = max(1, MAX_BYTES // max(batch_size * width * 4, 1)) * batch_size
    n_full = len(chosen) // batch_size * batch_size
    for start in range(0, n_full, at_once):
        part = slice(start, min(start + at_once, n_full))
        rows = _rows(features, samples, chosen[part], places[part])
        yield rows.reshape(-1, batch_size, width), chosen[part].reshape(-1, batch_size)
    if n_full < len(chosen):
        part = slice(n_full, None)
        yield _rows(features, samples, chosen[part], places[part])[None], chosen[part][None]


def in_order(features: Features, *, view: int = 0) -> NDArray[np.int64]:
    """Return what `draw` returns, of one view of every sample in order."""
    return np.stack([np.arange(len(features.places)), features.places[:, view]])


def _in_order(features: Features, samples: Samples, *, view: int = 0) -> Dataset:
    everything = in_order(features, view=view)
    batch_size = _evaluation_batch_size(features)
    batches = _batches([everything], features, samples, batch_size=batch_size)
    finished = _finished(batches, n_batches=-(-len(samples) // batch_size))
    return with_weights(finished, samples, batch_size=batch_size)


def _evaluation_batch_size(features: Features) -> int:
    row_bytes = 4 * max(int(features.rows.shape[1]), 1)
    return min(EVALUATION_BATCH_SIZE, max(1, MAX_BYTES // row_bytes))


def _batches(epochs: Sequence[NDArray[np.int64]], features: Features, samples: Samples, *, batch_size: int) -> Dataset:
    """Return batches of features and one-hot labels; no batch spans two of the ``epochs``, each as for `blocks`."""
    one_hot = one_hot_of(samples)

    def batches() -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        for drawn in epochs:
            for rows, chosen in blocks(drawn, features, samples, batch_size=batch_size):
                yield rows, one_hot[chosen]

    width = features.rows.shape[1] + samples.extra_columns.shape[1]
    signature = tuple(tf.TensorSpec((None, None, size), tf.float32) for size in (width, one_hot.shape[1]))
    made = tf.data.Dataset.from_generator(batches, output_signature=signature)
    return made.flat_map(lambda *several: tf.data.Dataset.from_tensor_slices(several))


def one_hot_of(samples: Samples) -> NDArray[np.float32]:
    """Return one-hot labels (n, n_classes)."""
    return np.asarray(np.eye(samples.n_classes)[samples.labels], np.float32)


def _finished(batches: Dataset, *, n_batches: int) -> Dataset:
    """Set the number of batches; otherwise Keras warns when it reaches the end."""
    return without_autotune(batches.apply(tf.data.experimental.assert_cardinality(n_batches)).prefetch(2))


def _rows(
    features: Features, samples: Samples, chosen: NDArray[np.int64], places: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return features followed by extra features of chosen samples, shape (n, width)."""
    rows = features.rows[places].astype(np.float32, copy=False)
    return rows if samples.extra_features is None else np.hstack([rows, samples.extra_features[chosen]])


def _divisor(steps: int) -> int:
    """Return the largest divisor up to 100, because an epoch must be a whole number of executions."""
    return max(divisor for divisor in range(1, min(steps, 100) + 1) if steps % divisor == 0)
