"""A run in MLflow: its start, its results, its end."""

import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, RunStatus
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

from bloodcell.config.tracking import TrackingConfig
from bloodcell.errors import StoreLostError, one_line, reason_of, redact
from bloodcell.experiment.recorder import Recorder
from bloodcell.serving.prediction import ServingParameters
from bloodcell.tracking.model_format import log_folder, save_model
from bloodcell.tracking.store import Store, open_store

log = logging.getLogger(__name__)

SWEEP_JOB_TAG = "sweep_job"
"""The number of a run in its sweep."""
FOLD_TAG = "fold"
"""The number of a fold in its cross-validation."""
JOB_TAG = "job"
"""The job of a run, except of trainings."""
TRIAL_TAG = "trial"
"""The trial of a search."""
REASON_TAG = "reason"
"""Why a run failed."""
BASELINE = "baseline: "
"""The start of the names of a study's baselines."""
EXCLUDED_TAG = "aside"
"""The tag of a run that is not in its study's leaderboard; its value is the reason."""


class TrackedRun(Recorder):
    """A run in MLflow, which is written to its folder first."""

    def __init__(
        self, folder: Path, *, name: str, tags: Mapping[str, str], run_id: str, experiment_id: str, store: Store
    ) -> None:
        super().__init__(folder, name=name, tags=tags)
        self._run_id, self.experiment_id, self.store = run_id, experiment_id, store
        self._waiting: list[Metric] = []

    @property
    def run_id(self) -> str:
        """MLflow's id."""
        return self._run_id

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log parameters."""
        super().log_parameters(parameters)
        mlflow.log_params(dict(parameters))

    def log_metrics(self, metrics: Mapping[str, float], *, prefix: str) -> None:
        """Log finite final metrics as ``prefix/name``."""
        super().log_metrics(metrics, prefix=prefix)
        mlflow.log_metrics({f"{prefix}/{name}": value for name, value in metrics.items() if np.isfinite(value)})

    def log_epoch(self, epoch: Any) -> None:
        """Log the finite metrics of an epoch as ``epoch/name`` at its step.

        If the store does not answer, training continues, and the metrics are sent at a later epoch or the end.
        """
        super().log_epoch(epoch)
        now = int(time.time() * 1000)
        numbers = {
            name: value for name, value in asdict(epoch).items() if isinstance(value, float) and np.isfinite(value)
        }
        self._waiting.extend(Metric(f"epoch/{name}", value, now, epoch.epoch) for name, value in numbers.items())
        try:
            self._send_waiting()
        except Exception as error:  # any error of the connection
            log.warning("%s does not answer (%s); metrics wait", self.store.label, redact(str(error)))

    def log_dataset(self, manifest: pd.DataFrame, *, name: str, source: str, digest: str) -> None:
        """Log the manifest as an MLflow dataset."""
        super().log_dataset(manifest, name=name, source=source, digest=digest)
        dataset = mlflow.data.from_pandas(manifest, source=source, name=name, digest=digest)
        try:
            mlflow.log_input(dataset, context="training")
        except MlflowException as error:
            # MLflow looks for the dataset before it adds it: another process may have added it in between.
            if not any(word in str(error).lower() for word in ("unique", "duplicate")):
                raise
            mlflow.log_input(dataset, context="training")

    def log_model(self, model: Any, *, serving: ServingParameters, example: bytes) -> str:
        """Log a Keras model to MLflow only; the run's folder has its weights.

        Returns
        -------
        str
            See `bloodcell.tracking.model_format.log_folder`.
        """
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch, "model")
            save_model(folder, model, serving=serving, example=example)
            return log_folder(folder)

    def log_table(self, table: pd.DataFrame, name: str) -> None:
        """Log a table in the format that the MLflow UI shows as a table."""
        super().log_table(table, name)
        mlflow.log_table(table, name)

    def log_artifacts(self) -> None:
        """Wait for the plots, and log all files."""
        super().log_artifacts()
        self._send_waiting()
        mlflow.log_artifacts(str(self.artifacts))

    def tag(self, name: str, value: str) -> None:
        """Keep a tag."""
        super().tag(name, value)
        mlflow.set_tag(name, value)

    def describe(self, text: str) -> None:
        """Show a description, in Markdown, at the top of the run's page."""
        super().describe(text)
        mlflow.set_tag("mlflow.note.content", text)

    @contextmanager
    def fold(self, number: int, *, n_folds: int, tags: Mapping[str, str]) -> Iterator["TrackedRun"]:
        """Start the run of a fold within this one; it ends as `tracked_run` does."""
        with _under_way(
            experiment_id=self.experiment_id,
            name=f"fold {number} of {n_folds}",
            parent=self.run_id,
            tags={**tags, FOLD_TAG: str(number)},
            store=self.store,
            folder=self.fold_folder(number),
        ) as run:
            yield run

    def _send_waiting(self) -> None:
        if self._waiting:
            MlflowClient().log_batch(self.run_id, metrics=self._waiting)
            self._waiting.clear()


