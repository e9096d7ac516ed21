"""Probabilities of a trained head on stored features, without building and tracing a Keras model."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bloodcell.console.progress import track
from bloodcell.data.pipeline import Samples
from bloodcell.models.heads import Head
from bloodcell.training.features import Features

BATCH_SIZE = 256
"""Rows at a time: the head is called once for each."""


def head_probabilities(head: Head, features: Features, samples: Samples, *, description: str) -> NDArray[np.float32]:
    """Return a head's probabilities for the last view of every image, in order, shape (n, n_classes).

    Parameters
    ----------
    head
        Its inputs are the features' columns, followed by the samples' extra features.
    features
        Of a backbone that is completely frozen.
    samples
        The n images.
    description
        What progress shows.
    """
    places = features.places[:, -1]

    def computed() -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(samples), BATCH_SIZE):
            part = slice(start, start + BATCH_SIZE)
            rows = features.rows[places[part]].astype(np.float32, copy=False)
            if samples.extra_features is not None:
                rows = np.hstack([rows, samples.extra_features[part]])
            yield head.classify(tf.constant(rows)).numpy()

    return np.concatenate([*track(computed(), description, total=-(-len(samples) // BATCH_SIZE))])
