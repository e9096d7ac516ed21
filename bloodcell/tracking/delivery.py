"""Delivering the folder of a run to MLflow: each call sends what the store does not have yet."""

import itertools
import json
import os
import re
import threading
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import mlflow
import pandas as pd
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import DatasetInput, InputTag, LoggedModelOutput, LoggedModelStatus, Metric, Param, RunTag
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import (
    MLFLOW_DATASET_CONTEXT,
    MLFLOW_LOGGED_ARTIFACTS,
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_RUN_NAME,
    MLFLOW_RUN_NOTE,
)

from bloodcell.experiment.recorder import METRICS_FILE, REASON_TAG, RUN_FILE, RUNNING, now, read_metrics, read_run
from bloodcell.files import atomic_write
from bloodcell.tracking.store import Store, experiment_of, is_unknown, store_in_record

SENT_FILE = "delivered.json"
LOCK_FILE, LOCK_SECONDS = ".delivery.lock", 10.0
"""The file that is locked while a process delivers a run, and the seconds to wait for another process."""
KEY_TAG = "bloodcell.key"
"""The tag with a run's key: a run with this key is not created twice."""
HEARTBEAT_TAG, HEARTBEAT_EVERY = "bloodcell.heartbeat", 60_000
"""The tag with the time of a sign of life of a running run, and the milliseconds between two."""
CONTEXTS = {"train": "training", "val": "validation", "test": "test"}
"""What MLflow calls the use of each split."""
METRICS_PER_REQUEST, PARAMETERS_PER_REQUEST, TAGS_PER_REQUEST = 800, 100, 100
"""MLflow's limits; together 1000."""
DATASETS_KEPT = 30
"""Sets of images whose description is kept for the next run; the folds of a cross-validation have one each."""

T = TypeVar("T")


