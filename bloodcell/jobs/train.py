"""Train and evaluate one model, or one for each fold, and track it in MLflow.

The Kaggle set; another backbone and fine-tuning; cross-validation; your own folders; a sweep:

  bloodcell train data=bccd data.root=~/blood-cells
  bloodcell train data=bccd data.root=~/blood-cells backbone=xception finetune=staged hyperparameters.learning_rate=3e-4
  bloodcell train data=bccd data.root=~/blood-cells split=group_kfold split.folds=10 split.refit=true
  bloodcell train data=folder data.train_dir=cells/train data.test_dir=cells/test
  bloodcell train -m data=bccd data.root=~/blood-cells backbone=mobilenetv2,xception hyperparameters.seed=0,1,2
"""

import functools
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from bloodcell.cards.next_steps import suggestions
from bloodcell.cards.outcome import outcome_data, show_confusion, show_metrics
from bloodcell.comparison.leaderboard import OBJECTIVE
from bloodcell.config.command import Command, chosen_groups
from bloodcell.config.quoting import short_name
from bloodcell.config.training import TrainConfig
from bloodcell.console.json_output import set_json_result
from bloodcell.console.logs import log_to
from bloodcell.console.progress import Reporting, print_status
from bloodcell.errors import UserError
from bloodcell.evaluation import evidence
from bloodcell.evaluation.outcome import Outcome
from bloodcell.experiment.baselines import CHOICES, needed_baselines
from bloodcell.experiment.countdown import Countdown
from bloodcell.experiment.cross_validation import chosen_fold, whole_split
from bloodcell.experiment.images import Prepared
from bloodcell.experiment.recorder import FINISHED, read_run
from bloodcell.experiment.result import Result
from bloodcell.experiment.training import Experiment, prepare_experiment
from bloodcell.tracking.experiment_page import BASELINE, BASELINE_TAG
from bloodcell.tracking.resuming import (
    COMMAND_TAG,
    DIGEST_TAG,
    adopt_fold,
    belongs_to,
    can_continue,
    command_digest,
    deliver_again,
    exclude_earlier,
    finished_metric,
)
from bloodcell.tracking.run import TrackedRun, tracked_run
from bloodcell.tracking.store import find_store
from bloodcell.tracking.study import surviving
from bloodcell.tracking.where import run_data, show_places

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Role:
    """What a training is in a search.

    Attributes
    ----------
    tags, parameters
        Tags and parameters of its run, besides those of every training.
    objective
        From the outcome to the metric ``objective``; None without one.
    evidence
        What limits its run, besides what its evaluation finds; see `bloodcell.evaluation.evidence`.
    draws
        Whether its plots are drawn: a search draws those of the best trial, which is trained again.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    objective: Callable[[Outcome], float] | None = None
    evidence: tuple[str, ...] = ()
    draws: bool = True


def run(config: TrainConfig, *, output_dir: Path, command: Command | None = None) -> float:
    """Train and evaluate one model, or one per fold; return the validation accuracy. See `train`.

    With ``resume``, and in a sweep that starts a run again because its node died, a finished run is not repeated.
    """
    find_store(config.tracking)  # refuses a missing store before anything is read
    choices = chosen_groups(command.choices) if command else {}
    if command and config.tracking.run_name is None:
        config = replace(config, tracking=replace(config.tracking, run_name=_name_of(command)))
    experiment = prepare_experiment(config)
    resume = _continues(config, output_dir)
    if resume and (accuracy := already_finished(experiment, output_dir, "val/accuracy")) is not None:
        return accuracy
    role = Role(parameters=choices)
    result = train(experiment, output_dir=output_dir, command=command, role=role, resume=resume)
    return result.outcome.val.metrics["accuracy"]


SAME_MODEL = ("data", "tracking", "hydra", "resume", "backbone", "launcher", "log_model", "evaluate_test", "explain")
"""Settings that the name of a run leaves out."""


def _name_of(command: Command) -> str:
    """Return a name of what the command chose: ``xception, lr 1e-4``."""
    chosen = [
        each for each in command.overrides if each.lstrip("+~").partition("=")[0].partition(".")[0] not in SAME_MODEL
    ]
    return short_name([f"backbone={command.choices.get('backbone', '')}", *chosen])


def already_finished(experiment: Experiment, folder: Path, metric: str) -> float | None:
    """Return a final metric of the run in a folder if it has finished this experiment, and deliver it; else None."""
    value = finished_metric(folder, digest=experiment.tags[DIGEST_TAG], name=metric)
    if value is not None:
        print_status(f"{experiment.name}: is already finished, in {folder}")
        deliver_again(folder)
    return value


def train(
    experiment: Experiment,
    *,
    output_dir: Path,
    quiet: bool = False,
    command: Command | None = None,
    role: Role = Role(),
    resume: bool = False,
) -> Result:
    """Train, evaluate and track one model, or one per fold.

    The run's folder is written first and delivered to MLflow in the background: if the store is away, `bloodcell sync`
    delivers it later.

    Parameters
    ----------
    experiment
        The checked experiment.
    output_dir
        The run's folder.
    quiet
        Print no line for each epoch, no warning and no metrics.
    command
        The command that the job was started with, for suggestions; None outside the command line.
    role
        Its role in a search.
    resume
        Whether to continue the run in the folder, if there is one.

    Raises
    ------
    UserError
        If the store cannot be used.
    """
    config = experiment.config
    sweep_job = config.tracking.sweep_job
    is_single = not quiet and sweep_job is None
    if experiment.weights_note:
        log.warning(experiment.weights_note)
        _say_once(experiment.weights_note)
    if is_single and (warning := experiment.prepared.leakage.sentence):
        print_status(f"warning: {warning}")
    for note in experiment.prepared.images.notes if is_single else ():
        print_status(f"note: {note}")
    reporting = Reporting(label="" if sweep_job is None else f"{sweep_job}: ", quiet=quiet)
    tags = {**experiment.tags, **role.tags}
    if command is not None:
        tags[COMMAND_TAG] = command_digest("train", command.overrides)
    continues = resume and can_continue(output_dir, digest=experiment.tags[DIGEST_TAG])
    if resume and not continues:
        exclude_earlier(output_dir)
    with tracked_run(
        tracking=config.tracking,
        name=experiment.name,
        tags=tags,
        folder=output_dir,
        resume=continues,
        draws=role.draws,
    ) as tracked:
        tracked.log_parameters(role.parameters)
        result = experiment.run(tracked, reporting=reporting, resume=resume)
        if role.objective is not None:
            tracked.log_metrics({OBJECTIVE: role.objective(result.outcome)}, prefix="")
        if role.evidence:
            tracked.tag(evidence.TAG, evidence.as_text((*result.outcome.evidence, *role.evidence)))
    if is_single:
        _show(experiment, result, tracked, command)
    return result


def train_baselines(configs: Sequence[TrainConfig], *, folder: Path, role: Role = Role()) -> None:
    """Train the baselines of a study's configurations; a failed one does not stop the others.

    Parameters
    ----------
    configs
        The configurations of the study's runs, with its parent run.
    folder
        The folder of the baselines' folders.
    role
        Their role in a search.
    """
    needed = [*needed_baselines([whole_split(config) for config in configs])]
    countdown = Countdown(noun="baseline", objective="val/accuracy", total=len(needed), chooses=False)
    for number, each in enumerate(needed, start=1):
        print_status(f"baseline {number} of {len(needed)}: {each.name}")
        countdown.begin()
        name = f"{BASELINE}{each.name}"
        tracking = replace(each.config.tracking, run_name=name, sweep_job=None)
        config, output_dir = replace(each.config, tracking=tracking), folder / each.folder
        choices = {**CHOICES, "backbone": each.backbone}
        own = replace(role, tags={**role.tags, BASELINE_TAG: each.name}, parameters={**role.parameters, **choices})
        with log_to(output_dir / "train.log"):
            accuracy = surviving(partial(_train_baseline, config, output_dir, own), config, folder=output_dir)
        if not math.isnan(accuracy):
            countdown.finished(number, each.name, accuracy)


def join_folds(configs: Sequence[TrainConfig], *, folder: Path) -> None:
    """Make cross-validations of the runs of a sweep that trained a fold each (``split.fold``).

    Each cross-validation is a run of the study, above the runs of its folds, as if it had trained them itself.

    Parameters
    ----------
    configs
        The configurations of the sweep's runs, with its parent run.
    folder
        The sweep's folder, with a folder for each run, named after its number.
    """
    wholes = [
        whole_split(replace(each, tracking=replace(each.tracking, run_name=None, sweep_job=None))) for each in configs
    ]
    for first, config in enumerate(wholes):
        same = [number for number, each in enumerate(wholes) if each == config]
        folds = {fold: folder / str(number) for number in same if (fold := chosen_fold(configs[number])) is not None}
        if first != same[0] or not folds:
            continue
        name = f"{first}: cross-validation" if len(same) < len(configs) else "cross-validation"
        tracking = replace(config.tracking, run_name=name)
        config, output_dir = replace(config, tracking=tracking), folder / f"cross_validation_{first}"
        surviving(partial(_join, config, output_dir, folds), config, folder=output_dir)


def _join(config: TrainConfig, output_dir: Path, folds: Mapping[int, Path]) -> None:
    experiment = prepare_experiment(config)
    missing = [
        number
        for number in range(1, len(experiment.prepared.folds) + 1)
        if number not in folds or (read_run(folds[number]) or {}).get("status") != FINISHED
    ]
    if missing:
        raise UserError(f"split.fold: folds {', '.join(map(str, missing))} have not finished; give resume=true")
    if already_finished(experiment, output_dir, "val/accuracy") is not None:
        return
    for number, place in folds.items():
        link = output_dir / "folds" / str(number)
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(os.path.relpath(place, link.parent))
    train(experiment, output_dir=output_dir, quiet=True, resume=True)
    for number, place in folds.items():
        adopt_fold(place, parent=output_dir, number=number)
        deliver_again(place)


def _train_baseline(config: TrainConfig, output_dir: Path, role: Role) -> float:
    experiment = prepare_experiment(config)
    resume = _continues(config, output_dir)
    accuracy = already_finished(experiment, output_dir, "val/accuracy") if resume else None
    if accuracy is None:
        result = train(experiment, output_dir=output_dir, quiet=True, role=role, resume=resume)
        accuracy = result.outcome.val.metrics["accuracy"]
    return accuracy


def _continues(config: TrainConfig, folder: Path) -> bool:
    """Return whether to continue a run in a folder: if asked to, or if the study started it before."""
    return bool(config.resume) or belongs_to(folder, parent_run=config.tracking.parent_run)


@functools.cache
def _say_once(line: str) -> None:
    print_status(line)


def _show(experiment: Experiment, result: Result, tracked: TrackedRun, command: Command | None) -> None:
    """Print metrics, confusion matrices, paths and suggestions."""
    config, prepared, outcome = experiment.config, experiment.prepared, result.outcome
    console = Console(highlight=False, soft_wrap=True)
    show_metrics(outcome, title=f"{config.backbone.name}, {prepared.split} split", console=console)
    console.print()
    show_confusion(outcome, console=console)
    left_out = _left_out(prepared)
    for line in left_out:
        console.print(line)
    if outcome.leakage.sentence:
        console.print(f"Warning: {outcome.leakage.sentence}", markup=False)
    console.print(f"Features       {result.features}", markup=False)
    show_places(tracked, config.tracking, console)
    weights = experiment.learner.classifier.backbone.weights
    try_next = suggestions(config, leakage=prepared.leakage, weights=weights, given=command) if command else []
    if try_next:
        console.print("\nTry next")
        width = max(len(suggestion.why) for suggestion in try_next)
        for suggestion in try_next:
            console.print(f"  {suggestion.why:{width}}  {suggestion.command}", markup=False)
    set_json_result(
        **run_data(tracked, config.tracking),
        **outcome_data(outcome),
        split=prepared.split,
        left_out=left_out,
        features=result.features,
        models=tracked.models,
        folds=[fold.metrics for fold in outcome.folds],
        try_next=[asdict(suggestion) for suggestion in try_next],
    )


def _left_out(prepared: Prepared) -> list[str]:
    images, parts = prepared.images, (prepared, *prepared.folds)
    lines = []
    if len(images.unreadable):
        lines.append(f"Excluded, unreadable: {len(images.unreadable)}, listed in the run.")
    if len(images.excluded):
        lines.append(f"Excluded by data.exclude_file: {len(images.excluded)}, listed in the run.")
    if images.other_files:
        lines.append(f"Excluded, without an image suffix: {len(images.other_files)}, listed in the log.")
    if count := sum(len(part.left_out) for part in parts):
        lines.append(f"Excluded, photograph or group in another split: {count}, listed in shared_images.csv.")
    return lines
