"""A study: the runs of one sweep under one parent run."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import RunStatus
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from bloodcell.comparison.leaderboard import OBJECTIVE, Entry, leaderboard, marked_runs, notes
from bloodcell.comparison.run_tags import common_group_name
from bloodcell.config.parameters import parameters_of
from bloodcell.config.quoting import readable_overrides, short_override
from bloodcell.config.tracking import TrackingConfig
from bloodcell.console.progress import print_status
from bloodcell.errors import reason_of
from bloodcell.experiment.environment import environment_tags
from bloodcell.plots.drawing import save_figure
from bloodcell.plots.leaderboard import leaderboard_plot
from bloodcell.tracking.run import EXCLUDED_TAG, REASON_TAG, SWEEP_JOB_TAG, sweep_mark
from bloodcell.tracking.runs import StoredRun, children_of, run_or_none
from bloodcell.tracking.store import Store, open_store
from bloodcell.wording import intervals_note

T = TypeVar("T")

log = logging.getLogger(__name__)

LOST = "its process ended without an error message"


@dataclass(frozen=True, kw_only=True)
class Study:
    """A running parent run.

    Attributes
    ----------
    run_id
        MLflow's id of the parent.
    experiment_id
        MLflow's experiment, also of the children.
    store
        The store.
    """

    run_id: str
    experiment_id: str
    store: Store


def start_study(*, tracking: TrackingConfig, overrides: Sequence[str], kind: str = "sweep") -> Study:
    """Start the parent run of a sweep or a search.

    Parameters
    ----------
    tracking
        The store; ``tracking.run_name`` or the overrides name the run.
    overrides
        The overrides of the sweep or search.
    kind
        ``sweep`` or ``search``.

    Raises
    ------
    UserError
        If the store cannot be opened.
    """
    store, experiment_id = open_store(tracking)
    name = tracking.run_name or f"{kind}: {' × '.join(short_override(override) for override in overrides)}"
    tags = environment_tags() | {"study": kind, "overrides": " ".join(overrides)}
    if tracking.parent_run is not None:
        tags[MLFLOW_PARENT_RUN_ID] = tracking.parent_run
    created = MlflowClient().create_run(experiment_id, tags=tags, run_name=name[:250])
    return Study(run_id=created.info.run_id, experiment_id=experiment_id, store=store)


def resume_study(*, tracking: TrackingConfig, run_id: str) -> Study | None:
    """Resume a study by its parent run; None if the store no longer has it.

    Raises
    ------
    UserError
        If the store cannot be opened.
    """
    store, experiment_id = open_store(tracking)
    found = run_or_none(run_id)
    if found is None or found.experiment_id != experiment_id:
        return None
    client = MlflowClient()
    client.update_run(run_id, status="RUNNING")
    if found.tags.reason:
        client.delete_tag(run_id, REASON_TAG)
    return Study(run_id=run_id, experiment_id=experiment_id, store=store)


def exclude_interrupted(study: Study) -> None:
    """End the runs that were interrupted with a search; it repeats them, so the leaderboard excludes them."""
    client = MlflowClient()
    for run in children_of(study.run_id, study.experiment_id):
        _close(client, run, status="KILLED")
    for run in children_of(study.run_id, study.experiment_id):
        if run.status == "KILLED":
            client.set_tag(run.id, EXCLUDED_TAG, "repeated")


def create_excluded_run(study: Study, *, name: str, reason: str) -> str:
    """Create a run of the study that is not in its leaderboard, and return its id."""
    tags = {MLFLOW_PARENT_RUN_ID: study.run_id, EXCLUDED_TAG: reason}
    return str(MlflowClient().create_run(study.experiment_id, run_name=name, tags=tags).info.run_id)


def keep_objective(study: Study, name: str, value: float) -> None:
    """Log the objective of a search to the run of this name, which is not a trial."""
    for run in children_of(study.run_id, study.experiment_id):
        if run.name == name:
            MlflowClient().log_metric(run.id, OBJECTIVE, value)


def keep_with_study(study: Study, folder: Path, *, description: str, metrics: Mapping[str, float]) -> None:
    """Log the files of a folder, a description in Markdown and metrics to the parent run."""
    client = MlflowClient()
    client.log_artifacts(study.run_id, str(folder))
    client.set_tag(study.run_id, "mlflow.note.content", description)
    for name, value in metrics.items():
        client.log_metric(study.run_id, name, value)


def run_named(name: str, tracking: TrackingConfig) -> str:
    """Return the id of the only run of this name in the experiment."""
    _, experiment_id = open_store(tracking)
    (run,) = MlflowClient().search_runs([experiment_id], f"attributes.run_name = '{name}'")
    return str(run.info.run_id)


def tag_study(study: Study, name: str, value: str) -> None:
    """Log a fact about a study as text."""
    MlflowClient().set_tag(study.run_id, name, value)


def close_children(study: Study, *, expected: int | None, interrupted: bool) -> list[Entry]:
    """Return the entries of the leaderboard, and end the runs that are still running.

    Parameters
    ----------
    study
        The study.
    expected
        The number of runs of the sweep; None if its sweeper decides.
    interrupted
        Whether the sweep was interrupted: then runs that did not start are not missing.
    """
    client = MlflowClient()
    runs = children_of(study.run_id, study.experiment_id)
    for run in runs:
        _close(client, run, status="KILLED" if interrupted else "FAILED")
    numbers = {run.tags.sweep_job for run in runs}
    for number in range(0 if interrupted or expected is None else expected):
        if number not in numbers:
            tags = {MLFLOW_PARENT_RUN_ID: study.run_id, REASON_TAG: LOST, SWEEP_JOB_TAG: str(number)}
            _record_failure(study.experiment_id, f"run {number}", tags=tags, parameters={})
    children = children_of(study.run_id, study.experiment_id)
    return [_entry(run) for run in children if not run.tags.excluded]


def end_study(
    study: Study,
    entries: Sequence[Entry],
    *,
    interrupted: bool,
    status: str | None = None,
    objective: str | None = None,
) -> pd.DataFrame:
    """Log the leaderboard to the parent run and end it; return the leaderboard.

    Parameters
    ----------
    study, entries
        The study and its runs.
    interrupted
        Whether it was interrupted.
    status
        The status of the parent; None: FINISHED if all runs are, KILLED if interrupted, else FAILED.
    objective
        The objective of a search, see `leaderboard`.
    """
    client = MlflowClient()
    table = leaderboard(entries, objective=objective)
    failed = [entry for entry in entries if entry.status != "FINISHED"]
    if len(table):
        client.log_table(study.run_id, table, "leaderboard.json")
        name = common_group_name(entry.tags for entry in entries if entry.status == "FINISHED")
        with TemporaryDirectory() as scratch:
            figure = leaderboard_plot(table.assign(run=marked_runs(table)), notes=[*notes(table), intervals_note(name)])
            save_figure(figure, Path(scratch), "leaderboard")
            table.to_csv(Path(scratch) / "leaderboard.csv", index=False)
            client.log_artifacts(study.run_id, scratch)
        best = table.iloc[0]
        client.log_metric(study.run_id, "best/val_accuracy", best["val_accuracy"])
        client.set_tag(study.run_id, "best_run", best["run_id"])
    client.log_metric(study.run_id, "runs/finished", len(table))
    client.log_metric(study.run_id, "runs/failed", len(failed))
    if failed:
        client.set_tag(study.run_id, REASON_TAG, f"{len(failed)} of {len(entries)} runs did not finish")
    by_runs = "KILLED" if interrupted else "FAILED" if failed else "FINISHED"
    client.set_terminated(study.run_id, status or by_runs)
    return table


def surviving(job: Callable[[], T], config: Any) -> T | float:
    """Run one job of a study; a failure is printed and logged as a failed run, and the study continues.

    Parameters
    ----------
    job
        The job.
    config
        Its configuration, whose ``tracking`` has the study's parent run, and the job's number in a sweep or its name.

    Returns
    -------
    object
        The result of the job; NaN, which sweepers treat as a failure, if it fails.
    """
    try:
        return job()
    except Exception as error:
        tracking: TrackingConfig = config.tracking
        name = readable_overrides(tracking.run_name or f"run {tracking.sweep_job}")
        print_status(f"{name} failed: {reason_of(error)}")
        log.exception("failed")  # the traceback is in the run's log file
        _, experiment_id = open_store(tracking)
        children = children_of(str(tracking.parent_run), experiment_id)
        number = tracking.sweep_job
        if not any(run.name == name if number is None else run.tags.sweep_job == number for run in children):
            tags = {MLFLOW_PARENT_RUN_ID: str(tracking.parent_run), REASON_TAG: reason_of(error)}
            tags |= sweep_mark(tracking)
            _record_failure(experiment_id, name, tags=tags, parameters=parameters_of(config))
        return float("nan")


def _record_failure(experiment_id: str, name: str, *, tags: dict[str, str], parameters: dict[str, Any]) -> None:
    client = MlflowClient()
    run = client.create_run(experiment_id, tags=tags, run_name=name)
    for key, value in parameters.items():
        client.log_param(run.info.run_id, key, value)
    client.set_terminated(run.info.run_id, "FAILED")


def _close(client: MlflowClient, run: StoredRun, *, status: str) -> None:
    """End a running run, and its folds."""
    if RunStatus.is_terminated(RunStatus.from_string(run.status)):
        return
    for fold in children_of(run.id, run.experiment_id):
        _close(client, fold, status=status)
    client.set_tag(run.id, REASON_TAG, LOST)
    client.set_terminated(run.id, status)


def _entry(run: StoredRun) -> Entry:
    return Entry(
        run=run.name,
        run_id=run.id,
        status=run.status,
        reason=run.tags.reason,
        metrics=run.metrics,
        tags=run.tags,
    )
