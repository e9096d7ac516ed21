"""Combine finished runs into one model and evaluate it.

Give the ids of runs, or a sweep or a search, whose finished runs are combined. The mean of their probabilities (soft)
works for all runs; weights, greedy selection and stacking are fitted to out-of-fold predictions, so they need
cross-validations:

  bloodcell ensemble runs=[0a1b,2c3d]
  bloodcell ensemble study=4e5f method=weighted
  bloodcell ensemble study=4e5f method=stacking stacking.l2=30
  bloodcell ensemble runs=[0a1b,other.csv]

A file has predictions of another program, in any form that bloodcell compare takes.

The test set is evaluated once, at the end, and is not used for choices.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from bloodcell.cards.ensemble import notes_on, terminal_table
from bloodcell.cards.outcome import outcome_data, show_confusion, show_metrics
from bloodcell.comparison.combination import Combination, Settings, cross_fitted, fit
from bloodcell.comparison.members import Joint, join, members_table
from bloodcell.config.composition import compose_config
from bloodcell.config.schemas import EnsembleConfig
from bloodcell.config.training import TrainConfig
from bloodcell.console.json_output import set_json_result
from bloodcell.console.logs import log_to
from bloodcell.errors import UserError
from bloodcell.evaluation.outcome import Outcome, evaluate_outcome
from bloodcell.evaluation.predictions import predictions_table
from bloodcell.experiment.images import Prepared
from bloodcell.experiment.keeping import keep_model
from bloodcell.experiment.outcome import keep_outcome
from bloodcell.experiment.recorder import FINISHED, read_run
from bloodcell.models.ensemble import join_models
from bloodcell.plots.ensemble import ensemble_plot
from bloodcell.tracking.ensembles import evidence_of, keep_combination, keep_inputs, tags_of
from bloodcell.tracking.members import has_files, member_of, prepared_of, read_members, read_runs, stopped_by_validation
from bloodcell.tracking.models import StoredModel, load_model, models_of
from bloodcell.tracking.resuming import exclude_earlier
from bloodcell.tracking.run import TrackedRun, deliver_all, tracked_run
from bloodcell.tracking.runs import StoredRun
from bloodcell.tracking.store import find_store
from bloodcell.tracking.study import surviving
from bloodcell.tracking.table_runs import TableRun
from bloodcell.tracking.where import run_data, show_places
from bloodcell.wording import listed


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
    runs = read_members(config)
    tables = [each for each in runs if isinstance(each, TableRun)]
    has_test = any("test" in set(each.predictions["split"]) for each in runs)
    splits = ("val", "test") if config.evaluate_test and (has_test or not tables) else ("val",)
    joint = join([member_of(each) for each in runs], splits=splits, fits=fits)
    prepared = prepared_of(runs, joint, fits=fits)
    kept = _load(runs) if config.log_model and not tables else []
    combination, outcome = _combined(config, joint, prepared, evidence=evidence_of(runs))
    table = members_table(joint, shares=combination.shares, combined=outcome.val.table)
    notes = notes_on(config.method, outcome, stopped=[each.name for each in stopped_by_validation(runs)])
    notes += [note for each in tables for note in each.notes]
    if tables:
        notes.append(f"No model is kept: {listed([each.name for each in tables])} is known by its predictions only.")
    with tracked_run(
        tracking=config.tracking,
        name=config.tracking.run_name or f"ensemble of {len(runs)}, {config.method}",
        tags=tags_of(config, runs, prepared),
        folder=output_dir,
    ) as tracked:
        keep_combination(tracked, config, combination, joint)
        baseline = outcome.val.baseline
        baselines = {"baseline": baseline["accuracy"], "photograph_baseline": baseline["photograph_accuracy"]}
        tracked.draw("members", ensemble_plot, table, **baselines, notes=notes)
        keep_outcome(tracked, outcome, images=prepared.images, with_images=has_files(prepared))
        keep_inputs(tracked, config, runs, prepared, table)
        if kept:
            _keep_model(tracked, kept, combination, outcome)
        tracked.log_artifacts()
    console = Console(highlight=False, soft_wrap=True)
    console.print(terminal_table(table, outcome, title=f"Ensemble of {len(runs)} runs, {config.method}"))
    for note in notes:
        console.print(note, markup=False)
    console.print()
    show_metrics(outcome, title="The ensemble", console=console)
    console.print()
    show_confusion(outcome, console=console)
    show_places(tracked, config.tracking, console)
    set_json_result(
        **run_data(tracked, config.tracking),
        **outcome_data(outcome),
        method=config.method,
        members=table.iloc[:-1].to_dict("records"),
        notes=notes,
        models=tracked.models,
    )
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
    tracking = replace(config.tracking, run_name=f"ensemble: {config.ensemble}", sweep_job=None)
    chosen = compose_config("ensemble", [f"study={tracking.parent_run}", f"method={config.ensemble}"])
    chosen = replace(chosen, tracking=tracking, evaluate_test=config.evaluate_test, log_model=config.log_model)
    deliver_all(patience=config.tracking.wait_seconds)  # the runs are read from the store
    if config.resume and (before := read_run(folder)) is not None and before["status"] == FINISHED:
        runs = read_runs(tracking=tracking, run_ids=(), study=tracking.parent_run)
        if before["tags"]["members"] == ", ".join(each.id for each in runs):
            return
        exclude_earlier(folder)
    with log_to(folder / "ensemble.log"):
        surviving(partial(run, chosen, output_dir=folder), chosen, folder=folder)


def _load(runs: Sequence[StoredRun]) -> list[list[StoredModel]]:
    """Return the models of each run."""
    for each in runs:
        if not models_of(each):
            raise UserError(f"runs: {each} has no model; use log_model=false, or a run with log_model=true")
    return [[load_model(address, setting=f"runs: {each}") for address in models_of(each)] for each in runs]


def _combined(
    config: EnsembleConfig, joint: Joint, prepared: Prepared, *, evidence: Sequence[str]
) -> tuple[Combination, Outcome]:
    """Fit what combines the members to all of validation, and measure it on groups that it was not fitted to."""
    val = joint.splits["val"]
    known: dict[str, Any] = {
        "probabilities": val.probabilities,
        "labels": val.labels,
        "groups": val.groups,
        "settings": Settings(
            rounds=config.greedy.rounds,
            bags=config.greedy.bags,
            l2=config.stacking.l2,
            folds=config.folds,
            seed=config.seed,
        ),
    }
    combination = fit(config.method, **known)
    combined = {
        split: cross_fitted(config.method, **known) if split == "val" else combination.combine(side.probabilities)
        for split, side in joint.splits.items()
    }
    tables = {
        split: predictions_table(manifest=joint.splits[split].images, probabilities=each, classes=joint.classes)
        for split, each in combined.items()
    }
    training = prepared.images.part("train")
    if training.empty:  # files of predictions do not say what was trained on
        training = joint.splits["val"].images
    return combination, evaluate_outcome(
        tables,
        classes=joint.classes,
        training=training,
        leakage=prepared.leakage,
        evidence=evidence,
        test_sets=prepared.images.test_sets,
    )


def _keep_model(
    tracked: TrackedRun, kept: Sequence[Sequence[StoredModel]], combination: Combination, outcome: Outcome
) -> None:
    """Join the members' models and save the ensemble.

    Its novelty detector is that of the member with the most training images; models of folds lack the images of their
    fold.
    """
    model = join_models([[each.model for each in member] for member in kept], **combination.parameters)
    tracked.log_metrics({"parameters": float(model.count_params())}, prefix="cost")
    largest = max((each for member in kept for each in member), key=lambda each: len(each.serving.novelty.points))
    keep_model(
        tracked,
        model,
        classes=outcome.classes,
        held_out=outcome.val.table,
        novelty=largest.serving.novelty,
        example=largest.example,
        bits=largest.serving.bits,
        evidence=outcome.evidence,
    )