@contextmanager
def tracked_run(*, tracking: TrackingConfig, name: str, tags: Mapping[str, str], folder: Path) -> Iterator[TrackedRun]:
    """Start a run; it ends as FINISHED, as FAILED with a reason if the block raises, or as KILLED if interrupted.

    Raises
    ------
    UserError
        If the store cannot be opened.
    StoreLostError
        If the store fails during the run.
    """
    store, experiment_id = open_store(tracking)
    with (
        named_if_lost(store, folder),
        _under_way(
            experiment_id=experiment_id,
            name=name,
            parent=tracking.parent_run,
            run_id=tracking.run_id,
            tags={**tags, **sweep_mark(tracking)},
            store=store,
            folder=folder,
        ) as run,
    ):
        yield run


@contextmanager
def named_if_lost(store: Store, folder: Path) -> Iterator[None]:
    """Turn an error of the store in the block into one line with the folder of the results.

    Raises
    ------
    StoreLostError
        If it does.
    """
    try:
        yield
    except Exception as error:
        if _is_of_store(error):
            raise StoreLostError(
                f"{store.label}: failed during the run ({one_line(error)}); all results are in {folder}"
            ) from error
        raise


def sweep_mark(tracking: TrackingConfig) -> dict[str, str]:
    """Return the tag with the number of a run in its sweep; empty outside a sweep."""
    return {} if tracking.sweep_job is None else {SWEEP_JOB_TAG: str(tracking.sweep_job)}


@contextmanager
def _under_way(
    *,
    experiment_id: str,
    name: str,
    parent: str | None,
    run_id: str | None = None,
    tags: Mapping[str, str],
    store: Store,
    folder: Path,
) -> Iterator[TrackedRun]:
    nested = parent is not None
    if run_id is None:
        active = mlflow.start_run(
            experiment_id=experiment_id, run_name=name, parent_run_id=parent, nested=nested, tags=dict(tags)
        )
    else:
        active = mlflow.start_run(run_id=run_id, nested=nested)
        mlflow.set_tags({**tags, MLFLOW_RUN_NAME: name})
    try:
        with TrackedRun(
            folder, name=name, tags=tags, run_id=active.info.run_id, experiment_id=experiment_id, store=store
        ) as run:
            yield run
    except BaseException as error:
        interrupted = isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit))
        _end(RunStatus.KILLED if interrupted else RunStatus.FAILED, reason_of(error))
        raise
    else:
        mlflow.end_run()


def _end(status: int, reason: str) -> None:
    with suppress(Exception):  # the store may have failed
        mlflow.set_tag(REASON_TAG, reason)
    with suppress(Exception):
        mlflow.end_run(RunStatus.to_string(status))


def _is_of_store(error: BaseException) -> bool:
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    return isinstance(error, (MlflowException, RequestException, SQLAlchemyError))
