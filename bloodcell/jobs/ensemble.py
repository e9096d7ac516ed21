"""Combine finished runs into one model and evaluate it.

Give the ids of runs, or a sweep or a search, whose finished runs are combined. The mean of their probabilities (soft)
works for all runs; weights, greedy selection and stacking are fitted to out-of-fold predictions, so they need
cross-validations:

  bloodcell ensemble runs=[0a1b,2c3d]
  bloodcell ensemble study=4e5f method=weighted
  bloodcell ensemble study=4e5f method=stacking stacking.l2=30

The test set is evaluated once, at the end, and is not used for choices.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bloodcell.cards.outcome import interval_text, metrics_table, outcome_data, show_confusion
from bloodcell.comparison.combination import (
    FLOOR,
    Combination,
    Mixture,
    Settings,
    cross_fitted,
    fit,
    group_log_loss,
)
from bloodcell.comparison.members import Joint, SplitPredictions, join
from bloodcell.comparison.run_tags import ENSEMBLE
from bloodcell.config.composition import compose_config
from bloodcell.config.parameters import as_plain, parameters_of
from bloodcell.config.schemas import EnsembleConfig
from bloodcell.config.training import TrainConfig
from bloodcell.console.json_output import set_json_result
from bloodcell.console.logs import log_to
from bloodcell.data.manifest import write_manifest
from bloodcell.errors import UserError
from bloodcell.evaluation.intervals import accuracy_intervals
from bloodcell.evaluation.outcome import Outcome, evaluate_outcome
from bloodcell.evaluation.predictions import label_indices, predictions_table, probabilities_of
from bloodcell.evaluation.probabilities import predicted_classes
from bloodcell.evaluation.sources import source_metrics
from bloodcell.experiment.environment import environment_tags
from bloodcell.experiment.images import Prepared
from bloodcell.experiment.keeping import keep_model
from bloodcell.experiment.outcome import keep_outcome
from bloodcell.files import atomic_write
from bloodcell.models.ensemble import join_models
from bloodcell.plots.ensemble import ensemble_plot
from bloodcell.tracking.members import (
    digest_of,
    groups_of,
    has_files,
    member_of,
    prepared_of,
    read_runs,
    stopped_by_validation,
)
from bloodcell.tracking.models import StoredModel, load_model, models_of
from bloodcell.tracking.run import JOB_TAG, TrackedRun, tracked_run
from bloodcell.tracking.runs import StoredRun
from bloodcell.tracking.store import find_store
from bloodcell.tracking.study import surviving
from bloodcell.tracking.where import mlflow_ui, run_data, show_files
from bloodcell.wording import intervals_note

CROSS_FITTED = (
    "The ensemble's metrics on validation are cross-fitted: no {group} is combined by weights that were fitted to it. "
    "The displayed weights were fitted to all."
)
STACKED = "A weight says by how much a member's log probability of a class raises that class above the others."


def run(config: EnsembleConfig, *, output_dir: Path) -> float:
    """Combine runs, evaluate and keep the ensemble; return its accuracy on validation.

    All errors of the configuration are found before the run starts. The run's folder is written first, MLflow
    second, so a lost store loses nothing.

    Raises
    ------
    UserError
        If the store or a run cannot be used, or the runs cannot be combined.
    """
    find_store(config.tracking)  # refuses a missing store before anything is read
    fits = config.method != "soft"
    runs = read_runs(tracking=config.tracking, run_ids=config.runs, study=config.study)
    splits = ("val", "test") if config.evaluate_test else ("val",)
    joint = join([member_of(each) for each in runs], splits=splits, fits=fits)
    prepared = prepared_of(runs, joint, fits=fits)
    kept = _load(runs) if config.log_model else []
    combination, outcome = _combined(config, joint, prepared)
    table = _members_table(joint, combination, outcome)
    notes = _notes(config, runs, outcome)
    with tracked_run(
        tracking=config.tracking,
        name=config.tracking.run_name or f"ensemble of {len(runs)}, {config.method}",
        tags=_tags(config, runs, prepared) | {"output_dir": str(output_dir)},
        folder=output_dir,
    ) as tracked:
        _keep_combination(tracked, config, combination, table)
        _draw_members(tracked, table, outcome, notes=notes)
        keep_outcome(tracked, outcome, images=prepared.images, with_images=has_files(prepared))
        _keep_inputs(tracked, config, runs, prepared, table)
        address = _keep_model(tracked, kept, combination, outcome) if kept else ""
        tracked.log_artifacts()
    _show(config, table, outcome, notes=notes, tracked=tracked, address=address)
    return outcome.val.metrics["accuracy"]


def combine_study(config: TrainConfig, *, folder: Path) -> None:
    """Combine the finished runs of a sweep in a run of its study; a failure is logged as a failed run.

    Parameters
    ----------
    config
        The configuration of any of the study's runs.
    folder
        The folder of the ensemble.
    """
    tracking = replace(config.tracking, run_name=f"ensemble: {config.ensemble}", sweep_job=None, run_id=None)
    chosen = compose_config("ensemble", [f"study={tracking.parent_run}", f"method={config.ensemble}"])
    chosen = replace(chosen, tracking=tracking, evaluate_test=config.evaluate_test, log_model=config.log_model)
    with log_to(folder / "ensemble.log"):
        surviving(partial(run, chosen, output_dir=folder), chosen)


def _load(runs: Sequence[StoredRun]) -> list[list[StoredModel]]:
    """Return the models of each run."""
    for each in runs:
        if not models_of(each):
            raise UserError(f"runs: {each} has no model; use log_model=false, or a run with log_model=true")
    return [[load_model(address, setting=f"runs: {each}") for address in models_of(each)] for each in runs]


def _combined(config: EnsembleConfig, joint: Joint, prepared: Prepared) -> tuple[Combination, Outcome]:
    """Fit the combination to validation, and evaluate it cross-fitted by group."""
    settings = Settings(
        rounds=config.greedy.rounds,
        bags=config.greedy.bags,
        l2=config.stacking.l2,
        folds=config.folds,
        seed=config.seed,
    )
    val = joint.splits["val"]
    combination = fit(
        config.method, probabilities=val.probabilities, labels=val.labels, groups=val.groups, settings=settings
    )
    honest = cross_fitted(
        config.method, probabilities=val.probabilities, labels=val.labels, groups=val.groups, settings=settings
    )
    tables = {"val": _table(val, honest, joint.classes)}
    if "test" in joint.splits:
        test = joint.splits["test"]
        tables["test"] = _table(test, combination.combine(test.probabilities), joint.classes)
    images = prepared.images
    return combination, evaluate_outcome(
        tables, classes=images.classes, training=images.part("train"), leakage=prepared.leakage
    )


def _table(side: SplitPredictions, probabilities: NDArray[np.float64], classes: Sequence[str]) -> pd.DataFrame:
    return predictions_table(manifest=side.images, probabilities=probabilities, classes=classes)


def _members_table(joint: Joint, combination: Combination, outcome: Outcome) -> pd.DataFrame:
    """Return a row for each member, and last the ensemble, with its weight and validation metrics."""
    val = joint.splits["val"]
    rows = [
        {"name": member.name, "run_id": member.run_id, "weight": float(share)}
        | _val_metrics(_table(val, probabilities, joint.classes), val, joint.classes)
        for member, share, probabilities in zip(joint.members, combination.shares, val.probabilities, strict=True)
    ]
    rows.append(
        {"name": "ensemble", "run_id": "", "weight": np.nan} | _val_metrics(outcome.val.table, val, joint.classes)
    )
    return pd.DataFrame(rows)


def _val_metrics(table: pd.DataFrame, side: SplitPredictions, classes: Sequence[str]) -> dict[str, float]:
    probabilities = probabilities_of(table, classes)
    return {
        "accuracy": float((predicted_classes(probabilities) == label_indices(table, classes)).mean()),
        "photograph_accuracy": source_metrics(table, classes=classes)["photograph_accuracy"],
        **accuracy_intervals(table, classes=classes),
        "photograph_log_loss": group_log_loss(probabilities, labels=side.labels, groups=side.groups),
    }


def _tags(config: EnsembleConfig, runs: Sequence[StoredRun], prepared: Prepared) -> dict[str, str]:
    return environment_tags() | {
        JOB_TAG: ENSEMBLE,
        "method": config.method,
        "members": ", ".join(each.id for each in runs),
        "data_digest": digest_of(runs, prepared),
        "groups": groups_of(runs),
        "group_name": prepared.leakage.group_name,
        "leaky": prepared.leakage.leaky,
        "seed": str(config.seed),
        "debug": str(any(each.tags.debug for each in runs)).lower(),
    }


def _keep_combination(
    tracked: TrackedRun, config: EnsembleConfig, combination: Combination, table: pd.DataFrame
) -> None:
    """Write the configuration and the combination."""
    folder = tracked.artifacts
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(as_plain(config), sort_keys=False, allow_unicode=True)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    with atomic_write(folder / "combination.json") as partial:
        partial.write_text(json.dumps(_as_json(config, table, combination), indent=2), encoding="utf-8")


def _draw_members(tracked: TrackedRun, table: pd.DataFrame, outcome: Outcome, *, notes: Sequence[str]) -> None:
    baseline = outcome.val.baseline
    tracked.draw(
        "members",
        ensemble_plot,
        table,
        baseline=baseline["accuracy"],
        photograph_baseline=baseline["photograph_accuracy"],
        notes=notes,
    )


def _as_json(config: EnsembleConfig, table: pd.DataFrame, combination: Combination) -> dict[str, object]:
    values: dict[str, object] = {"method": config.method, "members": table["run_id"].tolist()[:-1]}
    if isinstance(combination, Mixture):
        return values | {"weights": combination.weights.tolist()}
    return values | {"kernel": combination.kernel.tolist(), "bias": combination.bias.tolist(), "floor": FLOOR}


def _notes(config: EnsembleConfig, runs: Sequence[StoredRun], outcome: Outcome) -> list[str]:
    name = outcome.leakage.group_name
    fitted = [] if config.method == "soft" else [CROSS_FITTED.format(group=name)]
    stacked = [STACKED] if config.method == "stacking" else []
    warnings = [f"Warning: {outcome.leakage.sentence}"] if outcome.leakage.sentence else []
    if fitted and (stopped := stopped_by_validation(runs)):
        names = "; ".join(each.name for each in stopped)
        warnings.append(
            f"Warning: the epochs of {names} were chosen by the same images, each fold's by its own, so that they "
            "count a little too much."
        )
    return [intervals_note(name), *fitted, *stacked, *warnings]


def _keep_inputs(
    tracked: TrackedRun,
    config: EnsembleConfig,
    runs: Sequence[StoredRun],
    prepared: Prepared,
    table: pd.DataFrame,
) -> None:
    """Log parameters, images, members with their weights, and the cost of their trainings."""
    manifest = prepared.images.manifest
    write_manifest(manifest, tracked.artifacts / "manifest.parquet")
    tracked.log_parameters(parameters_of(config))
    tracked.log_dataset(manifest, name="members", source=str(prepared.images.root), digest=digest_of(runs, prepared))
    tracked.log_table(table, "members.json")
    weights = zip(table["run_id"][:-1], table["weight"][:-1], strict=True)
    tracked.log_metrics(dict(weights), prefix="weight")
    seconds = [each.metrics["cost/train_seconds"] for each in runs if "cost/train_seconds" in each.metrics]
    if len(seconds) == len(runs):
        tracked.log_metrics({"train_seconds": sum(seconds)}, prefix="cost")


def _keep_model(
    tracked: TrackedRun,
    kept: Sequence[Sequence[StoredModel]],
    combination: Combination,
    outcome: Outcome,
) -> str:
    """Join the members' models and save the ensemble.

    Its novelty detector is that of the member with the most training images; models of folds lack the images of their
    fold.
    """
    models = [[each.model for each in member] for member in kept]
    if isinstance(combination, Mixture):
        model = join_models(models, weights=combination.weights)
    else:
        model = join_models(models, kernel=combination.kernel, bias=combination.bias, floor=FLOOR)
    tracked.log_metrics({"parameters": float(model.count_params())}, prefix="cost")
    largest = max((each for member in kept for each in member), key=lambda each: len(each.serving.novelty.points))
    return keep_model(
        tracked,
        model,
        classes=outcome.classes,
        held_out=outcome.val.table,
        novelty=largest.serving.novelty,
        example=largest.example,
    )


def _show(
    config: EnsembleConfig,
    table: pd.DataFrame,
    outcome: Outcome,
    *,
    notes: Sequence[str],
    tracked: TrackedRun,
    address: str,
) -> None:
    console = Console(highlight=False, soft_wrap=True)
    title = f"Ensemble of {len(table) - 1} runs, {config.method}"
    console.print(_shown_members(table, outcome, title=title))
    for note in notes:
        console.print(note, markup=False)
    console.print()
    console.print(metrics_table(outcome, title="The ensemble"))
    console.print()
    show_confusion(outcome, console=console)
    console.print(f"MLflow UI      {mlflow_ui(config.tracking, tracked.store)}", markup=False)
    if address:
        load = f"mlflow.tensorflow.load_model({address!r}), from {tracked.store.label}"
        console.print(f"Python         {load}", markup=False)
    show_files(tracked, console)
    set_json_result(
        **run_data(tracked, config.tracking),
        **outcome_data(outcome),
        method=config.method,
        members=table.iloc[:-1].to_dict("records"),
        notes=notes,
        models=[address] if address else [],
    )


def _shown_members(table: pd.DataFrame, outcome: Outcome, *, title: str) -> Table:
    shown = Table(title=title, title_justify="left")
    shown.add_column("", overflow="fold")
    shown.add_column("weight", justify="right", no_wrap=True)
    for heading in (f"validation{outcome.leakage.mark('val')}", "by photograph"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in table.to_dict("records"):
        if not row["run_id"]:
            shown.add_section()
        weight = f"{row['weight']:.2f}" if row["run_id"] else ""
        accuracies = (f"{row[name]:.3f}\n{interval_text(row, name)}" for name in ("accuracy", "photograph_accuracy"))
        shown.add_row(escape(row["name"]), weight, *accuracies)
    baseline = outcome.val.baseline
    shown.add_row("majority class", "", *(f"{baseline[name]:.3f}" for name in ("accuracy", "photograph_accuracy")))
    return shown
