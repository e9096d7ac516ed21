"""Looking into the stores that commands have filled."""

import os
from pathlib import Path

import mlflow
from mlflow.entities import Run


def runs_in(folder: Path) -> list[Run]:
    """Return the runs of the embedded store in a folder, the oldest first."""
    return runs_at(f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}")


def look_into(folder: Path) -> None:
    """Have MLflow's own functions use the embedded store in a folder, whatever test came before."""
    _use(f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}")


def runs_at(uri: str) -> list[Run]:
    """Return the runs of a store, the oldest first."""
    _use(uri)
    return mlflow.search_runs(
        experiment_names=["bloodcell"], output_format="list", order_by=["attributes.start_time ASC"]
    )


def artifacts_of(run: Run) -> Path:
    """Return the folder of a run's artifacts in an embedded store."""
    return Path(run.info.artifact_uri.removeprefix("file://"))


def model_address(run: Run) -> str:
    """Return MLflow's address of a run's model."""
    (output,) = run.outputs.model_outputs
    return f"models:/{output.model_id}"


def _use(uri: str) -> None:
    mlflow.set_tracking_uri(uri)
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # which MLflow sets too, for whoever comes next
