"""A run of this process: recorded in its folder, and delivered to MLflow in the background."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pandas as pd
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_IMAGES

from bloodcell.config.tracking import TrackingConfig
from bloodcell.console.progress import print_status
from bloodcell.errors import StoreLostError
from bloodcell.experiment.recorder import REASON_TAG, Recorder, read_run
from bloodcell.files import atomic_write
from bloodcell.serving.prediction import ServingParameters
from bloodcell.tracking.courier import courier
from bloodcell.tracking.dead_runs import end_dead_runs
from bloodcell.tracking.delivery import Delivery
from bloodcell.tracking.galleries import log_galleries
from bloodcell.tracking.local_runs import lock_run
from bloodcell.tracking.machine import process_tags
from bloodcell.tracking.store import Store, find_store, open_store, recorded_store

SWEEP_JOB_TAG = "sweep_job"
"""The number of a run in its sweep."""
FOLD_TAG = "fold"
"""The number of a fold in its cross-validation."""
JOB_TAG = "job"
"""The job of a run, except of trainings."""
TRIAL_TAG = "trial"
"""The trial of a search."""
AFTER_ERROR = 5.0
"""Seconds to wait, at most, for a store that fails after a run that failed."""


class TrackedRun(Recorder):
    """A run that is recorded in its folder, from which it is delivered to MLflow in the background.

    Nothing waits for the store, and no error of the store ends the run: see `bloodcell.tracking.courier`.

    Parameters
    ----------
    folder, name, tags, resume, draws
        As for `bloodcell.experiment.recorder.Recorder`.
    tracking
        The store, the experiment, and the parent run.
    parent
        The parent run as in `bloodcell.tracking.delivery.Delivery`; None: that of ``tracking``.
    parent_key
        The key of the cross-validation, if it is a fold.

    Raises
    ------
    UserError
        If another process writes this run.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        tags: Mapping[str, str],
        tracking: TrackingConfig,
        parent: str | None = None,
        parent_key: str | None = None,
        resume: bool = False,
        draws: bool = True,
    ) -> None:
        self._lock = lock_run(folder)
        own = {**process_tags(), "output_dir": str(folder.absolute())}
        super().__init__(folder, name=name, tags={**tags, **own}, resume=resume, draws=draws)
        self.tracking = tracking
        store = find_store(tracking)
        self._run |= {"parent": parent or tracking.parent_run, "parent_key": parent_key}
        self._run |= {"experiment": tracking.experiment_name}
        self._run |= {"tables": [], "model": False, "artifacts": False, "store": recorded_store(store, folder)}
        self._write()
        self.delivery = Delivery(folder, store=store)

    @property
    def store(self) -> Store:
        """The store."""
        return self.delivery.store

    @property
    def run_id(self) -> str:
        """MLflow's id of the run, or its key until the store has the run."""
        return self.delivery.run_id or str(self._run["key"])

    @property
    def experiment_id(self) -> str | None:
        """MLflow's id of its experiment; None until the store has the run."""
        return self.delivery.experiment_id

    @property
    def models(self) -> list[str]:
        """The addresses of its model, or of its folds' models: folders until the store has them."""
        folders = [self.folder] if self._run["model"] else self._fold_folders()
        return [_model_address(folder, self.store) for folder in folders if (read_run(folder) or {}).get("model")]

    def _fold_folders(self) -> list[Path]:
        """Return the folders of its folds; in a folder that was used before, not those of other runs."""
        found = [
            (run["tags"].get(FOLD_TAG, ""), path.parent)
            for path in self.folder.glob("folds/*/run.json")
            if (run := read_run(path.parent)) is not None and run.get("parent_key") == self._run["key"]
        ]
        return [folder for _, folder in sorted(found, key=lambda each: int(each[0]))]

    def log_table(self, table: pd.DataFrame, name: str) -> None:
        """Keep a table also in the format that the MLflow UI shows as a table."""
        super().log_table(table, name)
        with atomic_write(self.artifacts / name) as partial:
            table.to_json(partial, orient="split", index=False, date_format="iso")
        self._run["tables"] = [*self._run["tables"], name]
        self._write()

    def log_model(self, model: Any, *, serving: ServingParameters, example: bytes) -> str:
        """Save a Keras model in MLflow's format, which MLflow serves from the folder, too; return its folder."""
        from bloodcell.tracking.model_format import save_model

        folder = self.folder / "model"
        shutil.rmtree(folder, ignore_errors=True)
        save_model(folder, model, serving=serving, example=example)
        self._run["model"] = True
        self._write()
        return str(folder)

    def log_artifacts(self) -> None:
        """Wait for the plots, and let the files be delivered."""
        super().log_artifacts()
        if log_galleries(self.artifacts):
            self._run["tags"][MLFLOW_LOGGED_IMAGES] = "True"
        self._run["artifacts"] = True
        self._write()

    @contextmanager
    def fold(
        self, number: int, *, n_folds: int, tags: Mapping[str, str], resume: bool = False
    ) -> Iterator["TrackedRun"]:
        """Start the run of a fold within this one."""
        with TrackedRun(
            self.fold_folder(number),
            name=f"fold {number} of {n_folds}",
            tags={**tags, FOLD_TAG: str(number)},
            tracking=self.tracking,
            parent="../..",
            parent_key=self._run["key"],
            resume=resume,
            draws=self.draws,
        ) as run:
            yield run

    def __enter__(self) -> Self:
        """Start to deliver the run."""
        super().__enter__()
        self.delivery = courier().add(self.delivery)
        for folder in self._fold_folders():  # of an earlier process, if this one continues its run
            courier().add(Delivery(folder, store=self.store))
        return self

    def close(self, status: str) -> None:
        """Record that the run has ended, and let other processes write it.

        If the folder cannot be written, at least the store knows that the run has ended.
        """
        try:
            super().close(status)
        except OSError:
            self.delivery.end_at_once(status, reason=str(self._run["tags"].get(REASON_TAG, "")))
            raise
        finally:
            self._lock.release()


