"""A study: the runs of one sweep or search under one parent run."""

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import RunStatus

from bloodcell.comparison.leaderboard import MAX_SHOWN, Entry, leaderboard, marked_runs, notes
from bloodcell.comparison.run_tags import RunTags, common_group_name
from bloodcell.config.parameters import parameters_of
from bloodcell.config.quoting import NAME_LENGTH, readable_overrides, setting_label
from bloodcell.config.tracking import TrackingConfig
from bloodcell.console.progress import print_status
from bloodcell.errors import UserError, one_line, reason_of
from bloodcell.evaluation.evidence import barring
from bloodcell.experiment.environment import environment_tags
from bloodcell.experiment.recorder import FAILED, FINISHED, KILLED, REASON_TAG, read_run, write_run
from bloodcell.files import atomic_write
from bloodcell.plots.drawing import save_figure
from bloodcell.plots.leaderboard import leaderboard_plot
from bloodcell.tracking.courier import courier
from bloodcell.tracking.dead_runs import end_dead_runs
from bloodcell.tracking.delivery import Delivery, read_sent
from bloodcell.tracking.experiment_page import EXCLUDED_TAG
from bloodcell.tracking.local_runs import LOST, close_abandoned, is_written, run_folders
from bloodcell.tracking.run import TrackedRun, deliver_all, sweep_mark
from bloodcell.tracking.runs import StoredRun, children_of
from bloodcell.tracking.store import Store, find_store, open_store
from bloodcell.wording import intervals_note

T = TypeVar("T")

log = logging.getLogger(__name__)

BEST_TAG = "best_run"
"""The tag with the id of a study's best run."""
ENDING_SECONDS = 8.0
"""Seconds that the processes of an interrupted study have to end their runs."""


class Study:
    """The parent run of a sweep or a search, and its runs.

    Parameters
    ----------
    run
        The parent, which is running.
    """

    def __init__(self, run: TrackedRun) -> None:
        self.run = run

    @property
    def run_id(self) -> str:
        """MLflow's id of the parent."""
        return self.run.run_id

    @property
    def experiment_id(self) -> str | None:
        """MLflow's id of the experiment."""
        return self.run.experiment_id

    @property
    def store(self) -> Store:
        """The store."""
        return self.run.store

    def tag(self, name: str, value: str) -> None:
        """Keep a fact about the study as text."""
        self.run.tag(name, value)

    def close_runs(self, *, expected: int | None, interrupted: bool) -> list[Entry]:
        """End the runs whose processes are gone, and return every run that counts, the oldest first.

        Runs that the store does not have yet are read from their folders.

        Parameters
        ----------
        expected
            The number of runs that the sweep was to have; None if its sweeper decides.
        interrupted
            Whether the study was stopped: then runs that did not start are not missing.
        """
        status = KILLED if interrupted else FAILED
        runs = {}
        folders = run_folders(self.run.folder)
        if interrupted:
            _wait_for_processes([folder for folder in folders if folder != self.run.folder])
        for folder in folders:
            close_abandoned(folder, status=status)
            runs[folder] = read_run(folder) or {}
            if folder != self.run.folder and not (delivery := Delivery(folder, store=self.store)).complete:
                courier().add(delivery)
        recorded = {run["key"]: run for run in runs.values() if run["parent"] == self.run_id}
        self._deliver(interrupted)
        stored = self._stored(recorded, status=status)
        arrived = {each.tags.key for each in stored}
        late = [run for key, run in recorded.items() if key not in arrived]
        entries = sorted(
            [(each.started or 0, entry_of(each)) for each in stored]
            + [(run["started"], _entry_in(run)) for run in late],
            key=lambda each: each[0],
        )
        counted = [entry for _, entry in entries if not entry.tags.excluded]
        here = {RunTags.read(run["tags"]).sweep_job for run in runs.values()}  # also folds of a cross-validation
        numbers = {entry.tags.sweep_job for entry in counted} | here
        missing = [
            number for number in range(0 if interrupted or expected is None else expected) if number not in numbers
        ]
        return [*counted, *(self._missing(number) for number in missing)]

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
        table = leaderboard(entries, objective=objective)
        failed = [entry for entry in entries if entry.status != FINISHED]
        if len(table):
            self.run.artifacts.mkdir(parents=True, exist_ok=True)
            table.to_csv(self.run.artifacts / "leaderboard.csv", index=False)
            self.run.log_table(table, "leaderboard.json")
            name = common_group_name(entry.tags for entry in entries if entry.status == FINISHED)
            can_win = table["evidence"].map(barring) == ""
            shown = table.assign(run=marked_runs(table), can_win=can_win).head(MAX_SHOWN)
            save_figure(
                leaderboard_plot(shown, notes=[*notes(table), intervals_note(name)]), self.run.artifacts, "leaderboard"
            )
            best = table.iloc[0]
            self.run.log_metrics({"val_accuracy": best["val_accuracy"]}, prefix="best")
            self.tag(BEST_TAG, best["run_id"])
        self.run.log_metrics({"finished": len(table), "failed": len(failed)}, prefix="runs")
        if failed:
            self.tag(REASON_TAG, f"{len(failed)} of {len(entries)} runs did not finish")
        self.run.close(status or (KILLED if interrupted else FAILED if failed else FINISHED))
        self._deliver(interrupted)
        if replace_keys(self.run.folder):
            courier().add(self.run.delivery)
            self._deliver(interrupted)
        return table

    def _deliver(self, interrupted: bool) -> None:
        """Wait for the store; after an interruption, not for one that fails."""
        deliver_all(patience=1.0 if interrupted else self.run.tracking.wait_seconds)

    def _stored(self, recorded: Mapping[str, Any], *, status: str) -> list[StoredRun]:
        """Return the runs in the store, and end those of other machines; none if the store is away."""
        experiment_id = self.run.experiment_id
        if courier().error or experiment_id is None:
            return []
        try:
            runs = children_of(self.run_id, experiment_id)
            # After an interruption, also runs whose processes are about to end.
            left = [run for run in runs if status == KILLED or run.tags.key not in recorded]
            running = [run for run in left if not _has_ended(run)]
            for run in running:
                _close(run, status=status)
            return [*_without_repeated(children_of(self.run_id, experiment_id) if running else runs)]
        except Exception as error:  # any error of the connection
            log.warning("%s: cannot be read (%s)", self.store.label, error)
            return []

    def _missing(self, number: int) -> Entry:
        """Record a run of a sweep that never began."""
        folder = self.run.folder / str(number)
        tracking = replace(self.run.tracking, parent_run=self.run_id, sweep_job=number, run_name=None)
        record_failure(folder, f"run {number}", tracking=tracking, reason=LOST)
        return _entry_in(read_run(folder) or {})


