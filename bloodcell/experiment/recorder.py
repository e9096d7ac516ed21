"""Recorders of an experiment's results: always into a folder, and optionally elsewhere."""

import json
import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd
from matplotlib.figure import Figure

from bloodcell.data.manifest import write_manifest
from bloodcell.errors import reason_of
from bloodcell.files import atomic_write, named_in_errors
from bloodcell.plots.drawing import Pictures
from bloodcell.serving.prediction import ServingParameters

RUN_FILE, METRICS_FILE = "run.json", "metrics.jsonl"
RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
REASON_TAG = "reason"
"""The tag that says why a run did not finish."""


class Recorder:
    """Records a run completely in its folder, item by item.

    ``run.json`` has the run's state: a unique key, name, description, status, times in milliseconds since 1970, tags,
    parameters, final metrics and data set. ``metrics.jsonl`` has a line for each value of a metric, ``model/`` the
    model, and ``artifacts/`` everything else. A ``with`` block ends when all plots are drawn; it sets the status to
    FINISHED, to KILLED if the program was interrupted, and else to FAILED.

    For another sink, derive from this class, call its method first and then send the item: the folder is then complete
    even if the sink fails. `bloodcell.tracking.run.TrackedRun` does this for MLflow.

    Parameters
    ----------
    folder
        The run's folder.
    name, tags
        The run's name, and facts about it.
    resume
        Whether to continue the run whose record the folder has: it keeps its key and its start, and the same value of a
        metric is not recorded twice. Otherwise that record is replaced.
    draws
        Whether plots are drawn; not those of the trials of a search.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "",
        tags: Mapping[str, str] | None = None,
        resume: bool = False,
        draws: bool = True,
    ) -> None:
        self.draws = draws
        self._folder = folder
        self._pictures = Pictures(self.artifacts)
        before = (read_run(folder) if resume else None) or {}
        _keep_complete_lines(folder / METRICS_FILE, any_line=bool(before))
        self._run: dict[str, Any] = {
            "key": before.get("key") or uuid.uuid4().hex,
            "name": name,
            "description": before.get("description", ""),
            "status": RUNNING,
            "started": before.get("started") or now(),
            "ended": None,
            "tags": dict(tags or {}),
            "parameters": {},
            "metrics": before.get("metrics", {}),
        }
        self._rows = {(row["key"], row["step"]): row["value"] for row in read_metrics(folder)}
        self._waiting: list[dict[str, Any]] | None = None

    @contextmanager
    def written_once(self) -> Iterator[None]:
        """Write the state of the run and its metrics once, at the end of the block, not after each item."""
        if self._waiting is not None:
            yield
            return
        self._waiting = []
        try:
            yield
        finally:
            rows, self._waiting = self._waiting, None
            if rows:
                self._write_rows(rows)
            self._write()

    @property
    def folder(self) -> Path:
        """The run's folder: files, checkpoints, and the folders of its folds."""
        return self._folder

    @property
    def artifacts(self) -> Path:
        """The folder of the files that `log_artifacts` keeps."""
        return self._folder / "artifacts"

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Keep the settings of the run and the sizes of its data, by name."""
        self._run["parameters"] |= dict(parameters)
        self._write()

    def log_metrics(self, metrics: Mapping[str, float], *, prefix: str) -> None:
        """Keep finite final metrics as ``prefix/name``, or as ``name`` if the prefix is empty."""
        start = f"{prefix}/" if prefix else ""
        finite = {f"{start}{name}": float(value) for name, value in metrics.items() if math.isfinite(value)}
        self._append(finite, step=0)
        self._run["metrics"] |= finite
        self._write()

    def log_epoch(self, epoch: Any) -> None:
        """Keep the finite metrics of an epoch, a `bloodcell.training.trainer.Epoch`, as ``epoch/name``."""
        values = {f"epoch/{name}": value for name, value in asdict(epoch).items() if isinstance(value, float)}
        self._append({name: value for name, value in values.items() if math.isfinite(value)}, step=epoch.epoch)

    def log_dataset(self, manifest: pd.DataFrame, *, name: str, source: str, digest: str) -> None:
        """Keep the manifest of the images as ``manifest.parquet``, with their name, source and digest."""
        self.artifacts.mkdir(parents=True, exist_ok=True)
        write_manifest(manifest, self.artifacts / "manifest.parquet")
        self._run["dataset"] = {"name": name, "source": source, "digest": digest}
        self._write()

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
        if not self.draws:
            return
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
    def fold(self, number: int, *, n_folds: int, tags: Mapping[str, str], resume: bool = False) -> Iterator["Recorder"]:
        """Start, or resume, the run of a fold of this cross-validation, numbered from 1, in this run's folder."""
        name = f"fold {number} of {n_folds}"
        with type(self)(self.fold_folder(number), name=name, tags=tags, resume=resume, draws=self.draws) as fold:
            yield fold

    def fold_folder(self, number: int) -> Path:
        """Return the folder of a fold, numbered from 1."""
        return self.folder / "folds" / str(number)

    def __enter__(self) -> Self:
        """Record that the run has started."""
        self._write()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait for the plots, and record how the run ended."""
        try:
            self._pictures.__exit__(kind, error, traceback)
        except BaseException as failure:
            error = failure
            raise
        finally:
            self.end(error)

    def end(self, error: BaseException | None = None) -> None:
        """Record that the run has ended, because of an error or not."""
        if error is not None:
            self._run["tags"][REASON_TAG] = reason_of(error)
        self.close(FINISHED if error is None else FAILED if isinstance(error, Exception) else KILLED)

    def close(self, status: str) -> None:
        """Record that the run has ended with a status."""
        self._run |= {"status": status, "ended": now()}
        self._write()

    def _append(self, values: Mapping[str, float], *, step: int) -> None:
        """Append values of metrics, except those that the folder already has."""
        new = {name: value for name, value in values.items() if self._rows.get((name, step)) != value}
        self._rows |= {(name, step): value for name, value in new.items()}
        rows = [{"key": name, "value": value, "step": step, "time": now()} for name, value in new.items()]
        if self._waiting is None:
            self._write_rows(rows)
        else:
            self._waiting += rows

    def _write_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / METRICS_FILE
        with named_in_errors(path), path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{json.dumps(row)}\n" for row in rows))

    def _write(self) -> None:
        if self._waiting is not None:
            return
        write_run(self.folder, self._run)


def read_run(folder: Path) -> dict[str, Any] | None:
    """Return the state of the run that was recorded in a folder, see `Recorder`; None without a readable one."""
    try:
        values = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) and "key" in values else None


def write_run(folder: Path, values: Mapping[str, Any]) -> None:
    """Write the state of a run into its folder."""
    with atomic_write(folder / RUN_FILE) as partial:
        partial.write_text(json.dumps(values, indent=2, default=str), encoding="utf-8")


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the values of metrics that were recorded in a folder, in order: ``key, value, step, time``."""
    path = folder / METRICS_FILE
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []  # the last may not be completely written
    return [json.loads(line) for line in lines]


def _keep_complete_lines(path: Path, *, any_line: bool) -> None:
    """Remove a line that was not completely written, or all lines."""
    if path.exists():
        content = path.read_bytes()
        path.write_bytes(content[: content.rfind(b"\n") + 1] if any_line else b"")


def now() -> int:
    """Return the time in milliseconds since 1970."""
    return int(time.time() * 1000)