def _model_address(folder: Path, store: Store) -> str:
    model_id = Delivery(folder, store=store).model_id
    return f"models:/{model_id}" if model_id else str(folder / "model")


@contextmanager
def tracked_run(
    *,
    tracking: TrackingConfig,
    name: str,
    tags: Mapping[str, str],
    folder: Path,
    resume: bool = False,
    draws: bool = True,
) -> Iterator[TrackedRun]:
    """Start a run, see `TrackedRun`; at its end wait for the store, unless this process runs its study, too.

    Raises
    ------
    UserError
        If the store cannot be opened; in a sweep, the run starts without it.
    """
    within_study = courier().has_running
    if tracking.sweep_job is None and not within_study:
        end_dead_runs(*open_store(tracking))
    own = {**tags, **sweep_mark(tracking)}
    run = TrackedRun(folder, name=name, tags=own, tracking=tracking, resume=resume, draws=draws)
    try:
        with run:
            yield run
    except BaseException as error:
        if not within_study:
            deliver_all(patience=min(tracking.wait_seconds, AFTER_ERROR if isinstance(error, Exception) else 1.0))
        raise
    if not within_study:  # else the study waits
        deliver_all(patience=tracking.wait_seconds)


def deliver_all(*, patience: float) -> None:
    """Wait until all runs of this process are delivered; print the folders of those that the store does not take.

    ``patience``: see `bloodcell.tracking.courier.Courier.flush`.
    """
    waiting = courier().flush(patience=patience)
    if waiting:
        some = f"{waiting[0].folder}" + (f" and {len(waiting) - 1} more" if len(waiting) > 1 else "")
        print_status(
            f"{waiting[0].store.label}: does not have the results in {some} yet ({courier().error}); "
            "`bloodcell sync` delivers them"
        )


def require_delivered(run: TrackedRun) -> None:
    """Check that the store has a run that has ended.

    Raises
    ------
    StoreLostError
        If it does not.
    """
    if not run.delivery.complete:
        raise StoreLostError(
            f"{run.store.label}: does not have the results in {run.folder} yet; start it, and run `bloodcell sync`"
        )


def sweep_mark(tracking: TrackingConfig) -> dict[str, str]:
    """Return the tag with the number of a run in its sweep; empty outside a sweep."""
    return {} if tracking.sweep_job is None else {SWEEP_JOB_TAG: str(tracking.sweep_job)}
