"""Feeds: what a stage's model is, and the batches that it is trained and evaluated on.

What is frozen in a stage is computed once and stored, and the model begins where it ends; or images are read and
augmented on the fly, and the model begins with them.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bloodcell.console.progress import print_status
from bloodcell.data.augmentation import Augmentation
from bloodcell.data.mixup import mix_batches
from bloodcell.data.orientations import Orientations
from bloodcell.data.pipeline import (
    Dataset,
    Samples,
    evaluation_batches,
    source_sampled_order,
    training_batches,
    with_weights,
    without_autotune,
)
from bloodcell.data.sampling import Sampling
from bloodcell.models.classifier import Classifier
from bloodcell.training.feature_store import NoRoom
from bloodcell.training.features import Features, FeatureSource
from bloodcell.training.stages import Stage

log = logging.getLogger(__name__)

ON_THE_FLY = "on the fly"
MEASURED = "measured in the images, no network"
EVALUATION_BATCH_SIZE = 256
"""Rows of features that are evaluated at a time, or as many as `HANDED_OVER` allows."""
HANDED_OVER = 2**24
"""Bytes of features that are handed to TensorFlow at a time, or a batch where that is more."""


@dataclass(frozen=True, kw_only=True)
class Feed:
    """A stage's model and its batches.

    Attributes
    ----------
    model
        Not compiled; its weights are the classifier's.
    training
        Batches of all epochs, and one-hot labels (batch, n_classes), float32.
    validation
        The same, every image once, in order, and where images count differently what each counts (batch,), float32.
    said
        Where the model's input comes from, for people.
    steps_per_execution
        How many steps TensorFlow may take at once.
    """

    model: keras.Model
    training: Dataset
    validation: Dataset
    said: str
    steps_per_execution: int


@dataclass(frozen=True, kw_only=True)
class StageFeatures:
    """Features that a stage is trained on and validated with; None where everything is on the fly.

    Attributes
    ----------
    training, validation
        Of its images.
    said
        Where they come from, for people.
    """

    training: Features | None
    validation: Features | None
    said: str


def stage_features(
    classifier: Classifier,
    stage: Stage,
    *,
    source: FeatureSource | None,
    n_views: int,
    train_samples: Samples,
    val_samples: Samples,
    augmentation: Augmentation,
) -> StageFeatures:
    """Return what lies below a stage's boundary, where there is a frozen part and room for it.

    Without a network there is nothing below: then features have no columns but those that were measured.

    Parameters
    ----------
    classifier
        Frozen up to the stage's boundary.
    stage
        The stage.
    source
        Where stored features come from; None: everything on the fly.
    n_views
        How many views of an augmented image are stored; each epoch draws one.
    train_samples, val_samples, augmentation
        As for `stage_feed`.
    """
    if classifier.backbone.application is None:
        training, validation = no_features(train_samples), no_features(val_samples)
        return StageFeatures(training=training, validation=validation, said=MEASURED)
    why = ""
    if source is not None and classifier.has_frozen_part(stage.boundary):
        augmented = augmentation if augmentation.changes else None
        n_views = n_views if augmented else 1
        try:
            training = source.features(train_samples, boundary=stage.boundary, augmentation=augmented, n_views=n_views)
            validation = source.features(val_samples, boundary=stage.boundary)
        except NoRoom as error:
            why = f" ({error})"
            log.warning("%s: features are not stored: %s", stage.name, error)
            print_status(f"{stage.name}: features are not stored, each epoch computes them: {error}")
        else:
            said = f"stored ({source.engine}" + (f", {n_views} views of each image)" if augmented else ")")
            return StageFeatures(training=training, validation=validation, said=said)
    return StageFeatures(training=None, validation=None, said=f"{ON_THE_FLY}{why}")


def stage_feed(
    classifier: Classifier,
    stage: Stage,
    *,
    features: StageFeatures,
    train_samples: Samples,
    val_samples: Samples,
    augmentation: Augmentation,
    batch_size: int,
    seed: int,
    first_epoch: int,
    steps_per_epoch: int,
    sampling: Sampling = "images",
    mixup: float = 0.0,
    cutmix: float = 0.0,
    val_weights: NDArray[np.float64] | None = None,
) -> Feed:
    """Return what a stage is trained on: its features where there are any, else images on the fly.

    Parameters
    ----------
    classifier
        Frozen up to the stage's boundary.
    stage
        The stage.
    features
        As of `stage_features`.
    train_samples, val_samples, augmentation, batch_size, seed, first_epoch, steps_per_epoch, sampling, mixup, cutmix
        As for `bloodcell.data.pipeline.training_batches`; features are not cut.
    val_weights
        What each image of validation counts, shape (n,); None: all the same.
    """
    if features.training is not None and features.validation is not None:
        return Feed(
            model=classifier.trained_part(stage.boundary, train_statistics=stage.train_statistics),
            training=feature_batches(
                features.training,
                train_samples,
                batch_size=batch_size,
                seed=seed,
                first_epoch=first_epoch,
                epochs=stage.epochs,
                steps_per_epoch=steps_per_epoch,
                sampling=sampling,
                mixup=mixup,
            ),
            validation=with_weights(
                _in_order(features.validation, val_samples),
                val_weights,
                batch_size=_evaluated_at_once(features.validation),
            ),
            said=features.said,
            steps_per_execution=_divisor(steps_per_epoch),
        )
    return Feed(
        model=classifier.trainable_core(boundary=stage.boundary, train_statistics=stage.train_statistics),
        training=training_batches(
            train_samples,
            batch_size=batch_size,
            augmentation=augmentation,
            seed=seed,
            first_epoch=first_epoch,
            epochs=stage.epochs,
            steps_per_epoch=steps_per_epoch,
            sampling=sampling,
            mixup=mixup,
            cutmix=cutmix,
        ),
        validation=with_weights(
            evaluation_batches(val_samples, batch_size=batch_size), val_weights, batch_size=batch_size
        ),
        said=features.said,
        steps_per_execution=1,
    )


def no_features(samples: Samples) -> Features:
    """Return features without a column, where a head takes nothing but what was measured."""
    return Features(rows=np.zeros((len(samples), 0), np.float32), places=np.arange(len(samples))[:, None])


def head_rows(
    classifier: Classifier, features: Features | None, samples: Samples, *, batch_size: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return all that a head takes of samples while the whole backbone is frozen.

    Parameters
    ----------
    classifier
        Whose head.
    features
        As of `stage_features`: every view is taken. None: images as they are, through the network now.
    samples, batch_size
        The images, and how many go through the network at a time.

    Returns
    -------
    tuple
        Rows (n, width), float32, and which sample each is of, (n,).
    """
    if features is None:
        model = classifier.frozen_part(None)
        images = evaluation_batches(replace(samples, extra_features=None), batch_size=batch_size)
        rows = model.predict(images, verbose=0)[:, classifier.used(None)]
        features = Features(rows=rows, places=np.arange(len(samples))[:, None])
    n_views = features.places.shape[1]
    chosen = np.repeat(np.arange(len(samples)), n_views)
    return _rows(features, samples, chosen, features.places.ravel()), chosen