class Delivery:
    """Delivers the run in a folder to an MLflow store, once and completely.

    ``delivered.json`` in the folder says what the store has. Everything can be repeated: after an error, in another
    process, or from the beginning if that file is lost.

    Parameters
    ----------
    folder
        The folder of a `bloodcell.tracking.run.TrackedRun`.
    store
        Where to deliver to.
    """

    def __init__(self, folder: Path, *, store: Store) -> None:
        self.folder, self.store = folder, store
        self.steps = 0  # how often the store has got something new
        self._lock = threading.RLock()
        self._sent = read_sent(self.folder)
        """What the store has: the values that were sent, the size and time of files, ids, and ``state``."""
        self._continued = bool(self._sent)

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run; None if it has not been created yet."""
        run_id: str | None = self._sent.get("run_id")
        return run_id

    @property
    def experiment_id(self) -> str | None:
        """MLflow's id of the experiment; None if the run has not been created yet."""
        experiment_id: str | None = self._sent.get("experiment_id")
        return experiment_id

    @property
    def model_id(self) -> str | None:
        """MLflow's id of the delivered model; None without one."""
        return self._sent.get("model_id") if self._sent.get("model") else None

    @property
    def ended(self) -> bool:
        """Whether the run has ended, or its folder was removed."""
        return (read_run(self.folder) or {}).get("status") != RUNNING

    @property
    def complete(self) -> bool:
        """Whether the run has ended and the store has everything, or its folder was removed."""
        run = read_run(self.folder)
        return run is None or (run["status"] != RUNNING and self._sent.get("state") == _state(self.folder))

    def create(self) -> str:
        """Create the run in the store, unless it is there; return its id."""
        with self._lock:
            if self.run_id is None:
                run = self._run()
                self._remember(experiment_id=experiment_of(run["experiment"], self.store, self._client))
                found = self._find(run["key"]) if self._sent.get("tried") else []
                if not found:
                    self._continued = bool(self._sent.get("tried"))
                    self._remember(tried=True)
                    found = [self._create(run)]
                self._remember(run_id=found[0], status=RUNNING)
            return str(self.run_id)

    def deliver(self) -> None:
        """Send everything that the store does not have yet; the status comes last.

        Raises
        ------
        Exception
            Of MLflow, of the connection or of the database, if the store fails; what was sent is remembered.
        """
        with self._lock, FileLock(self.folder / LOCK_FILE, timeout=LOCK_SECONDS):
            self._sent = read_sent(self.folder)
            state, run = _state(self.folder), self._run()
            if state == self._sent.get("state"):
                self._beat(run)
                return
            self.create()
            if self._sent["status"] != RUNNING and run["status"] == RUNNING:
                self._client.update_run(str(self.run_id), status=RUNNING)
                self._remember(status=RUNNING)
            self._send_values(run)
            if run["status"] != RUNNING or run.get("artifacts"):
                self._send_dataset(run)
                self._send_files()
                self._send_model(run)
            if run["status"] != RUNNING:
                self._end(run)
            self._remember(state=state)

    def end_at_once(self, status: str, *, reason: str) -> None:
        """Set the status in the store without the record of the folder, which cannot be written; ignore errors."""
        if self.run_id is not None:
            with suppress(Exception):
                self._client.set_tag(self.run_id, REASON_TAG, reason)
                self._client.set_terminated(self.run_id, status)

    def forget_if_lost(self) -> None:
        """Deliver everything again if the store has lost the run: a new database, or another server."""
        if self.run_id is None:
            return
        try:
            self._client.get_run(self.run_id)
        except MlflowException as error:
            if not is_unknown(error):
                raise
            (self.folder / SENT_FILE).unlink()
            self._sent = {}

    @cached_property
    def _client(self) -> MlflowClient:
        return MlflowClient(self.store.uri)  # opens a database, so only when it is needed

    # Steps, each of which can be repeated

    def _create(self, run: Mapping[str, Any]) -> str:
        tags = {**self._tags(run), KEY_TAG: run["key"]}
        with _without_retries():
            created = self._client.create_run(
                self.experiment_id, start_time=run["started"], tags=resolve_tags(tags), run_name=run["name"]
            )
        self._remember(tags=self._tags(run))
        return str(created.info.run_id)

    def _parent(self, run: Mapping[str, Any]) -> str | None:
        parent: str | None = run.get("parent")
        if parent is None or not parent.startswith(".."):
            return parent
        return Delivery(self.folder / parent, store=self.store).create()

    def _find(self, key: str) -> list[str]:
        """Return the ids of the runs with a key, the oldest first."""
        found = self._client.search_runs(
            [str(self.experiment_id)], f"tags.`{KEY_TAG}` = '{key}'", order_by=["attributes.start_time ASC"]
        )
        return sorted(str(each.info.run_id) for each in found)

    def _tags(self, run: Mapping[str, Any]) -> dict[str, str]:
        tags = {name: str(value) for name, value in run["tags"].items()} | {MLFLOW_RUN_NAME: run["name"]}
        if (parent := self._parent(run)) is not None:
            tags[MLFLOW_PARENT_RUN_ID] = parent
        if run["description"]:
            tags[MLFLOW_RUN_NOTE] = run["description"]
        if run.get("tables"):
            shown = [{"path": name, "type": "table"} for name in run["tables"]]
            tags[MLFLOW_LOGGED_ARTIFACTS] = json.dumps(shown)
        return tags

    def _send_values(self, run: Mapping[str, Any]) -> None:
        """Send new parameters, tags, and values of metrics."""
        run_id, sent = str(self.run_id), self._sent
        tags = self._tags(run)
        for removed in sent.get("tags", {}).keys() - tags.keys():
            self._client.delete_tag(run_id, removed)
        new_tags = [RunTag(*item) for item in tags.items() - sent.get("tags", {}).items()]
        parameters = {name: str(value) for name, value in run["parameters"].items()}
        new_parameters = [Param(*item) for item in parameters.items() - sent.get("parameters", {}).items()]
        rows = [_metric(row) for row in read_metrics(self.folder)]
        count = sent.get("metrics", 0)
        requests = itertools.zip_longest(
            _batches(new_tags, TAGS_PER_REQUEST),
            _batches(new_parameters, PARAMETERS_PER_REQUEST),
            _batches(rows[count:], METRICS_PER_REQUEST),
            fillvalue=(),
        )
        for some_tags, some_parameters, some_rows in requests:
            self._client.log_batch(run_id, tags=some_tags, params=some_parameters, metrics=some_rows)
        self._remember(tags=tags, parameters=parameters, metrics=len(rows), beat=now())

    def _send_dataset(self, run: Mapping[str, Any]) -> None:
        dataset = run.get("dataset")
        if dataset is None or dataset == self._sent.get("dataset"):
            return
        manifest = self.folder / "artifacts" / "manifest.parquet"
        # The digest counts all images; the size, further columns.
        inputs, splits = _dataset_inputs(manifest, manifest.stat().st_size, **dataset)
        try:
            self._client.log_inputs(str(self.run_id), list(inputs))
        except MlflowException as error:
            # MLflow looks for the dataset before it adds it: another process may have added it in between.
            if not any(word in str(error).lower() for word in ("unique", "duplicate")):
                raise
            self._client.log_inputs(str(self.run_id), list(inputs))
        self._remember(dataset=dataset, splits=list(splits))

    def _send_files(self) -> None:
        """Send files that are new, or have changed."""
        root = self.folder / "artifacts"
        files: dict[str, list[int]] = dict(self._sent.get("files", {}))
        for path in sorted(root.rglob("*")):
            name, facts = path.relative_to(root).as_posix(), path.stat()
            if not path.is_file() or path.name.startswith(".") or files.get(name) == [facts.st_size, facts.st_mtime_ns]:
                continue
            self._client.log_artifact(str(self.run_id), str(path), name.rpartition("/")[0] or None)
            files[name] = [facts.st_size, facts.st_mtime_ns]
        self._remember(files=files)

    def _send_model(self, run: Mapping[str, Any]) -> None:
        """Send the model, with the final metrics and the datasets that they are of."""
        folder = self.folder / "model"
        if not run.get("model") or self.model_id is not None:
            return
        run_id = str(self.run_id)
        if "model_id" not in self._sent:
            self._remember(model_id=self._created_model(run))
        model_id = self._sent["model_id"]
        self._client.log_model_artifacts(model_id, str(folder))
        with TemporaryDirectory() as scratch:  # the folder's does not know the ids
            described = Model.load(folder)
            described.run_id, described.model_id, described.model_uuid = run_id, model_id, model_id
            described.save(str(Path(scratch) / "MLmodel"))
            self._client.log_model_artifacts(model_id, scratch)
        final = {row["key"]: row for row in read_metrics(self.folder) if row["key"] in run["metrics"]}
        rows = [_metric(row, model_id=model_id, dataset=self._dataset_of(run, name)) for name, row in final.items()]
        for some_rows in _batches(rows, METRICS_PER_REQUEST):
            self._client.log_batch(run_id, metrics=some_rows)
        self._client.finalize_logged_model(model_id, LoggedModelStatus.READY)
        self._remember(model=True)

    def _dataset_of(self, run: Mapping[str, Any], metric: str) -> tuple[str, str] | None:
        """Return the name and the digest of the dataset that a metric is of; None if it is of none."""
        splits: list[str] = self._sent.get("splits", [])
        for split in ("val", "test"):
            if split in metric.split("/")[:-1] and splits:
                # In a cross-validation, validation images are training images, out of fold.
                found = split if split in splits else "train"
                return _dataset_name(run, found), run["dataset"]["digest"]
        return None

    def _created_model(self, run: Mapping[str, Any]) -> str:
        """Return the id of the model that the run has in the store, or create it."""
        run_id, found = str(self.run_id), None
        outputs = self._client.get_run(run_id).outputs
        if outputs is not None and outputs.model_outputs:
            return str(outputs.model_outputs[-1].model_id)
        if self._sent.get("model_tried"):
            tag = f"tags.`{KEY_TAG}` = '{run['key']}'"
            found = next(iter(self._client.search_logged_models([str(self.experiment_id)], tag)), None)
        self._remember(model_tried=True)
        with _without_retries():
            if found is None:
                parameters = {name: str(value) for name, value in run["parameters"].items()}
                tags = {KEY_TAG: run["key"], MLFLOW_RUN_NOTE: run["description"]}
                name = re.sub(r"""[/:.%"']+\s*""", " ", run["name"]).strip() or "model"  # MLflow refuses these
                found = self._client._create_logged_model(
                    str(self.experiment_id), name, run_id, tags=tags, params=parameters, flavor="mlflow.tensorflow"
                )
            self._client.log_outputs(run_id, [LoggedModelOutput(found.model_id, step=0)])
        return str(found.model_id)

    def _end(self, run: Mapping[str, Any]) -> None:
        """Set the status; remove the reason of a failure that another process wrote, and runs created twice."""
        run_id = str(self.run_id)
        if self._continued:
            stored = self._client.get_run(run_id).data.tags
            if REASON_TAG in stored and REASON_TAG not in run["tags"]:
                self._client.delete_tag(run_id, REASON_TAG)
            for other in self._find(run["key"]):
                if other != run_id:
                    self._client.delete_run(other)
        self._client.set_terminated(run_id, run["status"], run["ended"])
        self._remember(status=run["status"])

    def _beat(self, run: Mapping[str, Any]) -> None:
        if run["status"] == RUNNING and now() - self._sent.get("beat", 0) > HEARTBEAT_EVERY:
            self._client.set_tag(str(self.run_id), HEARTBEAT_TAG, str(now()))
            self._remember(beat=now())

    # State

    def _run(self) -> dict[str, Any]:
        run = read_run(self.folder)
        if run is None:
            raise FileNotFoundError(self.folder / RUN_FILE)
        return run

    def _remember(self, **values: Any) -> None:
        if any(self._sent.get(name) != value for name, value in values.items() if name != "beat"):
            self.steps += 1
        self._sent |= {"key": self._run()["key"], **values}
        with atomic_write(self.folder / SENT_FILE) as partial:
            partial.write_text(json.dumps(self._sent), encoding="utf-8")


