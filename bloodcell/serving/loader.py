"""The loader of saved models for ``mlflow.pyfunc.load_model`` and ``mlflow models serve``.

The input is a data frame whose column ``image`` has the bytes of image files; over HTTP, in base64.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bloodcell.errors import UserError
from bloodcell.serving.prediction import (
    SERVING_FILES,
    ServingParameters,
    load_serving_parameters,
    pixels_of,
    predict_images,
)

KERAS_FILE = "data/model.keras"
"""Where MLflow puts the Keras model in the folder of a model."""
IMAGE = "image"
MAX_ERROR = "max_error"
DIGESTS = "sha256"
"""The entry in the metadata of a model with the SHA-256 of its files; models of earlier versions have none."""
NO_LIMIT = 1.0
MAX_REQUEST = 1_000_000_000
"""Most pixels of all images of a request: more would occupy the server for minutes."""


class ServedModel:
    """A model with the interface of MLflow.

    Attributes
    ----------
    model
        The Keras model, from raw RGB (batch, height, width, 3), uint8, to probabilities.
    serving
        Its calibration, held-out predictions and novelty detector.
    """

    def __init__(self, model: Any, serving: ServingParameters) -> None:
        self.model, self.serving = model, serving

    def predict(self, data: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return the table of `bloodcell.serving.prediction.predict_images`.

        Parameters
        ----------
        data
            The files' bytes in the column ``image``.
        params
            ``max_error``, as in `predict_images`; 1 is no limit.
        """
        from mlflow.exceptions import MlflowException

        max_error = (params or {}).get(MAX_ERROR, NO_LIMIT)
        limit = None if max_error == NO_LIMIT else max_error
        contents = data[IMAGE].tolist()
        n_pixels = sum(map(pixels_of, contents))
        if n_pixels > MAX_REQUEST:
            raise MlflowException.invalid_parameter_value(
                f"{IMAGE}: {n_pixels:,} pixels; send fewer images, at most {MAX_REQUEST:,} pixels a request"
            )
        try:
            return predict_images(self.model, self.serving, contents, max_error=limit)
        except UserError as error:  # the server responds with 400
            raise MlflowException.invalid_parameter_value(str(error)) from error

    def get_raw_model(self) -> Any:
        """Return the Keras model."""
        return self.model


def load_folder(folder: Path) -> ServedModel:
    """Load a model from the folder that MLflow keeps it in.

    Raises
    ------
    UserError
        If a file is not as it was saved, or may run code.
    """
    from bloodcell.models.saved import load_saved_model  # with Keras, which the parameters do not need

    serving = load_parameters(folder)
    return ServedModel(load_saved_model(folder / KERAS_FILE), serving)


def load_parameters(folder: Path) -> ServingParameters:
    """Read the classes, calibration and novelty of the model in a folder; see `load_folder`."""
    from mlflow.models import Model

    recorded = (Model.load(str(folder)).metadata or {}).get(DIGESTS)
    if recorded is not None and (changed := dict(recorded.items() ^ digests_of(folder).items())):
        raise UserError(f"{min(changed)}: is not the file that was saved; download or train the model again")
    return load_serving_parameters(folder)


def digests_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the files that a model in a folder predicts with, by path."""
    files = [folder / name for name in (KERAS_FILE, *SERVING_FILES)]
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.is_file()
    }


def _load_pyfunc(path: str) -> ServedModel:  # MLflow's name for it
    return load_folder(Path(path))
