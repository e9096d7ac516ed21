"""Reading the runs of a store as typed records."""

import gc
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE
from pydantic import TypeAdapter, ValidationError

from bloodcell.comparison.run_tags import TRAIN, RunTags
from bloodcell.comparison.tables import checked_table
from bloodcell.config.training import TrainConfig
from bloodcell.config.yaml_files import read_yaml
from bloodcell.console.progress import print_status
from bloodcell.data.csv_files import read_csv
from bloodcell.data.manifest import COLUMNS as MANIFEST_COLUMNS
from bloodcell.errors import UserError, one_line
from bloodcell.evaluation.predictions import read_predictions, with_sources
from bloodcell.tracking.store import Store, is_unknown

PREDICTIONS, MANIFEST, CONFIG = "predictions.parquet", "manifest.parquet", "config.yaml"
RENAMED = {("head", "beside"): "extra_features"}
"""Settings with another name in earlier versions: group and earlier name, and the present name."""
FINISHED = "FINISHED"
EPOCH_ACCURACY = "epoch/val_accuracy"

T = TypeVar("T")
TABLES = (".csv", ".tsv", ".parquet")
"""Suffixes of files of predictions."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """A run of the store. Its files are read when first used: in place if they are on this machine, else downloaded.

    Attributes
    ----------
    started
        When it started, in milliseconds since 1970.
    parent
        The id of its parent run, such as its study or its cross-validation.
    tags
        Facts about it.
    parameters
        Its settings by their dotted names, as text; see also `config`.
    metrics
        Its final metrics, such as ``val/accuracy``.
    description
        Its description, in Markdown.
    artifact_uri
        The address of its files.
    """

    id: str
    experiment_id: str
    name: str
    status: str
    started: int | None
    parent: str | None
    tags: RunTags
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    description: str = ""
    artifact_uri: str = ""

    def __str__(self) -> str:
        """Return its id and its name."""
        return f"{self.id} ({self.name})"

    @property
    def output_dir(self) -> Path | None:
        """Its folder on the machine that trained it; None if the run does not say."""
        return Path(self.tags.output_dir) if self.tags.output_dir else None

    @property
    def finished(self) -> bool:
        """Whether it has finished."""
        return self.status == FINISHED

    @cached_property
    def config(self) -> TrainConfig | None:
        """The configuration of a training; None for other jobs, and for versions with other settings."""
        if self.tags.job != TRAIN:
            return None
        try:
            values = self.read(CONFIG, read_yaml)
        except UserError as error:
            log.warning("config.yaml of run %s: %s", self.id, error)
            return None
        if not isinstance(values, dict):
            return None
        values.pop("tuner", None)  # of a search that trained it
        for (group, before), now in RENAMED.items():
            if isinstance(values.get(group), dict) and before in values[group]:
                values[group][now] = values[group].pop(before)
        try:
            return _TRAIN_CONFIG.validate_python(values)
        except ValidationError:
            return None

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """The predictions of held-out images, see `bloodcell.evaluation.predictions`.

        Of another tool's run, the only table among its files whose name says that it has predictions.
        """
        try:
            return self.read(PREDICTIONS, _read_predictions)
        except UserError:
            named = [file for file in self.files if "pred" in Path(file).name.lower() and file.endswith(TABLES)]
            if PREDICTIONS in self.files or len(named) != 1:
                raise
            return self.read(named[0], read_table)

    @cached_property
    def manifest(self) -> pd.DataFrame:
        """The manifest of its images."""
        return self.read(MANIFEST, _read_manifest)

    @cached_property
    def files(self) -> frozenset[str]:
        """The names of its artifacts."""
        return frozenset(artifact.path for artifact in MlflowClient().list_artifacts(self.id))

    @cached_property
    def folds(self) -> "tuple[StoredRun, ...]":
        """The folds of a cross-validation, in order."""
        folds = [run for run in children_of(self.id, self.experiment_id) if run.tags.fold is not None]
        return tuple(sorted(folds, key=lambda run: run.tags.fold or 0))

    @cached_property
    def models(self) -> tuple[str, ...]:
        """The addresses of its models, the newest last."""
        # MLflow returns the models of a run only if it is read by its id.
        outputs = MlflowClient().get_run(self.id).outputs
        return () if outputs is None else tuple(f"models:/{output.model_id}" for output in outputs.model_outputs)

    @cached_property
    def curve(self) -> list[tuple[float, float]]:
        """Pairs of epoch, from 1, and validation accuracy; of a cross-validation the mean, up to the shortest fold."""
        runs = [self] if EPOCH_ACCURACY in self.metrics else self.folds
        values: dict[int, list[float]] = {}
        for run in runs:
            for each in MlflowClient().get_metric_history(run.id, EPOCH_ACCURACY):
                values.setdefault(each.step, []).append(each.value)
        # A mean of fewer folds would not be comparable.
        return [
            (float(step + 1), sum(several) / len(several))
            for step, several in sorted(values.items())
            if len(several) == len(runs)
        ]

    def read(self, file: str, reader: Callable[[Path], T]) -> T:
        """Read one of its files with a function.

        Raises
        ------
        UserError
            If it has no such file, or the file cannot be read.
        """
        with self._found(file) as path:
            try:
                return reader(path)
            except Exception as error:  # a store may have any file, and readers raise any error
                reason = one_line(error).replace(f"{path}: ", "")
                raise UserError(f"runs={self.id}: {file} cannot be read ({reason}); leave the run out") from error

    @contextmanager
    def _found(self, file: str) -> Iterator[Path]:
        """Give the path of one of its files, which is downloaded for the block if it is not on this machine."""
        with ExitStack() as stack:
            try:
                path = self._repository.get_local_path(file)
                if path is None:
                    path = f"{stack.enter_context(TemporaryDirectory())}/{file}"
                    self._repository._download_file(file, path)  # `download_artifacts` asks first if it is a folder
            except Exception as error:  # of any kind of store
                if file not in self.files:
                    text = f"runs={self.id}: has no {file}; give a run of bloodcell train or ensemble"
                    raise UserError(text) from error
                raise
            yield Path(path)

    @cached_property
    def _repository(self) -> ArtifactRepository:
        return get_artifact_repository(self.artifact_uri)


def _read_predictions(path: Path) -> pd.DataFrame:
    table = read_predictions(path)
    checked_table(PREDICTIONS, table)
    return table


def read_table(path: Path) -> pd.DataFrame:
    """Read a table of predictions of any tool: columns of numbers as numbers, names as text."""
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    table, typed = read_csv(path, setting="runs"), {}
    for name in table.columns:
        column = table[name].mask(table[name] == "")
        numbers = column if name in ("path", "label", "source", "group") else pd.to_numeric(column, errors="coerce")
        typed[name] = column if numbers.isna().sum() > column.isna().sum() else numbers
    return pd.DataFrame(typed)


def read_table_file(file: str) -> pd.DataFrame:
    """Read a table of predictions that the setting ``runs`` names.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    path = Path(file).expanduser()
    if not path.exists():
        raise UserError(f"runs={file}: there is no such file; give a table of predictions, or the id of a run")
    try:
        return read_table(path)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"runs={file}: cannot be read ({reason}); give a table of predictions") from error