def evaluation_feed(
    classifier: Classifier,
    samples: Samples,
    *,
    boundary: int | None,
    source: FeatureSource | None,
    batch_size: int,
    orientation: int = 0,
) -> tuple[keras.Model, Dataset, int]:
    """Return a model, batches of images in order, and how many there are, to predict with.

    Parameters
    ----------
    classifier
        Whose weights above the boundary may have been trained.
    samples
        The images.
    boundary
        The lowest of its training.
    source
        As for `stage_feed`.
    batch_size
        Of images; features come in larger ones.
    orientation
        How the images are laid down, see `bloodcell.data.orientations.turn`.
    """
    features = no_features(samples) if classifier.backbone.application is None else None
    if source is not None and classifier.has_frozen_part(boundary):
        try:
            turns = Orientations() if orientation else None
            features = source.features(samples, boundary=boundary, augmentation=turns, n_views=max(orientation, 1))
        except NoRoom as error:
            log.warning("features are not stored: %s", error)
    if features is not None:
        n_batches = -(-len(samples) // _evaluated_at_once(features))
        return classifier.trained_part(boundary), _in_order(features, samples, view=-1), n_batches
    images = evaluation_batches(samples, batch_size=batch_size, orientation=orientation)
    return classifier.core, images, -(-len(samples) // batch_size)


def feature_batches(
    features: Features,
    samples: Samples,
    *,
    batch_size: int,
    seed: int,
    first_epoch: int,
    epochs: int,
    steps_per_epoch: int,
    sampling: Sampling = "images",
    mixup: float = 0.0,
) -> Dataset:
    """Return epoch after epoch, each one view of every image, drawn at random and shuffled.

    Or of as many images drawn by photograph. Which view and in which order depends on ``seed`` and the number of the
    epoch only. ``mixup`` is that of `bloodcell.data.mixup.mix_batches`.

    Returns
    -------
    tf.data.Dataset
        ``epochs`` times ``steps_per_epoch`` batches of features (batch, width) and one-hot labels (batch, n_classes),
        both float32.
    """

    def epoch(number: int) -> NDArray[np.int64]:
        n_samples, n_views = features.places.shape
        rng = np.random.default_rng([seed, number])
        if sampling == "photographs":
            order = source_sampled_order(samples, seed=seed, epoch=number)
        else:
            order = rng.permutation(n_samples)
        order = order[: steps_per_epoch * batch_size]
        views: NDArray[np.int64] = rng.integers(0, n_views, size=(len(order),))
        return np.stack([order, features.places[order, views]])

    numbers = range(first_epoch, first_epoch + epochs)
    drawn = [epoch(number) for number in numbers]
    batches = _batches(drawn, features, samples, batch_size=batch_size)
    made = mix_batches(batches, mixup=mixup, cutmix=0.0, seed=seed, first_batch=first_epoch * steps_per_epoch)
    return _finished(made, n_batches=epochs * steps_per_epoch)


def _in_order(features: Features, samples: Samples, *, view: int = 0) -> Dataset:
    everything = np.stack([np.arange(len(samples)), features.places[:, view]])
    batch_size = _evaluated_at_once(features)
    batches = _batches([everything], features, samples, batch_size=batch_size)
    return _finished(batches, n_batches=-(-len(samples) // batch_size))


def _evaluated_at_once(features: Features) -> int:
    row_bytes = 4 * max(int(features.rows.shape[1]), 1)
    return min(EVALUATION_BATCH_SIZE, max(1, HANDED_OVER // row_bytes))


def _batches(epochs: Sequence[NDArray[np.int64]], features: Features, samples: Samples, *, batch_size: int) -> Dataset:
    """Return batches of features and one-hot labels.

    Parameters
    ----------
    epochs
        The samples of each epoch and the places of their rows, shape (2, n); no batch spans two.
    features, samples
        What they are of.
    batch_size
        Samples a batch; the last of an epoch may have fewer.
    """
    one_hot = np.asarray(np.eye(samples.n_classes)[samples.labels], np.float32)
    width = features.rows.shape[1] + samples.extra_columns.shape[1]
    # Several batches are handed over at a time: one by one, handing over takes longer than training.
    at_once = max(1, HANDED_OVER // (batch_size * width * 4))

    def handed_over() -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        for chosen, places in epochs:
            n_full = len(chosen) // batch_size
            for start in range(0, n_full, at_once):
                part = slice(start * batch_size, min(start + at_once, n_full) * batch_size)
                rows = _rows(features, samples, chosen[part], places[part])
                yield (
                    rows.reshape(-1, batch_size, width),
                    one_hot[chosen[part]].reshape(-1, batch_size, one_hot.shape[1]),
                )
            if len(chosen) % batch_size:
                part = slice(n_full * batch_size, None)
                yield _rows(features, samples, chosen[part], places[part])[None], one_hot[chosen[part]][None]

    signature = tuple(tf.TensorSpec((None, None, size), tf.float32) for size in (width, one_hot.shape[1]))
    made = tf.data.Dataset.from_generator(handed_over, output_signature=signature)
    return made.flat_map(lambda *several: tf.data.Dataset.from_tensor_slices(several))


def _finished(batches: Dataset, *, n_batches: int) -> Dataset:
    """Say how many batches there will be, or Keras would look for the end, and complain of having found it."""
    return without_autotune(batches.apply(tf.data.experimental.assert_cardinality(n_batches)).prefetch(2))


def _rows(
    features: Features, samples: Samples, chosen: NDArray[np.int64], places: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return features and behind them what was measured, shape (n, width), of chosen samples, rows at given places."""
    rows = features.rows[places].astype(np.float32, copy=False)
    return rows if samples.extra_features is None else np.hstack([rows, samples.extra_features[chosen]])


def _divisor(steps: int) -> int:
    """Return the largest divisor up to 100: the steps of an epoch must come out even."""
    return max(divisor for divisor in range(1, min(steps, 100) + 1) if steps % divisor == 0)
