"""Feeds: what a stage's model is, and the batches that it is trained and evaluated on.

What is frozen in a stage is computed once and stored, and the model begins where it ends; or images are read and
augmented on the fly, and the model begins with them.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bloodcell.data.augmentation import Augmentation
from bloodcell.data.pipeline import Dataset, Samples, evaluation_batches, settled, training_batches
from bloodcell.models.classifier import Classifier
from bloodcell.progress import say
from bloodcell.training.feature_store import NoRoom
from bloodcell.training.features import Features, FeatureSource
from bloodcell.training.stages import Stage

log = logging.getLogger(__name__)

ON_THE_FLY = "on the fly"
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
        The same, every image once, in order.
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


def stage_feed(
    classifier: Classifier,
    stage: Stage,
    *,
    source: FeatureSource | None,
    n_views: int,
    train_samples: Samples,
    val_samples: Samples,
    augmentation: Augmentation,
    batch_size: int,
    seed: int,
    first_epoch: int,
    steps_per_epoch: int,
) -> Feed:
    """Return what a stage is trained on: stored features where there is a frozen part and room for them.

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
    train_samples, val_samples, augmentation, batch_size, seed, first_epoch, steps_per_epoch
        As for `bloodcell.data.pipeline.training_batches`.
    """
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
            say(f"{stage.name}: features are not stored, each epoch computes them: {error}")
        else:
            return Feed(
                model=classifier.trained_part(stage.boundary, train_statistics=stage.train_statistics),
                training=feature_batches(
                    training,
                    train_samples,
                    batch_size=batch_size,
                    seed=seed,
                    first_epoch=first_epoch,
                    epochs=stage.epochs,
                    steps_per_epoch=steps_per_epoch,
                ),
                validation=_in_order(validation, val_samples),
                said=f"stored ({source.engine}" + (f", {n_views} views of each image)" if augmented else ")"),
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
        ),
        validation=evaluation_batches(val_samples, batch_size=batch_size),
        said=f"{ON_THE_FLY}{why}",
        steps_per_execution=1,
    )


def evaluation_feed(
    classifier: Classifier, samples: Samples, *, boundary: int | None, source: FeatureSource | None, batch_size: int
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
    """
    if source is not None and classifier.has_frozen_part(boundary):
        try:
            features = source.features(samples, boundary=boundary)
        except NoRoom as error:
            log.warning("features are not stored: %s", error)
        else:
            n_batches = -(-len(samples) // _evaluated_at_once(features))
            return classifier.trained_part(boundary), _in_order(features, samples), n_batches
    return classifier.core, evaluation_batches(samples, batch_size=batch_size), -(-len(samples) // batch_size)


def feature_batches(
    features: Features,
    samples: Samples,
    *,
    batch_size: int,
    seed: int,
    first_epoch: int,
    epochs: int,
    steps_per_epoch: int,
) -> Dataset:
    """Return epoch after epoch, each one view of every image, drawn at random and shuffled.

    Which view and in which order depends on ``seed`` and the number of the epoch only.

    Returns
    -------
    tf.data.Dataset
        ``epochs`` times ``steps_per_epoch`` batches of features (batch, width) and one-hot labels (batch, n_classes),
        both float32.
    """

    def epoch(number: int) -> NDArray[np.int64]:
        n_samples, n_views = features.places.shape
        rng = np.random.default_rng([seed, number])
        order = rng.permutation(n_samples)[: steps_per_epoch * batch_size]
        views: NDArray[np.int64] = rng.integers(0, n_views, size=(len(order),))
        return np.stack([order, features.places[order, views]])

    numbers = range(first_epoch, first_epoch + epochs)
    drawn = [epoch(number) for number in numbers]
    return _batches(drawn, features, samples, batch_size=batch_size, n_batches=epochs * steps_per_epoch)


def _in_order(features: Features, samples: Samples) -> Dataset:
    everything = np.stack([np.arange(len(samples)), features.places[:, 0]])
    batch_size = _evaluated_at_once(features)
    n_batches = -(-len(samples) // batch_size)
    return _batches([everything], features, samples, batch_size=batch_size, n_batches=n_batches)


def _evaluated_at_once(features: Features) -> int:
    row_bytes = 4 * int(features.rows.shape[1])
    return min(EVALUATION_BATCH_SIZE, max(1, HANDED_OVER // row_bytes))


def _batches(
    epochs: Sequence[NDArray[np.int64]], features: Features, samples: Samples, *, batch_size: int, n_batches: int
) -> Dataset:
    """Return batches of features and one-hot labels.

    Parameters
    ----------
    epochs
        The samples of each epoch and the places of their rows, shape (2, n); no batch spans two.
    features, samples
        What they are of.
    batch_size
        Samples a batch; the last of an epoch may have fewer.
    n_batches
        How many batches there will be.
    """
    one_hot = np.asarray(np.eye(samples.n_classes)[samples.labels], np.float32)
    width = features.rows.shape[1]
    # Several batches are handed over at a time: one by one, handing over takes longer than training.
    at_once = max(1, HANDED_OVER // (batch_size * width * 4))

    def handed_over() -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        for chosen, places in epochs:
            n_full = len(chosen) // batch_size
            for start in range(0, n_full, at_once):
                part = slice(start * batch_size, min(start + at_once, n_full) * batch_size)
                rows = features.rows[places[part]].astype(np.float32, copy=False)
                yield (
                    rows.reshape(-1, batch_size, width),
                    one_hot[chosen[part]].reshape(-1, batch_size, one_hot.shape[1]),
                )
            if len(chosen) % batch_size:
                part = slice(n_full * batch_size, None)
                yield features.rows[places[part]].astype(np.float32, copy=False)[None], one_hot[chosen[part]][None]

    signature = tuple(tf.TensorSpec((None, None, size), tf.float32) for size in (width, one_hot.shape[1]))
    made = tf.data.Dataset.from_generator(handed_over, output_signature=signature)
    made = made.flat_map(lambda *several: tf.data.Dataset.from_tensor_slices(several))
    # Or Keras would look for the end, and complain of having found it.
    return settled(made.apply(tf.data.experimental.assert_cardinality(n_batches)).prefetch(2))


def _divisor(steps: int) -> int:
    """Return the largest divisor up to 100: the steps of an epoch must come out even."""
    return max(divisor for divisor in range(1, min(steps, 100) + 1) if steps % divisor == 0)