def _read_manifest(path: Path) -> pd.DataFrame:
    table = with_sources(pd.read_parquet(path))
    if absent := [column for column in MANIFEST_COLUMNS if column not in table.columns]:
        raise UserError(f"has no column {absent[0]}")
    return table


_TRAIN_CONFIG: TypeAdapter[TrainConfig] = TypeAdapter(TrainConfig)


def find_run(run_id: str, store: Store, *, setting: str) -> StoredRun:
    """Return a run, which ``setting`` names; a `UserError` if the store has no such run."""
    run = run_or_none(run_id)
    if run is None:
        raise UserError(f"{setting}={run_id}: {store.label} has no such run; give the id of one")
    return run


def run_or_none(run_id: str) -> StoredRun | None:
    """Return a run; None if the store has none with this id, or it was deleted."""
    try:
        found = MlflowClient().get_run(run_id)
    except MlflowException as error:
        if not is_unknown(error):
            raise
        return None
    return None if found.info.lifecycle_stage == "deleted" else _record(found)


def finished_run(run_id: str, store: Store, *, setting: str) -> StoredRun:
    """Return a finished run, which ``setting`` names; a `UserError` if there is no such run, or it did not finish."""
    run = find_run(run_id, store, setting=setting)
    if not run.finished:
        raise UserError(f"{setting}={run_id}: is not finished ({run.status}); give a finished run")
    return run


