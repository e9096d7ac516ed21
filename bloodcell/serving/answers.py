"""Answers to requests in MLflow's format, by MLflow's own functions."""

import io
import json
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel
from mlflow.pyfunc.scoring_server import SUPPORTED_FORMATS, infer_and_parse_data, predictions_to_json

from bloodcell.errors import one_line
from bloodcell.serving.limits import Deadline, Limits, RefusedRequest
from bloodcell.serving.loader import IMAGE
from bloodcell.serving.prediction import BATCH, pixels_of

PATH = "path"
"""A column that a request may have besides ``image``: it is the first of a CSV."""


def answered(model: PyFuncModel, body: bytes, *, limits: Limits, deadline: Deadline) -> tuple[pd.DataFrame, pd.Series]:
    """Return the predictions of a request, and the names of its images.

    Parameters
    ----------
    model
        Has the image files' bytes in its column ``image``.
    body
        JSON with one of MLflow's formats, such as ``dataframe_split``, and ``params``.

    Returns
    -------
    DataFrame, Series
        As `bloodcell.serving.prediction.predict_images`; the column ``path`` of the request, empty without one.

    Raises
    ------
    RefusedRequest
        If the request is not of this format, or beyond the limits.
    """
    document, data = _parsed(model, body)
    limits.require_images(len(data))
    limits.require_pixels(sum(map(pixels_of, data[IMAGE])))
    parts = []
    for start in range(0, max(len(data), 1), BATCH):  # of the size in which the model predicts them
        deadline.check()
        parts.append(_predicted(model, data.iloc[start : start + BATCH], document.get("params")))
    names = data[PATH].astype(str) if PATH in data else pd.Series("", index=data.index)
    return pd.concat(parts, ignore_index=True), names.reset_index(drop=True)


def as_json(table: pd.DataFrame) -> str:
    """Return predictions as MLflow does; a number that is unknown is null, as JSON has no NaN."""
    buffer = io.StringIO()
    predictions_to_json(table.astype(object).where(table.notna(), None), buffer)
    return buffer.getvalue()


def as_csv(table: pd.DataFrame, names: pd.Series) -> str:
    """Return predictions as the CSV of ``bloodcell predict``."""
    safe = names.map(lambda name: f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name)
    return table.assign(**{PATH: safe})[[PATH, *table.columns]].to_csv(index=False)


def _parsed(model: PyFuncModel, body: bytes) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return the JSON of a request, and its table with the images' bytes."""
    try:
        document = json.loads(body)
        given = {key: value for key, value in document.items() if key in SUPPORTED_FORMATS}
        data = pd.DataFrame(infer_and_parse_data(given, model.metadata.get_input_schema()))
        is_bytes = data[IMAGE].map(lambda content: isinstance(content, bytes)).all()
    except AttributeError as error:
        raise RefusedRequest(
            400, "the body is no JSON object; send dataframe_split as for mlflow models serve"
        ) from error
    except RecursionError as error:
        raise RefusedRequest(400, "the body is nested too deeply") from error
    except KeyError as error:
        raise RefusedRequest(400, f"the body has no column {error.args[0]}; it needs {IMAGE}") from error
    except Exception as error:  # any error of parsers in MLflow and pandas
        raise RefusedRequest(400, _short(error)) from error
    if not is_bytes:
        raise RefusedRequest(400, f"{IMAGE}: is no image file in base64")
    return document, data


def _predicted(model: PyFuncModel, data: pd.DataFrame, params: Any) -> pd.DataFrame:
    try:
        return pd.DataFrame(model.predict(data, params=params))
    except MlflowException as error:
        raise RefusedRequest(min(error.get_http_status_code(), 500), _short(error)) from error


def _short(error: Exception) -> str:
    """Return the first line of an error: those of MLflow go on with the request, or a traceback."""
    lines = str(error).strip().splitlines()
    return one_line(ValueError(lines[0])) if lines else type(error).__name__
