"""The facts on a model's card, from its run and related runs."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

import pandas as pd
from mlflow.exceptions import MlflowException

from bloodcell.cards.model_card import CardFacts
from bloodcell.cards.model_card_training import Training
from bloodcell.comparison.run_tags import ENSEMBLE, TRAIN
from bloodcell.data.groups import sources_in_several_groups
from bloodcell.data.leaks import Leakage, find_shared_groups, shared_groups_in_folds, untextured_across
from bloodcell.errors import UserError
from bloodcell.evaluation.predictions import label_indices, probabilities_of
from bloodcell.experiment.images import BY_FILE
from bloodcell.serving.prediction import ServingParameters
from bloodcell.tracking.experiment_page import BASELINE
from bloodcell.tracking.members import manifests_of_folds
from bloodcell.tracking.runs import StoredRun, children_of, run_or_none, search_runs

MAX_ERRORS = (0.05, 0.1)
"""Maximal errors for which a card has thresholds."""

T = TypeVar("T")


def card_facts(run: StoredRun, *, name: str, serving: ServingParameters) -> CardFacts:
    """Return the facts on the card of a run's model; facts that the run did not log are unknown."""
    is_ensemble = run.tags.job == ENSEMBLE
    trainings = member_trainings(run) if is_ensemble else [training_of(run)]
    predictions = kept(lambda: _predictions(run, serving))
    manifest = kept(lambda: run.manifest)
    siblings, study, readings = study_of(run)
    return CardFacts(
        name=name,
        run_id=run.id,
        run_name=run.name,
        date=date_of(run.started),
        metrics=run.metrics,
        tags=run.tags,
        trainings=trainings,
        method=run.tags.method or "soft" if is_ensemble else "",
        classes=serving.classes,
        predictions=predictions,
        manifest=manifest,
        leakage=found_leakage(run, trainings, manifest, predictions),
        temperature=serving.temperature,
        thresholds={max_error: serving.threshold(max_error) for max_error in MAX_ERRORS},
        n_threshold_sources=len(serving.held_out_labels),
        siblings=siblings,
        study=study,
        tested_runs=tested_runs(run),
        test_readings=readings,
    )


def training_of(run: StoredRun, *, weight: float | None = None) -> Training:
    """Return the facts on a training; ``weight``: its weight in an ensemble."""
    return Training(
        name=run.name,
        run_id=run.id,
        config=kept(lambda: run.config),
        tags=run.tags,
        weight=weight,
        n_unreadable=int(run.parameters.get("images.unreadable", 0)),
        n_excluded=int(run.parameters.get("images.excluded", 0)),
        n_left_out=int(run.parameters.get("images.left_out", 0)),
    )


def member_trainings(run: StoredRun) -> list[Training]:
    """Return the trainings of an ensemble's members; of a deleted member only its id and weight."""
    members = []
    for run_id in run.tags.members:
        member, weight = run_or_none(run_id), run.metrics.get(f"weight/{run_id}")
        deleted = Training(name=run_id, run_id=run_id, config=None, weight=weight)
        members.append(training_of(member, weight=weight) if member else deleted)
    return members


def kept(read: Callable[[], T | None]) -> T | None:
    """Return the result of a function; None if the run did not log it, or it cannot be read."""
    try:
        return read()
    except (UserError, MlflowException, OSError, ValueError):
        return None


def _predictions(run: StoredRun, serving: ServingParameters) -> pd.DataFrame:
    """Return the run's predictions.

    Raises
    ------
    UserError, ValueError
        If they are of other classes than the model's.
    """
    probabilities_of(run.predictions, serving.classes)
    label_indices(run.predictions, serving.classes)
    return run.predictions


def found_leakage(
    run: StoredRun, trainings: list[Training], manifest: pd.DataFrame | None, predictions: pd.DataFrame | None
) -> Leakage | None:
    """Find copies in several splits again, because the run's tags say only whether there are any."""
    tags = run.tags
    if manifest is None or tags.leaky is None or tags.groups is None:
        return None
    has_val = bool((manifest["split"] == "val").any())
    folds = [] if predictions is None or has_val else manifests_of_folds(predictions, manifest)
    shared = find_shared_groups(manifest, group_name=tags.group_name) if tags.leaky == "true" else []
    if tags.leaky == "true":
        shared += shared_groups_in_folds(folds, group_name=tags.group_name)
    return Leakage(
        shared=shared,
        split_by_file=any(each.config is not None and each.config.split.name in BY_FILE for each in trainings),
        groups_known=tags.groups != "none",
        untextured=max(map(untextured_across, [manifest, *folds])),
        sources_in_groups=sources_in_several_groups(manifest),
        group_name=tags.group_name,
    )


def study_of(run: StoredRun) -> tuple[int, str, int | None]:
    """Return the study's number of trainings, its kind, and how often it evaluated its best on test."""
    parent = run_or_none(run.parent) if run.parent and run.tags.fold is None else None
    if parent is None:
        return 0, "", None
    siblings = [
        child
        for child in children_of(parent.id, parent.experiment_id)
        if child.tags.job == TRAIN and not child.tags.excluded and not child.name.startswith(BASELINE)
    ]
    return len(siblings), parent.tags.study or "study", parent.tags.test_readings


def tested_runs(run: StoredRun) -> int | None:
    """Return the number of runs in the store that were evaluated on the same test images, with this one."""
    digest = run.tags.data_digest
    if digest is None or "test/accuracy" not in run.metrics:
        return None
    found = search_runs(f"tags.data_digest = '{digest}' AND metrics.`test/accuracy` >= 0")
    return sum(each.tags.fold is None for each in found)


def date_of(milliseconds: int | None) -> str | None:
    """Return a time in milliseconds since 1970 as text in UTC."""
    if not milliseconds:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