def start_study(
    *,
    tracking: TrackingConfig,
    overrides: Sequence[str],
    folder: Path,
    kind: str = "sweep",
    tags: Mapping[str, str] | None = None,
    resume: bool = False,
) -> Study:
    """Start the parent run of a sweep or a search, or continue the one in its folder.

    Parameters
    ----------
    tracking
        The store; ``tracking.run_name`` or the overrides name the run.
    overrides
        The overrides of the sweep or search.
    folder
        Its folder, which has the folders of its runs.
    kind
        ``sweep`` or ``search``.
    tags
        Further facts.
    resume
        Whether to continue the run in the folder.

    Raises
    ------
    UserError
        If the store cannot be opened.
    """
    store, experiment_id = open_store(tracking)
    end_dead_runs(store, experiment_id)
    labels = list(dict.fromkeys(map(setting_label, overrides)))
    varied = " × ".join(labels)
    if len(varied) > NAME_LENGTH:
        varied = f"{labels[0]}, {len(labels) - 1} more settings"
    name = tracking.run_name or f"{kind}: {varied}"
    facts = {"study": kind, "overrides": " ".join(overrides), **(tags or {})}
    run = TrackedRun(folder, name=name[:250], tags=environment_tags() | facts, tracking=tracking, resume=resume)
    try:
        run.delivery.create()  # its id is the parent of its runs
    except Exception as error:  # any error of the connection
        run.end(error)
        raise UserError(
            f"{store.label}: cannot be written ({one_line(error)}); start it, or use tracking=local"
        ) from error
    return Study(run.__enter__())


