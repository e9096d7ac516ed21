"""Recorders of an experiment's results: always into a folder, and optionally elsewhere."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import pandas as pd
from matplotlib.figure import Figure

from bloodcell.files import atomic_write
from bloodcell.plots.drawing import Pictures
from bloodcell.serving.prediction import ServingParameters


class Recorder(Protocol):
    """Receives the results of a run, item by item.

    An experiment writes its files into `artifacts` and passes everything else to these methods. For another sink,
    derive from `FolderRecorder`, call its method first and then send the item, so the folder is complete even if the
    sink fails. `bloodcell.tracking.run.TrackedRun` does this for MLflow.
    """

    @property
    def folder(self) -> Path:
        """The run's folder: files, checkpoints, and the folders of its folds."""

    @property
    def artifacts(self) -> Path:
        """The folder of the files that `log_artifacts` keeps."""

    @property
    def run_id(self) -> str:
        """The run's id."""

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Record the settings of the run and the sizes of its data, by name."""

    def log_metrics(self, metrics: Mapping[str, float], *, prefix: str) -> None:
        """Record finite final metrics as ``prefix/name``."""

    def log_epoch(self, epoch: Any) -> None:
        """Record the metrics of an epoch, a `bloodcell.training.trainer.Epoch`."""

    def log_dataset(self, manifest: pd.DataFrame, *, name: str, source: str, digest: str) -> None:
        """Record the manifest of the images, and its digest."""

    def log_table(self, table: pd.DataFrame, name: str) -> None:
        """Record a table under a file name, to be shown with the run."""

    def log_model(self, model: Any, *, serving: ServingParameters, example: bytes) -> str:
        """Save a Keras model and return the address to load it from.

        Parameters
        ----------
        model
            From raw RGB images (n, height, width, 3), uint8, to probabilities (n, classes).
        serving
            Classes, calibration and novelty, for prediction.
        example
            The content of an image file.
        """

    def draw(self, name: str, make: Callable[..., Figure], /, *arguments: Any, **settings: Any) -> None:
        """Draw ``plots/name.png`` in the background; see `bloodcell.plots.drawing.Pictures.draw`."""

    def log_artifacts(self) -> None:
        """Wait for the plots and record all files of `artifacts`."""

    def tag(self, name: str, value: str) -> None:
        """Record a fact about the run as text."""

    def describe(self, text: str) -> None:
        """Record a description of the results, in Markdown."""

    def fold(self, number: int, *, n_folds: int, tags: Mapping[str, str]) -> AbstractContextManager["Recorder"]:
        """Start the run of a fold of this cross-validation, numbered from 1, in this run's folder."""


class FolderRecorder:
    """Records a run in a folder.

    Parameters, tags, metrics and description are in ``run.json``, the model in ``model/``, everything else in
    ``artifacts/``. Use it in a ``with`` block, which ends when all plots are drawn.

    Parameters
    ----------
    folder
        The run's folder.
    name, tags
        The run's name, and facts about it.
    """

    def __init__(self, folder: Path, *, name: str = "", tags: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._pictures = Pictures(self.artifacts)
        self._run: dict[str, Any] = {"name": name, "description": "", "tags": dict(tags or {})}
        self._run |= {"parameters": {}, "metrics": {}}

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self._folder

    @property
    def artifacts(self) -> Path:
        """The folder of the run's files."""
        return self._folder / "artifacts"

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self._folder.name

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Write the parameters into ``run.json``."""
        self._run["parameters"] |= dict(parameters)
        self._write()

    def log_metrics(self, metrics: Mapping[str, float], *, prefix: str) -> None:
        """Write finite metrics into ``run.json``."""
        finite = {f"{prefix}/{name}": float(value) for name, value in metrics.items() if math.isfinite(value)}
        self._run["metrics"] |= finite
        self._write()

    def log_epoch(self, epoch: Any) -> None:
        """Do nothing: ``history.csv`` has all epochs."""

    def log_dataset(self, manifest: pd.DataFrame, *, name: str, source: str, digest: str) -> None:
        """Do nothing: ``manifest.parquet`` has the images."""

    def log_table(self, table: pd.DataFrame, name: str) -> None:
        """Write a table as CSV, unless the run has already written it."""
        path = (self.artifacts / name).with_suffix(".csv")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as partial:
                table.to_csv(partial, index=False)

    def log_model(self, model: Any, *, serving: ServingParameters, example: bytes) -> str:  # noqa: ARG002 - for servers
        """Save the model as ``model/model.keras``, with its serving parameters."""
        folder = self.folder / "model"
        folder.mkdir(parents=True, exist_ok=True)
        model.save(folder / "model.keras")
        serving.save(folder)
        return str(folder / "model.keras")

    def draw(self, name: str, make: Callable[..., Figure], /, *arguments: Any, **settings: Any) -> None:
        """Draw ``plots/name.png`` in the background."""
        self._pictures.draw(name, make, *arguments, **settings)

    def log_artifacts(self) -> None:
        """Wait for the plots."""
        self._pictures.wait()

    def tag(self, name: str, value: str) -> None:
        """Write a tag into ``run.json``."""
        self._run["tags"][name] = value
        self._write()

    def describe(self, text: str) -> None:
        """Write the description into ``run.json``."""
        self._run["description"] = text
        self._write()

    @contextmanager
    def fold(self, number: int, *, n_folds: int, tags: Mapping[str, str]) -> Iterator[Recorder]:
        """Record a fold in ``folds/number``."""
        with FolderRecorder(self.fold_folder(number), name=f"fold {number} of {n_folds}", tags=tags) as fold:
            yield fold

    def fold_folder(self, number: int) -> Path:
        """Return the folder of a fold, numbered from 1."""
        return self.folder / "folds" / str(number)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait for the plots."""
        self._pictures.__exit__(kind, error, traceback)

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.folder / "run.json") as partial:
            partial.write_text(json.dumps(self._run, indent=2, default=str), encoding="utf-8")
