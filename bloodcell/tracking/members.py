"""Reading finished runs from the store: what an ensemble needs of its members."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME
from numpy.typing import NDArray

from bloodcell.comparison.members import Member
from bloodcell.config import TrackingConfig
from bloodcell.errors import UserError
from bloodcell.evaluation.predictions import read_predictions
from bloodcell.tracking.run import ASIDE_TAG, FOLD_TAG, JOB_TAG
from bloodcell.tracking.store import Store, find_store, is_unknown, open_store
from bloodcell.tracking.study import children_of

PREDICTIONS, MANIFEST = "predictions.parquet", "manifest.parquet"
ENSEMBLE = "ensemble"
"""The job whose runs are ensembles, which are no members of another."""


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A finished run as a member of an ensemble.

    Attributes
    ----------
    member
        Its name, id and predictions.
    manifest
        The images that it was trained and tested on, with their split and digest.
    tags, parameters, metrics
        As MLflow keeps them.
    models
        Where to load its model from; without one of its own, those of its folds; empty if it kept none.
    """

    member: Member
    manifest: pd.DataFrame
    tags: Mapping[str, str]
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    models: tuple[str, ...]


def read_runs(*, tracking: TrackingConfig, run_ids: Sequence[str], study: str | None) -> list[FinishedRun]:
    """Read runs, or those of a study that finished; nothing is changed in the store.

    Parameters
    ----------
    tracking
        The store.
    run_ids
        The runs.
    study
        The id of the parent of a sweep or a search, in place of runs.

    Raises
    ------
    UserError
        If the store cannot be opened, has no such run, or a run is not finished, is a part of another, or left no
        predictions.
    """
    store = _existing(tracking)
    client = MlflowClient()
    if study is None:
        runs = [_member_run(client, run_id, store) for run_id in run_ids]
    else:
        parent = _run(client, study, store, setting="study")
        children = children_of(client, parent.info.experiment_id, study)
        if any(FOLD_TAG in child.data.tags for child in children):
            raise UserError(f"study={study}: is one cross-validation, whose runs are its folds; give a study, or runs=")
        runs = [child for child in children if _is_entry(child)]
        if not runs:
            raise UserError(f"study={study}: has no finished run; give the parent of a sweep or a search")
    names = [run.data.tags.get(MLFLOW_RUN_NAME, run.info.run_id) for run in runs]
    with TemporaryDirectory() as scratch:
        return [
            _finished(client, run, name=name if names.count(name) == 1 else f"{name} [{run.info.run_id[:8]}]", at=place)
            for run, name in zip(runs, names, strict=True)
            for place in [Path(scratch) / run.info.run_id]
        ]


def load_models(addresses: Sequence[str]) -> list[Any]:
    """Load Keras models that were logged, as they were, to predict.

    MLflow puts the code that a model carries before all else that Python finds; that is undone, since the bloodcell
    that runs is the one to go on with.
    """
    with _same_path():
        return [mlflow.tensorflow.load_model(address, keras_model_kwargs={"compile": False}) for address in addresses]


def example_of(address: str) -> NDArray[np.uint8]:
    """Return the image that was kept as a model's example, (1, height, width, 3), uint8."""
    from mlflow.models import Model

    folder = mlflow.artifacts.download_artifacts(artifact_uri=address)
    example = Model.load(folder).load_input_example(folder)
    return np.asarray(example, dtype=np.uint8)


def _existing(tracking: TrackingConfig) -> Store:
    """Open a store that is there; an embedded one is not made for the sake of finding nothing in it."""
    store = find_store(tracking)
    if store.named_by == "tracking.dir" and not Path(store.uri.removeprefix("sqlite:///")).is_file():
        raise UserError(f"tracking.dir={tracking.dir}: holds no runs; give the folder that they are in")
    return open_store(tracking)[0]


def _run(client: MlflowClient, run_id: str, store: Store, *, setting: str) -> Run:
    try:
        found = client.get_run(run_id)
    except MlflowException as error:
        if not is_unknown(error):
            raise
        found = None
    if found is None or found.info.lifecycle_stage == "deleted":
        raise UserError(f"{setting}={run_id}: {store.label} has no such run; give the id of one")
    return found


def _member_run(client: MlflowClient, run_id: str, store: Store) -> Run:
    run = _run(client, run_id, store, setting="runs")
    if FOLD_TAG in run.data.tags:
        parent = run.data.tags.get("mlflow.parentRunId", "")
        raise UserError(f"runs={run_id}: is one fold of a cross-validation; give the whole, {parent}")
    if run.data.tags.get(JOB_TAG) == ENSEMBLE:
        raise UserError(f"runs={run_id}: is an ensemble itself; give its members")
    if run.info.status != "FINISHED":
        raise UserError(f"runs={run_id}: is not finished ({run.info.status}); give a finished run")
    return run


def _is_entry(run: Run) -> bool:
    tags = run.data.tags
    return run.info.status == "FINISHED" and ASIDE_TAG not in tags and tags.get(JOB_TAG) != ENSEMBLE


def _finished(client: MlflowClient, run: Run, *, name: str, at: Path) -> FinishedRun:
    at.mkdir(exist_ok=True)  # a run may be given twice, which is for others to refuse
    run_id = run.info.run_id
    there = {artifact.path for artifact in client.list_artifacts(run_id)}
    if lacking := [file for file in (PREDICTIONS, MANIFEST) if file not in there]:
        raise UserError(f"runs={run_id}: has no {lacking[0]}; give a run of bloodcell train")
    for file in (PREDICTIONS, MANIFEST):
        mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=file, dst_path=str(at))
    return FinishedRun(
        member=Member(name=name, run_id=run_id, predictions=read_predictions(at / PREDICTIONS)),
        manifest=pd.read_parquet(at / MANIFEST),
        tags=run.data.tags,
        parameters=run.data.params,
        metrics=run.data.metrics,
        models=_models_of(client, run),
    )


def _models_of(client: MlflowClient, run: Run) -> tuple[str, ...]:
    if own := _logged(client, run.info.run_id):
        return own[-1:]
    folds = [
        fold for fold in children_of(client, run.info.experiment_id, run.info.run_id) if FOLD_TAG in fold.data.tags
    ]
    folds.sort(key=lambda fold: int(fold.data.tags[FOLD_TAG]))
    models = [_logged(client, fold.info.run_id)[-1:] for fold in folds]
    return tuple(address for found in models for address in found) if all(models) else ()


def _logged(client: MlflowClient, run_id: str) -> tuple[str, ...]:
    # A run that was searched for, not asked for by its id, does not say which models it has.
    outputs = client.get_run(run_id).outputs
    return () if outputs is None else tuple(f"models:/{output.model_id}" for output in outputs.model_outputs)


@contextmanager
def _same_path() -> Iterator[None]:
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before
