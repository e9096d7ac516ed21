"""Loading weights files, and digests of weights."""

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
        If it is not a weights file of this model.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # a warning for each layer that is not in the file
            model.load_weights(path)
    except Exception as error:  # h5py and Keras raise any error of their parsers
        raise ValueError(f"not weights of {model.name}: {' '.join(str(error).split())[:200]}") from error


def digest_of(weights: Iterable[NDArray[np.generic]]) -> str:
    """Return 16 hexadecimal digits that identify weights, whatever file they are from."""
    digest = hashlib.sha256()
    for weight in weights:
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()[:16]
