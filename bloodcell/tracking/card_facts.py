"""The facts of a model's card, from its run and the runs around it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

import pandas as pd
from mlflow.exceptions import MlflowException

from bloodcell.cards.model_card import CardFacts
from bloodcell.cards.model_card_training import Training
from bloodcell.comparison.run_tags import ENSEMBLE, TRAIN
from bloodcell.data.groups import sources_in_several_groups
from bloodcell.data.leaks import Leakage, find_shared_groups, shared_groups_in_folds
from bloodcell.errors import UserError
from bloodcell.evaluation.predictions import label_indices, probabilities_of
from bloodcell.experiment.images import BY_FILE
from bloodcell.serving.answering import Answering
from bloodcell.tracking.members import manifests_of_folds
from bloodcell.tracking.run import BASELINE
from bloodcell.tracking.runs import StoredRun, children_of, run_or_none, search_runs

MAX_ERRORS = (0.05, 0.1)
"""The shares of errors for which a card gives thresholds."""

T = TypeVar("T")


def card_facts(run: StoredRun, *, name: str, answering: Answering) -> CardFacts:
    """Return the facts of the card of a run's model; what the run did not keep is left open."""
    is_ensemble = run.tags.job == ENSEMBLE
    trainings = _members(run) if is_ensemble else [_training(run)]
    predictions = _kept(lambda: _predictions(run, answering))
    manifest = _kept(lambda: run.manifest)
    siblings, study, readings = _study_of(run)
    return CardFacts(
        name=name,
        run_id=run.id,
        run_name=run.name,
        date=_date(run.started),
        metrics=run.metrics,
        tags=run.tags,
        trainings=trainings,
        method=run.tags.method or "soft" if is_ensemble else "",
        classes=answering.classes,
        predictions=predictions,
        manifest=manifest,
        leak=_leak(run, trainings, manifest, predictions),
        temperature=answering.temperature,
        thresholds={max_error: answering.threshold(max_error) for max_error in MAX_ERRORS},
        n_threshold_sources=len(answering.held_out_labels),
        siblings=siblings,
        study=study,
        tested_runs=_tested_runs(run),
        test_readings=readings,
    )


def _training(run: StoredRun, *, weight: float | None = None) -> Training:
    return Training(
        name=run.name,
        run_id=run.id,
        config=_kept(lambda: run.config),
        tags=run.tags,
        weight=weight,
        n_unreadable=int(run.parameters.get("images.unreadable", 0)),
        n_left_out=int(run.parameters.get("images.left_out", 0)),
    )


def _members(run: StoredRun) -> list[Training]:
    """Return the trainings of an ensemble's members; of one that was deleted only its id and weight."""
    members = []
    for run_id in run.tags.members:
        member, weight = run_or_none(run_id), run.metrics.get(f"weight/{run_id}")
        deleted = Training(name=run_id, run_id=run_id, config=None, weight=weight)
        members.append(_training(member, weight=weight) if member else deleted)
    return members


def _kept(read: Callable[[], T | None]) -> T | None:
    """Return what a run has kept; None if it has not, or if it cannot be read."""
    try:
        return read()
    except (UserError, MlflowException, OSError, ValueError):
        return None


def _predictions(run: StoredRun, answering: Answering) -> pd.DataFrame:
    """Return the run's predictions; an error if they are of other classes than the model's."""
    probabilities_of(run.predictions, answering.classes)
    label_indices(run.predictions, answering.classes)
    return run.predictions


def _leak(
    run: StoredRun, trainings: list[Training], manifest: pd.DataFrame | None, predictions: pd.DataFrame | None
) -> Leakage | None:
    """Search for copies in several splits again: the tags of a run say only whether there are any."""
    tags = run.tags
    if manifest is None or tags.leaky is None or tags.groups is None:
        return None
    shared = find_shared_groups(manifest, group_name=tags.group_name) if tags.leaky == "true" else []
    if tags.leaky == "true" and predictions is not None and not (manifest["split"] == "val").any():
        shared += shared_groups_in_folds(manifests_of_folds(predictions, manifest), group_name=tags.group_name)
    return Leakage(
        shared=shared,
        split_by_file=any(each.config is not None and each.config.split.name in BY_FILE for each in trainings),
        groups_known=tags.groups != "none",
        sources_in_groups=sources_in_several_groups(manifest),
        group_name=tags.group_name,
    )


def _study_of(run: StoredRun) -> tuple[int, str, int | None]:
    """Return how many trainings the run's study has, its kind, and how often it has measured its best on test."""
    parent = run_or_none(run.parent) if run.parent and run.tags.fold is None else None
    if parent is None:
        return 0, "", None
    siblings = [
        child
        for child in children_of(parent.id, parent.experiment_id)
        if child.tags.job == TRAIN and not child.tags.excluded and not child.name.startswith(BASELINE)
    ]
    return len(siblings), parent.tags.study or "study", parent.tags.test_readings


def _tested_runs(run: StoredRun) -> int | None:
    """Return how many runs of the store, this one included, were measured on the test images of the same split."""
    digest = run.tags.data_digest
    if digest is None or "test/accuracy" not in run.metrics:
        return None
    found = search_runs(f"tags.data_digest = '{digest}' AND metrics.`test/accuracy` >= 0")
    return sum(each.tags.fold is None for each in found)


def _date(milliseconds: int | None) -> str | None:
    if not milliseconds:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
