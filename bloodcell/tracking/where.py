"""Printing where a run is: MLflow UI, output folder, log."""

from typing import Any

from rich.console import Console

from bloodcell.config.tracking import TrackingConfig
from bloodcell.console.logs import log_file
from bloodcell.tracking.run import TrackedRun
from bloodcell.tracking.store import Store


def mlflow_ui(tracking: TrackingConfig, store: Store) -> str:
    """Return how to open the MLflow UI: the address of a server, or the command that serves the store."""
    if store.is_server:
        return store.label
    default = "" if tracking.dir == "mlruns" else f" tracking.dir={tracking.dir}"
    return f"bloodcell ui{default if tracking.uri is None else f' tracking.uri={store.label}'}"


def run_data(tracked: TrackedRun, tracking: TrackingConfig) -> dict[str, Any]:
    """Return the ids and paths of a run for a JSON document."""
    return {
        "run_id": tracked.run_id,
        "experiment_id": tracked.experiment_id,
        "delivered": tracked.delivery.complete,
        "tracking": tracked.store.label,
        "mlflow_ui": mlflow_ui(tracking, tracked.store),
        "folder": tracked.folder.absolute(),
        "log": log_file(),
    }


def show_places(tracked: TrackedRun, tracking: TrackingConfig, console: Console) -> None:
    """Print the MLflow page of a run, how to load its model, its folder and its log file."""
    console.print(f"MLflow UI      {mlflow_ui(tracking, tracked.store)}", markup=False)
    if models := tracked.models:
        others = " (fold 1; every fold's run has its own)" if len(models) > 1 else ""
        # On a line of its own, a model's address is not broken at 80 columns.
        console.print(f"Model          {models[0]}", markup=False)
        load = f"mlflow.tensorflow.load_model(MODEL), from {tracked.store.label}{others}"
        console.print(f"Python         {load}", markup=False)
    console.print(f"Output folder  {tracked.folder}", markup=False)
    if (log := log_file()) is not None:
        console.print(f"Log            {log}", markup=False)
