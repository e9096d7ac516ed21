"""The same seed gives the same numbers."""

import keras
import tensorflow as tf


def make_deterministic(seed: int) -> None:
    """Seed every source of randomness, and have TensorFlow use deterministic operations only.

    Keras's automatic layer names start over too, so that a second run in one process builds the very same model.
    """
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