def recorded_delivery(folder: Path) -> Delivery:
    """Return the delivery of the run in a folder to the store that the folder records.

    Raises
    ------
    UserError
        As `bloodcell.tracking.store.store_in_record`.
    """
    return Delivery(folder, store=store_in_record((read_run(folder) or {})["store"], folder))


def read_sent(folder: Path) -> dict[str, Any]:
    """Return what was delivered of the run in a folder; empty if nothing was, or the folder has another run now."""
    try:
        sent = json.loads((folder / SENT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return sent if isinstance(sent, dict) and sent.get("key") == (read_run(folder) or {}).get("key") else {}


_inputs: dict[Hashable, tuple[tuple[DatasetInput, ...], tuple[str, ...]]] = {}


def _dataset_inputs(
    manifest: Path, size: int, *, name: str, source: str, digest: str
) -> tuple[tuple[DatasetInput, ...], tuple[str, ...]]:
    """Return MLflow's description of a manifest's splits, and their names; once for all runs with these images."""
    key = (size, name, source, digest)
    if key not in _inputs:
        inputs, splits = [], []
        for split, rows in pd.read_parquet(manifest).groupby("split"):
            given = {"name": f"{name} {split}", "source": source, "digest": digest}
            entity = mlflow.data.from_pandas(rows.reset_index(drop=True), **given)._to_mlflow_entity()
            context = InputTag(MLFLOW_DATASET_CONTEXT, CONTEXTS.get(str(split), str(split)))
            inputs.append(DatasetInput(entity, tags=[context]))
            splits.append(str(split))
        _inputs[key] = tuple(inputs), tuple(sorted(splits))
        while len(_inputs) > DATASETS_KEPT:
            del _inputs[next(iter(_inputs))]
    return _inputs[key]


def _state(folder: Path) -> list[int]:
    """Return what changes with every item that is recorded in a folder."""
    metrics = folder / METRICS_FILE
    return [(folder / RUN_FILE).stat().st_mtime_ns, metrics.stat().st_size if metrics.exists() else 0]


def _metric(row: Mapping[str, Any], *, model_id: str | None = None, dataset: tuple[str, str] | None = None) -> Metric:
    name, digest = dataset or (None, None)
    more = {"model_id": model_id, "dataset_name": name, "dataset_digest": digest}
    return Metric(row["key"], row["value"], row["time"], row["step"], **more)


def _dataset_name(run: Mapping[str, Any], split: str) -> str:
    return f"{run['dataset']['name']} {split}"


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


@contextmanager
def _without_retries() -> Iterator[None]:
    """Have MLflow send a request once: repeated after a lost answer, it would create a thing twice."""
    name = MLFLOW_HTTP_REQUEST_MAX_RETRIES.name
    before = os.environ.get(name)
    os.environ[name] = "0"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
