"""What MLflow loads a kept model with, to ask it for answers: ``mlflow.pyfunc.load_model``, ``mlflow models serve``.

Images come as the bytes of their files, in the column ``image`` of a data frame; over HTTP in base64.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bloodcell.errors import UserError
from bloodcell.serving.answering import Answering, answers, load_answering

IMAGE = "image"
MAX_ERROR = "max_error"
NO_LIMIT = 1.0


class ServedModel:
    """A model as MLflow asks it: the Keras model, and what it needs for its answers."""

    def __init__(self, model: Any, answering: Answering) -> None:
        self.model, self.answering = model, answering

    def predict(self, data: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return the table of `bloodcell.serving.answering.answers` for the files' bytes in the column ``image``.

        The parameter ``max_error`` is as there; 1, MLflow's default here, is no limit.
        """
        from mlflow.exceptions import MlflowException

        max_error = (params or {}).get(MAX_ERROR, NO_LIMIT)
        wanted = None if max_error == NO_LIMIT else max_error
        try:
            return answers(self.model, self.answering, data[IMAGE].tolist(), max_error=wanted)
        except UserError as error:  # an error of the caller is answered with 400
            raise MlflowException.invalid_parameter_value(str(error)) from error

    def get_raw_model(self) -> Any:
        """Return the Keras model: what MLflow's ``get_raw_model`` gives."""
        return self.model


def _load_pyfunc(path: str) -> ServedModel:  # MLflow's name for it
    import mlflow.tensorflow

    return ServedModel(mlflow.tensorflow.load_model(path), load_answering(Path(path)))
