"""A model in MLflow's format: a folder that MLflow loads and serves, without code to import."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.utils import environment

from bloodcell.evaluation.predictions import PROBABILITY_PREFIX
from bloodcell.serving import loader
from bloodcell.serving.loader import DIGESTS, IMAGE, KERAS_FILE, MAX_ERROR, NO_LIMIT, digests_of
from bloodcell.serving.prediction import ServingParameters
from bloodcell.serving.wheel import build_wheel

PACKAGES = (
    *("tensorflow", "keras", "numpy", "pandas", "scipy", "scikit-learn", "pillow", "opencv-python-headless"),
    *("pydantic", "rich", "filelock"),
)
"""Requirements of a model at the versions that it was saved with, besides bloodcell's wheel."""
WHEELS = "wheels"
"""The folder of bloodcell's wheel in a model."""


def save_model(folder: Path, model: Any, *, serving: ServingParameters, example: bytes) -> None:
    """Write a model that MLflow loads and serves, without a tracking store.

    Parameters
    ----------
    folder
        A folder that is empty or does not exist.
    model
        The Keras model, from raw RGB (batch, height, width, 3), uint8, to probabilities (batch, k).
    serving
        Classes, calibration and novelty.
    example
        The content of an image file.
    """
    wheel, content = build_wheel()
    saved = Model()
    numbers = ["probability", "novelty", *(PROBABILITY_PREFIX + name for name in serving.classes)]
    with _without_check_of_requirements():
        mlflow.pyfunc.save_model(
            str(folder),
            loader_module=loader.__name__,
            mlflow_model=saved,
            signature=ModelSignature(
                inputs=Schema([ColSpec(DataType.binary, IMAGE)]),
                outputs=Schema(
                    [ColSpec(DataType.string, name) for name in ("answer", "why", "predicted")]
                    + [ColSpec(DataType.double, name) for name in numbers]
                    + [ColSpec(DataType.string, "evidence")]
                ),
                params=ParamSchema([ParamSpec(MAX_ERROR, DataType.double, NO_LIMIT)]),
            ),
            input_example=pd.DataFrame({IMAGE: [example]}),
            pip_requirements=[*(f"{package}=={version(package)}" for package in PACKAGES), f"{WHEELS}/{wheel}"],
            uv_project_path=str(folder),  # otherwise MLflow adds the uv project in the working folder
        )
    (folder / WHEELS).mkdir()
    (folder / WHEELS / wheel).write_bytes(content)
    (folder / KERAS_FILE).parent.mkdir()
    model.save(folder / KERAS_FILE)
    serving.save(folder)
    # `mlflow.tensorflow.save_model` would pickle all classes that are registered with Keras.
    saved.add_flavor(
        "tensorflow",
        code=None,
        data=str(Path(KERAS_FILE).parent),
        model_type="keras",
        keras_module="bloodcell",  # MLflow calls `bloodcell.models.load_model`
        keras_version=version("tensorflow"),  # MLflow's own name for it
        save_format="keras",
    )
    saved.metadata = {"classes": list(serving.classes), DIGESTS: digests_of(folder)}
    saved.save(str(folder / "MLmodel"))


@contextmanager
def _without_check_of_requirements() -> Iterator[None]:
    """Keep MLflow from comparing a model's requirements with the installed packages: they are those.

    It would read the metadata of all installed packages, which takes longer than saving the model.
    """
    check = environment.warn_dependency_requirement_mismatches
    environment.warn_dependency_requirement_mismatches = lambda _: None
    try:
        yield
    finally:
        environment.warn_dependency_requirement_mismatches = check
