"""Where to find a run: in MLflow's pages and in its folder."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from bloodcell.config.tracking import TrackingConfig
from bloodcell.console.logs import log_file
from bloodcell.tracking.run import TrackedRun
from bloodcell.tracking.store import Store


def where_to_look(tracking: TrackingConfig, store: Store) -> str:
    """Return where to look at runs: the address of a server, or the command that serves the store."""
    if store.is_server:
        return store.label
    default = "" if tracking.dir == "mlruns" else f" tracking.dir={tracking.dir}"
    return f"bloodcell ui{default if tracking.uri is None else f' tracking.uri={store.label}'}"


def run_data(tracked: TrackedRun, tracking: TrackingConfig) -> dict[str, Any]:
    """Return the ids and places of a run for a JSON document."""
    return {
        "run_id": tracked.run_id,
        "experiment_id": tracked.experiment_id,
        "tracking": tracked.store.label,
        "look": where_to_look(tracking, tracked.store),
        "folder": tracked.folder.absolute(),
        "log": log_file(),
    }


def show_places(tracked: TrackedRun, tracking: TrackingConfig, console: Console, *, models: Sequence[str]) -> None:
    """Print where to look at a run, how to load its models by their addresses, its folder and its log file."""
    console.print(f"Look at it  {where_to_look(tracking, tracked.store)}", markup=False)
    if models:
        others = f" (fold 1; the other {len(models) - 1} are in folds.csv)" if len(models) > 1 else ""
        load = f"mlflow.tensorflow.load_model({models[0]!r}), from {tracked.store.label}{others}"
        console.print(f"Load it     {load}", markup=False)
    console.print(f"Its files   {tracked.folder}", markup=False)
    if (log := log_file()) is not None:
        console.print(f"Its log     {log}", markup=False)
