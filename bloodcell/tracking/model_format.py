"""Writing a model into a folder in MLflow's format, with everything that prediction and servers need."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd

import bloodcell
from bloodcell.evaluation.predictions import PROBABILITY_PREFIX
from bloodcell.serving import loader
from bloodcell.serving.loader import IMAGE, MAX_ERROR, NO_LIMIT
from bloodcell.serving.prediction import ServingParameters

PACKAGES = (
    *("tensorflow", "keras", "numpy", "pandas", "scipy", "scikit-learn", "pillow", "opencv-python-headless"),
    *("pydantic", "rich", "filelock"),
)


def save_model(folder: Path, model: Any, *, serving: ServingParameters, example: bytes) -> None:
    """Save."""
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, len(serving.classes)))]),
    )
    described = Model(metadata={"classes": list(serving.classes)})
    mlflow.tensorflow.save_model(
        model,
        path=str(folder),
        mlflow_model=described,
        signature=signature,
        input_example=pd.DataFrame({IMAGE: [example]}),
        pip_requirements=[f"{package}=={version(package)}" for package in PACKAGES],
        code_paths=[str(Path(bloodcell.__file__).parent)],
    )
    serving.save(folder)
    numbers = ["probability", "novelty", *(PROBABILITY_PREFIX + name for name in serving.classes)]
    described.signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, IMAGE)]),
        outputs=Schema(
            [ColSpec(DataType.string, name) for name in ("answer", "why", "predicted")]
            + [ColSpec(DataType.double, name) for name in numbers]
        ),
        params=ParamSchema([ParamSpec(MAX_ERROR, DataType.double, NO_LIMIT)]),
    )
    described.flavors["python_function"]["loader_module"] = loader.__name__
    del described.flavors["python_function"]["data"]
    described.save(str(folder / "MLmodel"))
