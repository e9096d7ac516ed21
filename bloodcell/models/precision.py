"""Mixed precision: layers compute in 16 bits and keep their weights in 32."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf


@contextmanager
def precision(*, mixed: bool) -> Iterator[None]:
    """Build the layers inside the block in mixed precision, or in single precision.

    Mixed means float16 on a GPU, and bfloat16 on a CPU, which has no fast float16.
    """
    before = keras.config.dtype_policy()
    half = "mixed_float16" if tf.config.list_physical_devices("GPU") else "mixed_bfloat16"
    keras.config.set_dtype_policy(half if mixed else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
