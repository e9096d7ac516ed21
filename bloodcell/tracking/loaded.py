"""A finished run of the store as an object, for notebooks and scripts."""

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from bloodcell.cards.outcome import interval_text
from bloodcell.config.keywords import train_config
from bloodcell.config.tracking import TrackingConfig
from bloodcell.evaluation.evidence import as_text
from bloodcell.experiment.html import NAMES, experiment_html
from bloodcell.experiment.result import metrics_frame
from bloodcell.tracking.models import load_model, model_of
from bloodcell.tracking.runs import StoredRun, finished_run
from bloodcell.tracking.store import Store, existing_store
from bloodcell.tracking.where import mlflow_ui

HISTORY, PLOTS = "history.csv", "plots"


@dataclass(frozen=True, kw_only=True, repr=False)
class LoadedRun:
    """A finished run of the store. Its files and its model are read when first used.

    Attributes
    ----------
    stored
        The run as it is in the store, with its settings, tags and folds.
    store
        The store that has it.
    tracking
        The settings that name the store.
    """

    stored: StoredRun
    store: Store
    tracking: TrackingConfig

    @property
    def id(self) -> str:
        """MLflow's id of the run."""
        return self.stored.id

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.stored.name

    @property
    def evidence(self) -> tuple[str, ...]:
        """The names of what limits it, see `bloodcell.evaluation.evidence`."""
        return self.stored.tags.evidence

    @property
    def address(self) -> str:
        """The page of the run in a server's MLflow UI; else the command that opens the MLflow UI."""
        ui = mlflow_ui(self.tracking, self.store)
        if not self.store.is_server:
            return ui
        return f"{ui.rstrip('/')}/#/experiments/{self.stored.experiment_id}/runs/{self.id}"

    @property
    def predictions(self) -> pd.DataFrame:
        """The predictions of held-out images, see `bloodcell.evaluation.predictions`."""
        return self.stored.predictions

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """Metrics by split and name, with their 95 % intervals and baseline: as `Result.metrics`.

        Undefined metrics are left out, because MLflow has none, and a loss that is the log loss.
        """
        return metrics_frame(self._by_split(""), self._by_split("majority_class/"))

    @cached_property
    def history(self) -> pd.DataFrame | None:
        """A row for each epoch, in a cross-validation with the column ``fold``; None if the run has none."""
        runs = [self.stored] if HISTORY in self.stored.files else self.stored.folds
        tables = [run.read(HISTORY, pd.read_csv) for run in runs if HISTORY in run.files]
        if not tables:
            return None
        if runs[0] is not self.stored:
            tables = [table.assign(fold=number) for number, table in enumerate(tables, start=1)]
        return pd.concat(tables, ignore_index=True)

    @cached_property
    def model(self) -> Any:
        """The trained Keras model, from raw RGB (n, height, width, 3), uint8, to probabilities (n, classes).

        A `UserError` if the run has none.
        """
        return load_model(model_of(self.stored, setting="run_id"), setting="run_id").model

    @cached_property
    def figures(self) -> Mapping[str, Path]:
        """The plots by name, such as ``confusion_val``: PNG files, downloaded if they are not on this machine."""
        if PLOTS not in self.stored.files:
            return {}
        files = [each.path for each in mlflow.MlflowClient().list_artifacts(self.id, PLOTS)]
        return {
            Path(file).stem: Path(
                mlflow.artifacts.download_artifacts(f"runs:/{self.id}/{file}", dst_path=self._scratch)
            )
            for file in sorted(files)
            if file.endswith(".png")
        }

    @cached_property
    def _scratch(self) -> str:
        """The folder of downloaded files, which is removed with this object."""
        folder = tempfile.mkdtemp()
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    def __repr__(self) -> str:
        """Return name, id, accuracies with intervals, evidence and address, a line each."""
        lines = [f"{self.name}, run {self.id}"]
        baselines = self._by_split("majority_class/")
        for split, metrics in self._by_split("").items():
            interval = f" (95 % CI {interval_text(metrics, 'accuracy')})" if "accuracy_low" in metrics else ""
            majority = baselines.get(split, {}).get("accuracy")
            lines.append(
                f"  {NAMES[split]} accuracy {metrics['accuracy']:.3f}{interval}"
                + (f"; majority class {majority:.3f}" if majority is not None else "")
            )
        if self.evidence:
            lines.append(f"  Evidence: {as_text(self.evidence)}")
        return "\n".join([*lines, f"  MLflow UI: {self.address}"])

    def _repr_html_(self) -> str:
        """Return a table of metrics, the confusion matrices, and where the run is."""
        return experiment_html(
            name=self.name,
            metrics=self._by_split(""),
            baselines=self._by_split("majority_class/"),
            figures=self.figures,
            notes=[f"Evidence: {as_text(self.evidence)}"] if self.evidence else [],
            places=[f"run {self.id}", self.address],
            group_name=self.stored.tags.group_name,
        )

    def _by_split(self, within: str) -> dict[str, dict[str, float]]:
        """Return the metrics of each split that has any, by name."""
        starts = {split: f"{split}/{within}" for split in NAMES}
        found = {
            split: {
                name.removeprefix(start): value
                for name, value in self.stored.metrics.items()
                if name.startswith(start) and "/" not in name.removeprefix(start)
            }
            for split, start in starts.items()
        }
        return {split: metrics for split, metrics in found.items() if "accuracy" in metrics}


def load(run_id: str, *, tracking: str | Mapping[str, Any] | TrackingConfig | None = None) -> LoadedRun:
    """Load a finished run from the MLflow store.

    Parameters
    ----------
    run_id
        MLflow's id of a run of `bloodcell train` or `bloodcell ensemble`.
    tracking
        The store, as on the command line: ``"server"``, settings such as ``{"dir": "mlruns"}`` or
        ``{"uri": "http://..."}``; None: the store of the environment, or ``mlruns``.

    Raises
    ------
    UserError
        If the store cannot be read, has no such run, or the run did not finish.

    Examples
    --------
    >>> import bloodcell
    >>> run = bloodcell.load("4e5f...")  # doctest: +SKIP
    >>> run.metrics.loc["val"], run.model.predict(images)  # doctest: +SKIP
    """
    settings = train_config(**({} if tracking is None else {"tracking": tracking})).tracking
    store = existing_store(settings)
    return LoadedRun(stored=finished_run(run_id, store, setting="run_id"), store=store, tracking=settings)
