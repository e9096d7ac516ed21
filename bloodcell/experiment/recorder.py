"""Recorders of an experiment's results: always into a folder, and optionally elsewhere."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd
from matplotlib.figure import Figure

from bloodcell.files import atomic_write
from bloodcell.plots.drawing import Pictures
from bloodcell.serving.prediction import ServingParameters


class Recorder:
    """Records the results of a run, item by item, in a folder.

    Parameters, tags, metrics and description are in ``run.json``, the model in ``model/``, everything else in
    ``artifacts/``, where an experiment writes its files. A ``with`` block ends when all plots are drawn.

    For another sink, derive from this class, call its method first and then send the item: the folder is then complete
    even if the sink fails. `bloodcell.tracking.run.TrackedRun` does this for MLflow.

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
        """The run's folder: files, checkpoints, and the folders of its folds."""
        return self._folder

    @property
    def artifacts(self) -> Path:
        """The folder of the files that `log_artifacts` keeps."""
        return self._folder / "artifacts"

    @property
    def run_id(self) -> str:
        """The run's name where it is kept: that of the folder."""
        return self._folder.name

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Keep the settings of the run and the sizes of its data, by name."""
        self._run["parameters"] |= dict(parameters)
        self._write()

    def log_metrics(self, metrics: Mapping[str, float], *, prefix: str) -> None:
        """Keep final metrics as ``prefix/name``, except those that are not finite."""
        finite = {f"{prefix}/{name}": float(value) for name, value in metrics.items() if math.isfinite(value)}
        self._run["metrics"] |= finite
        self._write()

    def log_epoch(self, epoch: Any) -> None:
        """Take an epoch, a `bloodcell.training.trainer.Epoch`; in a folder ``history.csv`` has all."""

    def log_dataset(self, manifest: pd.DataFrame, *, name: str, source: str, digest: str) -> None:
        """Take the images that were used, and their digest; in a folder ``manifest.parquet`` has them."""

    def log_table(self, table: pd.DataFrame, name: str) -> None:
        """Keep a table under a file name; in a folder as CSV, unless the run has already written it."""
        path = (self.artifacts / name).with_suffix(".csv")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as partial:
                table.to_csv(partial, index=False)

    def log_model(self, model: Any, *, serving: ServingParameters, example: bytes) -> str:  # noqa: ARG002
        """Save a Keras model and return the address to load it from.

        Parameters
        ----------
        model
            From raw RGB images (n, height, width, 3), uint8, to probabilities (n, classes).
        serving
            Classes, calibration and novelty, for prediction.
        example
            The content of an image file, for servers.
        """
        folder = self.folder / "model"
        folder.mkdir(parents=True, exist_ok=True)
        model.save(folder / "model.keras")
        serving.save(folder)
        return str(folder / "model.keras")

    def draw(self, name: str, make: Callable[..., Figure], /, *arguments: Any, **settings: Any) -> None:
        """Draw ``plots/name.png`` in the background; see `bloodcell.plots.drawing.Pictures.draw`."""
        self._pictures.draw(name, make, *arguments, **settings)

    def log_artifacts(self) -> None:
        """Wait for the plots and record all files of `artifacts`."""
        self._pictures.wait()

    def tag(self, name: str, value: str) -> None:
        """Keep a fact about the run as text."""
        self._run["tags"][name] = value
        self._write()

    def describe(self, text: str) -> None:
        """Keep a description of the results, in Markdown."""
        self._run["description"] = text
        self._write()

    @contextmanager
    def fold(self, number: int, *, n_folds: int, tags: Mapping[str, str]) -> Iterator["Recorder"]:
        """Start the run of a fold of this cross-validation, numbered from 1, in this run's folder."""
        with type(self)(self.fold_folder(number), name=f"fold {number} of {n_folds}", tags=tags) as fold:
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
