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
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE

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

    @property
    def runs(self) -> list[StoredRun]:
        """Its runs as they are in the store now, the oldest first."""
        return children_of(self.run_id, self.experiment_id)

    def exclude_interrupted(self) -> None:
        """End the runs that were interrupted with a search, which repeats them; the leaderboard excludes them."""
        for run in self.runs:
            _close(run, status="KILLED")
        for run in self.runs:
            if run.status == "KILLED":
                MlflowClient().set_tag(run.id, EXCLUDED_TAG, "repeated")

    def create_excluded_run(self, *, name: str, reason: str) -> str:
        """Create a run that is no entry of the leaderboard, and return its id."""
        tags = {MLFLOW_PARENT_RUN_ID: self.run_id, EXCLUDED_TAG: reason}
        return str(MlflowClient().create_run(self.experiment_id, run_name=name, tags=tags).info.run_id)

    def keep_objective(self, name: str, value: float) -> None:
        """Keep the objective of a search with the run of this name, which is none of its trials."""
        for run in self.runs:
            if run.name == name:
                MlflowClient().log_metric(run.id, OBJECTIVE, value)

    def keep(self, folder: Path, *, description: str, metrics: Mapping[str, float]) -> None:
        """Keep the files of a folder, a description in Markdown and metrics with the parent run."""
        client = MlflowClient()
        client.log_artifacts(self.run_id, str(folder))
        client.set_tag(self.run_id, MLFLOW_RUN_NOTE, description)
        for name, value in metrics.items():
            client.log_metric(self.run_id, name, value)

    def tag(self, name: str, value: str) -> None:
        """Keep a fact about the study as text."""
        MlflowClient().set_tag(self.run_id, name, value)

    def close_runs(self, *, expected: int | None, interrupted: bool) -> list[Entry]:
        """End the runs that have not ended, and return every run that counts.

        ``expected`` is how many runs the sweep was to have; None if its sweeper decides. If it was ``interrupted``,
        what did not start is not missing.
        """
        runs = self.runs
        for run in runs:
            _close(run, status="KILLED" if interrupted else "FAILED")
        numbers = {run.tags.sweep_job for run in runs}
        for number in range(0 if interrupted or expected is None else expected):
            if number not in numbers:
                tags = {MLFLOW_PARENT_RUN_ID: self.run_id, REASON_TAG: LOST, SWEEP_JOB_TAG: str(number)}
                _record_failure(self.experiment_id, f"run {number}", tags=tags, parameters={})
        return [
            Entry(
                run=run.name,
                run_id=run.id,
                status=run.status,
                reason=run.tags.reason,
                metrics=run.metrics,
                tags=run.tags,
            )
            for run in self.runs
            if not run.tags.excluded
        ]

    def end(
        self, entries: Sequence[Entry], *, interrupted: bool, status: str | None = None, objective: str | None = None
    ) -> pd.DataFrame:
        """Keep the leaderboard with the parent run and end it; return the leaderboard.

        Parameters
        ----------
        entries
            Of `close_runs`.
        interrupted
            Whether it was stopped.
        status
            The parent's; None: FINISHED if all its runs are, KILLED if it was interrupted, else FAILED.
        objective
            That of a search, see `leaderboard`.
        """
        client = MlflowClient()
        table = leaderboard(entries, objective=objective)
        failed = [entry for entry in entries if entry.status != "FINISHED"]
        if len(table):
            client.log_table(self.run_id, table, "leaderboard.json")
            name = common_group_name(entry.tags for entry in entries if entry.status == "FINISHED")
            with TemporaryDirectory() as scratch:
                shown = table.assign(run=marked_runs(table))
                figure = leaderboard_plot(shown, notes=[*notes(table), intervals_note(name)])
                save_figure(figure, Path(scratch), "leaderboard")
                table.to_csv(Path(scratch) / "leaderboard.csv", index=False)
                client.log_artifacts(self.run_id, scratch)
            best = table.iloc[0]
            client.log_metric(self.run_id, "best/val_accuracy", best["val_accuracy"])
            self.tag("best_run", best["run_id"])
        client.log_metric(self.run_id, "runs/finished", len(table))
        client.log_metric(self.run_id, "runs/failed", len(failed))
        if failed:
            self.tag(REASON_TAG, f"{len(failed)} of {len(entries)} runs did not finish")
        by_runs = "KILLED" if interrupted else "FAILED" if failed else "FINISHED"
        client.set_terminated(self.run_id, status or by_runs)
        return table


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


def run_named(name: str, tracking: TrackingConfig) -> str:
    """Return the id of the only run of this name in the experiment."""
    _, experiment_id = open_store(tracking)
    (run,) = MlflowClient().search_runs([experiment_id], f"attributes.run_name = '{name}'")
    return str(run.info.run_id)


def surviving(job: Callable[[], T], config: Any) -> T | float:
    """Run one job of a study and return its result; if it fails, print and log the failure, and return NaN.

    Sweepers treat NaN as a failure. The configuration's ``tracking`` has the study's parent run, and the job's number
    in a sweep or its name.
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


def _close(run: StoredRun, *, status: str) -> None:
    """End a running run, and its folds."""
    if RunStatus.is_terminated(RunStatus.from_string(run.status)):
        return
    for fold in children_of(run.id, run.experiment_id):
        _close(fold, status=status)
    client = MlflowClient()
    client.set_tag(run.id, REASON_TAG, LOST)
    client.set_terminated(run.id, status)
