"""The loader of saved models for ``mlflow.pyfunc.load_model`` and ``mlflow models serve``.

The input is a data frame whose column ``image`` has the bytes of image files; over HTTP, in base64.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bloodcell.errors import UserError
from bloodcell.serving.prediction import ServingParameters, load_serving_parameters, predict_images

KERAS_FILE = "data/model.keras"
"""Where MLflow puts the Keras model in the folder of a model."""
IMAGE = "image"
MAX_ERROR = "max_error"
NO_LIMIT = 1.0


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
        try:
            return predict_images(self.model, self.serving, data[IMAGE].tolist(), max_error=limit)
        except UserError as error:  # the server responds with 400
            raise MlflowException.invalid_parameter_value(str(error)) from error

    def get_raw_model(self) -> Any:
        """Return the Keras model."""
        return self.model


def _load_pyfunc(path: str) -> ServedModel:  # MLflow's name for it
    from bloodcell.models.saved import load_saved_model

    return ServedModel(load_saved_model(Path(path, KERAS_FILE)), load_serving_parameters(Path(path)))
