"""Runs in the store that still run for it, although their processes are gone."""

import os
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from bloodcell.experiment.recorder import FAILED, REASON_TAG, now, read_run
from bloodcell.tracking.courier import courier
from bloodcell.tracking.delivery import HEARTBEAT_TAG, KEY_TAG, Delivery
from bloodcell.tracking.local_runs import LOST, close_abandoned, is_written
from bloodcell.tracking.machine import HOST_TAG, PROCESS_TAG, process_tags
from bloodcell.tracking.runs import mlflow_runs
from bloodcell.tracking.store import Store

SILENT_MINUTES = 15
"""Minutes without a sign of life after which a run of another machine counts as dead."""


def end_dead_runs(store: Store, experiment_id: str | None = None, *, elsewhere: bool = False) -> list[str]:
    """End the runs whose processes are gone, and return their names.

    Runs of this machine whose folders are here are delivered completely; of others only the status changes.

    Parameters
    ----------
    store
        The open store.
    experiment_id
        Look at the runs of this experiment only.
    elsewhere
        Whether to end runs of other machines, too, if they have given no sign of life for `SILENT_MINUTES`.
    """
    experiments = None if experiment_id is None else [experiment_id]
    ended = []
    for run in mlflow_runs("attributes.status = 'RUNNING'", experiments):
        if run.data.tags.get(HOST_TAG) == process_tags()[HOST_TAG]:
            dead = _is_dead_here(run)
        else:
            dead = elsewhere and _is_silent(run)
        if dead:
            _end(run, store)
            ended.append(str(run.info.run_name))
    return ended


def _is_dead_here(run: Run) -> bool:
    folder = _folder(run)
    if folder is not None:
        return not is_written(folder)
    try:
        os.kill(int(run.data.tags.get(PROCESS_TAG, "")), 0)
    except (ProcessLookupError, ValueError):
        return True
    except PermissionError:  # another user's process
        return False
    return False


def _is_silent(run: Run) -> bool:
    last = int(run.data.tags.get(HEARTBEAT_TAG) or run.info.start_time or 0)
    return HOST_TAG in run.data.tags and now() - last > SILENT_MINUTES * 60_000


def _folder(run: Run) -> Path | None:
    """Return the run's folder if it is on this machine and has this run."""
    folder = Path(run.data.tags.get("output_dir") or ".")
    found = read_run(folder)
    return folder if found is not None and found["key"] == run.data.tags.get(KEY_TAG) else None


def _end(run: Run, store: Store) -> None:
    folder = _folder(run)
    if folder is not None:
        close_abandoned(folder, status=FAILED)
        courier().add(Delivery(folder, store=store))
        return
    client = MlflowClient(store.uri)
    client.set_tag(run.info.run_id, REASON_TAG, LOST)
    client.set_terminated(run.info.run_id, FAILED)
