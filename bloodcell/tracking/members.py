"""Reading finished runs from the store: what an ensemble needs of its members."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from mlflow.entities import Run
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

from bloodcell.comparison.members import Member
from bloodcell.config.tracking import TrackingConfig
from bloodcell.errors import UserError
from bloodcell.evaluation.predictions import read_predictions, with_sources
from bloodcell.tracking.kept import download, existing_store, finished_of, folds_of, models_in, runs_of_study, whole_run
from bloodcell.tracking.run import ASIDE_TAG, BASELINE, JOB_TAG
from bloodcell.tracking.store import Store

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
    """Read runs, or those of a study that finished but for its baselines; nothing is changed in the store.

    Which runs of a study did not finish and are left out is said.

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
    store = existing_store(tracking)
    if study is None:
        runs = [_member_run(run_id, store) for run_id in run_ids]
    else:
        members = [child for child in runs_of_study(study, store) if _is_member(child)]
        runs = finished_of(members, setting=f"study={study}", mend="give the parent of a sweep or a search")
    names = [run.data.tags.get(MLFLOW_RUN_NAME, run.info.run_id) for run in runs]
    with TemporaryDirectory() as scratch:
        return [
            _finished(run, name=name if names.count(name) == 1 else f"{name} [{run.info.run_id[:8]}]", at=place)
            for run, name in zip(runs, names, strict=True)
            for place in [Path(scratch) / run.info.run_id]
        ]


def _member_run(run_id: str, store: Store) -> Run:
    run = whole_run(run_id, store)
    if run.data.tags.get(JOB_TAG) == ENSEMBLE:
        raise UserError(f"runs={run_id}: is an ensemble itself; give its members")
    return run


def _is_member(run: Run) -> bool:
    tags = run.data.tags
    apart = ASIDE_TAG in tags or tags.get(JOB_TAG) == ENSEMBLE or tags.get(MLFLOW_RUN_NAME, "").startswith(BASELINE)
    return not apart


def _finished(run: Run, *, name: str, at: Path) -> FinishedRun:
    download(run, (PREDICTIONS, MANIFEST), at=at, mend="give a run of bloodcell train")
    return FinishedRun(
        member=Member(name=name, run_id=run.info.run_id, predictions=read_predictions(at / PREDICTIONS)),
        manifest=with_sources(pd.read_parquet(at / MANIFEST)),
        tags=run.data.tags,
        parameters=run.data.params,
        metrics=run.data.metrics,
        models=_models_of(run),
    )


def _models_of(run: Run) -> tuple[str, ...]:
    if own := models_in(run):
        return own[-1:]
    models = [models_in(fold)[-1:] for fold in folds_of(run)]
    return tuple(address for found in models for address in found) if all(models) else ()
