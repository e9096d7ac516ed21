"""Weights: from files, and what identifies them."""

import hashlib
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import keras


def load_weights_file(model: "keras.Model", path: Path) -> None:
    """Load a model's weights from a file that Keras wrote.

    Raises
    ------
    ValueError
        If it is not a weights file, or one of another model.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # one for each layer that is not in the file
            model.load_weights(path)
    except Exception as error:  # h5py and Keras raise whatever their parsers do
        raise ValueError(f"not weights of {model.name}: {' '.join(str(error).split())[:200]}") from error


def digest_of(weights: Iterable[NDArray[np.generic]]) -> str:
    """Return 16 hexadecimal digits of arrays of weights, in order: the same for the same weights in any file."""
    digest = hashlib.sha256()
    for weight in weights:
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()[:16]