def replace_keys(folder: Path) -> bool:
    """Replace the keys of runs by their MLflow ids in a study that ended before the store had them.

    Returns whether something was replaced in the study's folder, so that it must be delivered again.
    """
    study = read_run(folder)
    if study is None or BEST_TAG not in study["tags"]:
        return False
    ids = {sent["key"]: sent["run_id"] for path in run_folders(folder) if "run_id" in (sent := read_sent(path))}
    changed = False
    for file in (folder / "artifacts").glob("leaderboard.*"):
        before = file.read_text(encoding="utf-8")
        text = re.sub("[0-9a-f]{32}", lambda found: ids.get(found[0], found[0]), before)
        if text != before:
            changed = True
            with atomic_write(file) as partial:
                partial.write_text(text, encoding="utf-8")
    if (best := ids.get(study["tags"][BEST_TAG])) is not None:
        changed = True
        write_run(folder, study | {"tags": study["tags"] | {BEST_TAG: best}})
    return changed


def run_named(name: str, tracking: TrackingConfig) -> str:
    """Return the id of the only run of this name in the experiment."""
    _, experiment_id = open_store(tracking)
    (run,) = MlflowClient().search_runs([experiment_id], f"attributes.run_name = '{name}'")
    return str(run.info.run_id)


def surviving(job: Callable[[], T], config: Any, *, folder: Path) -> T | float:
    """Run one job of a study and return its result; if it fails, print and log the failure, and return NaN.

    Sweepers treat NaN as a failure. The configuration's ``tracking`` has the study's parent run, and the job's number
    in a sweep or its name; ``folder`` is the job's.
    """
    try:
        return job()
    except Exception as error:
        tracking: TrackingConfig = config.tracking
        name = readable_overrides(tracking.run_name or f"run {tracking.sweep_job}")
        print_status(f"{name} failed: {reason_of(error)}")
        log.exception("failed")  # the traceback is in the run's log file
        record_failure(folder, name, tracking=tracking, reason=reason_of(error), parameters=parameters_of(config))
        return float("nan")


def record_failure(
    folder: Path,
    name: str,
    *,
    tracking: TrackingConfig,
    reason: str,
    tags: Mapping[str, str] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> None:
    """Record a run that failed before it started, unless its folder has the record of the failed run."""
    before = read_run(folder)
    if before is not None and before["parent"] == tracking.parent_run:
        if close_abandoned(folder, status=FAILED, reason=reason):
            courier().add(Delivery(folder, store=find_store(tracking)))
            return
        if before["status"] in (FAILED, KILLED):
            return
    run = TrackedRun(folder, name=name, tags={**sweep_mark(tracking), **(tags or {})}, tracking=tracking)
    run.log_parameters(parameters or {})
    run.tag(REASON_TAG, reason)
    run.close(FAILED)
    courier().add(run.delivery)


def entry_of(run: StoredRun) -> Entry:
    """Return the entry of a run in the store."""
    return Entry(
        run=run.name, run_id=run.id, status=run.status, reason=run.tags.reason, metrics=run.metrics, tags=run.tags
    )


def _entry_in(run: Mapping[str, Any]) -> Entry:
    """Return the entry of a run from its folder; its id is its key."""
    tags = RunTags.read(run["tags"])
    return Entry(
        run=run["name"], run_id=run["key"], status=run["status"], reason=tags.reason, metrics=run["metrics"], tags=tags
    )


def _without_repeated(runs: Sequence[StoredRun]) -> Iterator[StoredRun]:
    """Yield the runs, the oldest first, but of those with one number in the sweep only the last; exclude the others.

    A run has a number twice if it was started again because its node died.
    """
    last = {run.tags.sweep_job: run.id for run in runs if not run.tags.excluded}
    for run in runs:
        if run.tags.excluded or run.tags.sweep_job is None or run.id == last[run.tags.sweep_job]:
            yield run
        else:
            MlflowClient().set_tag(run.id, EXCLUDED_TAG, "repeated")


def _wait_for_processes(folders: Sequence[Path]) -> None:
    """Wait some seconds until no process writes the runs in these folders: they were ended with the study's."""
    deadline = time.monotonic() + ENDING_SECONDS
    while any(map(is_written, folders)) and time.monotonic() < deadline:
        time.sleep(0.1)


def _has_ended(run: StoredRun) -> bool:
    return bool(RunStatus.is_terminated(RunStatus.from_string(run.status)))


def _close(run: StoredRun, *, status: str) -> None:
    """End a running run, and its folds."""
    if _has_ended(run):
        return
    for fold in children_of(run.id, run.experiment_id):
        _close(fold, status=status)
    client = MlflowClient()
    client.set_tag(run.id, REASON_TAG, LOST)
    client.set_terminated(run.id, status)
