"""Train one model on one split, or one for each fold, evaluate on validation and test, and keep everything in MLflow.

For example, with the Kaggle set as it is unpacked, another model and another plan, cross-validation, your own folders,
and a sweep:

  bloodcell train data=bccd data.root=~/blood-cells
  bloodcell train data=bccd data.root=~/blood-cells backbone=xception finetune=staged hyperparameters.learning_rate=3e-4
  bloodcell train data=bccd data.root=~/blood-cells split=group_kfold split.folds=10 split.refit=true
  bloodcell train data=folder data.train_dir=cells/train data.test_dir=cells/test
  bloodcell train -m data=bccd data.root=~/blood-cells backbone=mobilenetv2,xception hyperparameters.seed=0,1,2
"""

import functools
import logging
from dataclasses import replace
from pathlib import Path

from bloodcell.cards.next_steps import given_command, suggestions
from bloodcell.config.quoting import readable_overrides
from bloodcell.config.split import GroupKfoldSplit
from bloodcell.config.training import TrainConfig
from bloodcell.console.progress import say
from bloodcell.experiment.crops import keep_crops
from bloodcell.experiment.cross_validation import fold_configs, keep_cross_validation, train_folds
from bloodcell.experiment.fold import build_learner, train_fold
from bloodcell.experiment.images import Prepared, prepare_images
from bloodcell.experiment.inputs import keep_inputs, tags_of, write_inputs
from bloodcell.experiment.outcome import Outcome, show_outcome
from bloodcell.experiment.refit import refit
from bloodcell.models.backbones import Backbone
from bloodcell.plots.drawing import Pictures
from bloodcell.tracking.run import tracked_run
from bloodcell.tracking.store import find_store

log = logging.getLogger(__name__)


def run(config: TrainConfig, *, output_dir: Path) -> float:
    """Train, evaluate and keep one model, or one for each fold; return the accuracy on validation. See `train`."""
    return train(config, output_dir=output_dir).metrics["val"]["accuracy"]


def train(config: TrainConfig, *, output_dir: Path, prepared: Prepared | None = None, quiet: bool = False) -> Outcome:
    """Train, evaluate and keep one model, or one for each fold.

    Everything that a user can get wrong is found before the run starts, so a refused configuration leaves nothing.
    The run's folder is written first, MLflow second, so a lost store loses nothing.

    Parameters
    ----------
    config
        What to train on what.
    output_dir
        The run's folder.
    prepared
        The configuration's images, where they are at hand.
    quiet
        Whether this is one training of many: no line for each epoch, no warning, no figures at the end.

    Raises
    ------
    UserError
        If the images, the weights or the store cannot be used, or copies of one photograph are on two sides and nobody
        allowed it.
    """
    find_store(config.tracking)  # a store that is not named is refused before anything is read
    prepared = prepared or prepare_images(config)
    n_folds, n_classes, seed = len(prepared.folds), len(prepared.images.classes), config.hyperparameters.seed
    learner = build_learner(fold_configs(config, n_folds=n_folds)[0], n_classes=n_classes, backbone_seed=seed)
    _say_weights(learner.classifier.backbone, config)
    config = with_weights(config, learner.classifier.backbone)
    configs = fold_configs(config, n_folds=n_folds)
    artifacts = output_dir / "artifacts"
    alone = not quiet and config.tracking.sweep_job is None

    with tracked_run(
        tracking=config.tracking,
        name=_name(config, prepared),
        tags=tags_of(config, prepared, learner.classifier) | {"output_dir": str(output_dir)},
        folder=output_dir,
    ) as tracked:
        _warn(prepared, alone=alone)
        label = "" if config.tracking.sweep_job is None else f"{config.tracking.sweep_job}: "
        with Pictures(artifacts) as pictures:
            write_inputs(config, prepared, learner, artifacts=artifacts, pictures=pictures)
            keep_inputs(tracked, config, prepared)
            keep_crops(tracked, config, prepared, artifacts=artifacts, pictures=pictures, quiet=quiet)
            if prepared.folds:
                results = train_folds(
                    tracked,
                    learner,
                    prepared=prepared,
                    configs=configs,
                    backbone_seed=seed,
                    label=label,
                    quiet=quiet,
                )
                refitted = None
                if isinstance(config.split, GroupKfoldSplit) and config.split.refit:
                    refitted = refit(
                        tracked,
                        results,
                        prepared=prepared,
                        config=config,
                        pictures=pictures,
                        label=label,
                        quiet=quiet,
                    )
                outcome = keep_cross_validation(
                    tracked, results, refitted, prepared=prepared, config=config, pictures=pictures
                )
                models = [each.model_uri for each in ([refitted] if refitted else results)]
                features = results[0].features
            else:
                result = train_fold(
                    tracked,
                    learner,
                    prepared=prepared,
                    config=config,
                    pictures=pictures,
                    label=label,
                    quiet=quiet,
                )
                outcome, models, features = result.outcome, [result.model_uri], result.features
        tracked.log_folder(artifacts)
    if alone:
        given = given_command("train")
        weights = learner.classifier.backbone.weights
        show_outcome(
            outcome,
            config=config,
            prepared=prepared,
            tracked=tracked,
            models=models,
            features=features,
            try_next=suggestions(config, leak=prepared.leak, weights=weights, given=given) if given else [],
        )
    return outcome


def _warn(prepared: Prepared, *, alone: bool) -> None:
    """Say before hours of training that its figures will be worth less than they look."""
    if not prepared.leak.sentence:
        return
    log.warning(prepared.leak.sentence)
    if alone:
        say(f"careful: {prepared.leak.sentence}")


def with_weights(config: TrainConfig, backbone: Backbone) -> TrainConfig:
    """Return a configuration that names the weights that ``auto`` came to: for every fold, and for whoever compares."""
    if config.backbone.weights != "auto":
        return config
    return replace(config, backbone=replace(config.backbone, weights=backbone.weights))


def _say_weights(backbone: Backbone, config: TrainConfig) -> None:
    """Say, once in a program, that a network has other weights than those that everybody would rather have."""
    if not backbone.instead_of:
        return
    line = f"backbone.weights=auto: our own small ones, as ImageNet's are not to be had ({backbone.instead_of})"
    if config.data.source == "smears":
        line += "; they were trained on smears of the same making, so figures on these flatter them"
    log.warning(line)
    _say_once(line)


@functools.cache
def _say_once(line: str) -> None:
    say(line)


def _name(config: TrainConfig, prepared: Prepared) -> str:
    """Name a run of a sweep after what is swept, any other after what it is, unless it was given a name."""
    if config.tracking.run_name is not None:
        return (
            config.tracking.run_name
            if config.tracking.sweep_job is None
            else readable_overrides(config.tracking.run_name)
        )
    plan = "frozen" if config.stays_frozen else f"tuned ({config.finetune.name})"
    return f"{config.backbone.name.lower()} {plan}, {prepared.split} split, seed {config.hyperparameters.seed}"
