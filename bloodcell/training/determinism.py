"""Deterministic training: the same seed gives the same results."""

import keras
import tensorflow as tf


def make_deterministic(seed: int) -> None:
    """Seed every random number generator, and allow TensorFlow deterministic operations only.

    Keras's automatic layer names restart too, so a second run in one process builds an identical model.
    """
    keras.backend.clear_session(free_memory=False)  # a collection of all garbage takes longer than building a head
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