def whole_run(run_id: str, store: Store) -> StoredRun:
    """Return a finished run that the setting ``runs`` names, and that is not a fold.

    Raises
    ------
    UserError
        If the store has no such run, it did not finish, or is a fold.
    """
    run = finished_run(run_id, store, setting="runs")
    if run.tags.fold is not None:
        raise UserError(f"runs={run_id}: is a fold of a cross-validation; give the cross-validation, {run.parent}")
    return run


def runs_of_study(study: str, store: Store) -> list[StoredRun]:
    """Return the runs of a study, the oldest first; a `UserError` if it is not there, or a cross-validation."""
    parent = find_run(study, store, setting="study")
    children = children_of(study, parent.experiment_id)
    if any(child.tags.fold is not None for child in children):
        raise UserError(f"study={study}: is a cross-validation, not a study; give a study, or runs=")
    return children


def only_finished(runs: Sequence[StoredRun], *, setting: str, advice: str) -> list[StoredRun]:
    """Return the runs that finished, and print the names of the others.

    Raises
    ------
    UserError
        If no run finished; ``setting`` and ``advice`` are for the message.
    """
    if left_out := [run.name for run in runs if not run.finished]:
        print_status(f"left out, not finished: {'; '.join(left_out)}")
    finished = [run for run in runs if run.finished]
    if not finished:
        raise UserError(f"{setting}: has no finished run; {advice}")
    return finished


def children_of(run_id: str, experiment_id: str) -> list[StoredRun]:
    """Return the runs within a run, the oldest first."""
    return search_runs(f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}'", [experiment_id])


def search_runs(condition: str, experiment_ids: Sequence[str] | None = None) -> list[StoredRun]:
    """Return all runs that meet a condition in MLflow's syntax, the oldest first.

    The oldest come first; with an empty condition, all runs.
    """
    return [_record(run) for run in mlflow_runs(condition, experiment_ids)]


def mlflow_runs(
    condition: str, experiment_ids: Sequence[str] | None = None, *, view: int = ViewType.ACTIVE_ONLY
) -> list[Run]:
    """Return the runs of `search_runs` as MLflow's objects; ``view=ViewType.ALL`` includes deleted ones."""
    client = MlflowClient()
    if experiment_ids is None:
        experiment_ids = [each.experiment_id for each in client.search_experiments()]
    found: list[Run] = []
    token = None
    while token != "":
        with _without_garbage_collection():
            page = client.search_runs(
                list(experiment_ids),
                condition,
                run_view_type=view,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
        found.extend(page)
        token = page.token or ""
    return found


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Do not look for garbage meanwhile: of a page of 1,000 runs with 200,000 values, that takes most of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _present_names(metrics: Mapping[str, float]) -> dict[str, float]:
    """Rename the metrics of the majority class in a run of an earlier version: ``baseline/test/accuracy``."""
    before = re.compile(r"baseline/(val|test)/")
    return {before.sub(r"\1/majority_class/", name): value for name, value in metrics.items()}


def _record(run: Run) -> StoredRun:
    info: Any = run.info
    return StoredRun(
        id=info.run_id,
        experiment_id=info.experiment_id,
        name=info.run_name or info.run_id,
        status=info.status,
        started=info.start_time,
        parent=run.data.tags.get(MLFLOW_PARENT_RUN_ID),
        tags=RunTags.read(run.data.tags),
        parameters=run.data.params,
        metrics=_present_names(run.data.metrics),
        description=run.data.tags.get(MLFLOW_RUN_NOTE, ""),
        artifact_uri=info.artifact_uri,
    )
