"""The card of a registered model, from what its run keeps."""

import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from bloodcell.cards.model_card import CardFacts
from bloodcell.cards.model_card_training import Training
from bloodcell.data.groups import sources_in_several_groups
from bloodcell.data.leaks import Leakage, find_shared_groups, shared_groups_in_folds
from bloodcell.errors import UserError
from bloodcell.evaluation.predictions import label_indices, probabilities_of, read_predictions, with_sources
from bloodcell.experiment.images import BY_FILE
from bloodcell.jobs._members import folds_in, stops_by_validation
from bloodcell.serving.answering import Answering
from bloodcell.tracking.kept import artifact_of
from bloodcell.tracking.members import ENSEMBLE, MANIFEST, PREDICTIONS
from bloodcell.tracking.run import ASIDE_TAG, BASELINE, FOLD_TAG, JOB_TAG
from bloodcell.tracking.study import children_of, found_runs
from bloodcell.wording import group_name_of

MAX_ERRORS = (0.05, 0.1)
"""The shares of wrong answers that a card says something about."""
WEIGHT = "weight/"

T = TypeVar("T")


def card_facts(run: Run, *, name: str, answering: Answering) -> CardFacts:
    """Gather what there is to say of a run's model; what is missing is left open.

    Parameters
    ----------
    run
        The run that keeps it.
    name
        Of the registered model.
    answering
        What is known of the model beside its weights.
    """
    tags, metrics = run.data.tags, run.data.metrics
    is_ensemble = tags.get(JOB_TAG) == ENSEMBLE
    trainings = _members(run) if is_ensemble else [_training(run)]
    with tempfile.TemporaryDirectory() as scratch:
        predictions = _kept(run, PREDICTIONS, lambda path: _predictions(path, answering.classes), Path(scratch))
        manifest = _kept(run, MANIFEST, lambda path: with_sources(pd.read_parquet(path)), Path(scratch))
    siblings, study, readings = _study_of(run)
    return CardFacts(
        name=name,
        run_id=run.info.run_id,
        run_name=tags.get(MLFLOW_RUN_NAME, ""),
        date=_date(run.info.start_time),
        metrics=metrics,
        tags=tags,
        trainings=trainings,
        method=tags.get("method", "soft") if is_ensemble else "",
        classes=answering.classes,
        predictions=predictions,
        manifest=manifest,
        leak=_leak(run, trainings, manifest, predictions),
        temperature=answering.temperature,
        thresholds={max_error: answering.threshold(max_error) for max_error in MAX_ERRORS},
        photographs_of_threshold=len(answering.held_out_labels),
        siblings=siblings,
        study=study,
        tested_runs=_tested_runs(run),
        test_readings=readings,
    )


def _training(run: Run, *, weight: float | None = None) -> Training:
    return Training(
        name=run.data.tags.get(MLFLOW_RUN_NAME, run.info.run_id),
        run_id=run.info.run_id,
        parameters=run.data.params,
        tags=run.data.tags,
        weight=weight,
        stops_by_validation="head.solver" in run.data.params and stops_by_validation(run.data.params),
    )


def _members(run: Run) -> list[Training]:
    """Return the trainings of an ensemble's members; of one that was deleted no more than its id."""
    weights = run.data.metrics
    members = []
    for run_id in filter(None, run.data.tags.get("members", "").split(", ")):
        weight = weights.get(f"{WEIGHT}{run_id}")
        try:
            members.append(_training(MlflowClient().get_run(run_id), weight=weight))
        except MlflowException:
            members.append(
                Training(name=run_id, run_id=run_id, parameters={}, tags={}, weight=weight, stops_by_validation=False)
            )
    return members


def _kept(run: Run, name: str, read: Callable[[Path], T], folder: Path) -> T | None:
    """Return what a run keeps as an artifact; None where it does not, or it cannot be read."""
    try:
        path = artifact_of(run, name, at=folder)
        return None if path is None else read(path)
    except (UserError, MlflowException, OSError, ValueError):
        return None


def _predictions(path: Path, classes: Sequence[str]) -> pd.DataFrame:
    """Read predictions; those of other classes than the model's are none of its."""
    table = read_predictions(path)
    probabilities_of(table, classes)
    label_indices(table, classes)
    return table


def _leak(
    run: Run, trainings: list[Training], manifest: pd.DataFrame | None, predictions: pd.DataFrame | None
) -> Leakage | None:
    """Look for copies on two sides once more: of what a run found, it keeps no more than whether there were any."""
    leaky, groups = run.data.tags.get("leaky"), run.data.tags.get("groups")
    if manifest is None or leaky is None or groups is None:
        return None
    name = group_name_of([run.data.tags])
    shared = find_shared_groups(manifest, group_name=name) if leaky == "true" else []
    if leaky == "true" and predictions is not None and not (manifest["split"] == "val").any():
        val = predictions[predictions["split"] == "val"]
        shared += shared_groups_in_folds(folds_in(val, manifest), group_name=name)
    split_by_file = any(each.parameters.get("split.name") in BY_FILE for each in trainings)
    torn = sources_in_several_groups(manifest)
    return Leakage(
        shared=shared, split_by_file=split_by_file, groups_known=groups != "none", torn=torn, group_name=name
    )


def _study_of(run: Run) -> tuple[int, str, int | None]:
    """Return how many runs a run was one of, of what, and how often that has read the test set for its best."""
    parent_id = run.data.tags.get(MLFLOW_PARENT_RUN_ID)
    if parent_id is None or FOLD_TAG in run.data.tags:
        return 0, "", None
    client = MlflowClient()
    try:
        parent = client.get_run(parent_id)
    except MlflowException:
        return 0, "", None
    children = children_of(client, parent.info.experiment_id, parent_id)
    alike = [
        child
        for child in children
        if ASIDE_TAG not in child.data.tags
        and child.data.tags.get(JOB_TAG) is None
        and not child.data.tags.get(MLFLOW_RUN_NAME, "").startswith(BASELINE)
    ]
    readings = parent.data.tags.get("test_readings")
    return len(alike), parent.data.tags.get("study", "study"), None if readings is None else int(readings)


def _tested_runs(run: Run) -> int | None:
    """Return how many runs in the store have figures of the test images of a run's very split, itself included."""
    digest = run.data.tags.get("data_digest")
    if digest is None or "test/accuracy" not in run.data.metrics:
        return None
    client = MlflowClient()
    experiments = [each.experiment_id for each in client.search_experiments()]
    found = found_runs(client, experiments, f"tags.data_digest = '{digest}' AND metrics.`test/accuracy` >= 0")
    return len([each for each in found if FOLD_TAG not in each.data.tags])


def _date(milliseconds: int | None) -> str | None:
    if not milliseconds:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
