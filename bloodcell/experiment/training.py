"""One experiment from its configuration to its result: a training, or a cross-validation with its final model."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from bloodcell.config.keywords import train_config
from bloodcell.config.quoting import readable_overrides
from bloodcell.config.split import CrossValidation
from bloodcell.config.training import TrainConfig
from bloodcell.console.progress import SHOW_ALL, Reporting, print_status
from bloodcell.errors import UserError
from bloodcell.experiment.crops import keep_crops
from bloodcell.experiment.cross_validation import (
    chosen_fold,
    fold_configs,
    keep_cross_validation,
    train_folds,
    whole_split,
)
from bloodcell.experiment.fold import build_learner, epochs_from_one, prepare_backbone, train_fold
from bloodcell.experiment.images import Prepared, prepare_images
from bloodcell.experiment.inputs import keep_inputs, tags_of
from bloodcell.experiment.recorder import Recorder
from bloodcell.experiment.refit import refit
from bloodcell.experiment.result import Result
from bloodcell.models.backbones import needs_weights
from bloodcell.models.kept_backbones import give
from bloodcell.training.learner import Learner

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A checked experiment with prepared images and a built model.

    Attributes
    ----------
    config
        The configuration; ``backbone.weights`` names the weights that are used.
    prepared
        The images and their split.
    learner
        The untrained model; in a cross-validation that of the first fold.
    fold
        The number of the fold whose images these are, if ``split.fold`` chose one; else None.
    """

    config: TrainConfig
    prepared: Prepared
    learner: Learner
    fold: int | None = None

    @cached_property
    def name(self) -> str:
        """The run's name: the given one, the varied settings of a sweep, or a summary of the configuration."""
        config = self.config
        if (given := config.tracking.run_name) is not None:
            return given if config.tracking.sweep_job is None else readable_overrides(given)
        plan = "frozen" if config.stays_frozen else f"tuned ({config.finetune.name})"
        return f"{config.backbone.name.lower()} {plan}, {self.prepared.split} split, seed {config.hyperparameters.seed}"

    @cached_property
    def tags(self) -> Mapping[str, str]:
        """Code, machine, images, groups, weights, seed, and whether the split leaks."""
        return tags_of(self.config, self.prepared, self.learner.classifier)

    @property
    def weights_note(self) -> str:
        """Why ``backbone.weights=auto`` does not use ImageNet's weights; else empty."""
        backbone = self.learner.classifier.backbone
        if not backbone.fallback_reason:
            return ""
        note = (
            f"backbone.weights=auto: uses the weights that bloodcell includes, because ImageNet's are unavailable "
            f"({backbone.fallback_reason})"
        )
        if self.config.data.source == "smears":
            note += "; scores are optimistic: these weights and the images come from the same generator"
        return note

    def run(self, recorder: Recorder, *, reporting: Reporting = SHOW_ALL, resume: bool = False) -> Result:
        """Train, evaluate and record; the learner is trained in place.

        Parameters
        ----------
        recorder
            Receives the results; see `bloodcell.experiment.recorder`.
        reporting
            How progress is shown.
        resume
            Whether to continue an interrupted run in the recorder's folder; the result is the same, to the last digit,
            as that of a run that was not interrupted.
        """
        config, prepared = self.config, self.prepared
        if prepared.leakage.sentence:
            log.warning(prepared.leakage.sentence)
        with recorder.written_once():
            keep_inputs(recorder, config, prepared, self.learner)
        keep_crops(recorder, config, prepared, reporting=reporting)
        carry_out = self._cross_validate if prepared.folds else self._train
        result = carry_out(recorder, reporting=reporting, resume=resume)
        recorder.log_artifacts()
        return result

    def _train(self, recorder: Recorder, *, reporting: Reporting, resume: bool) -> Result:
        config, prepared = self.config, self.prepared
        trained = train_fold(
            recorder,
            self.learner,
            prepared=prepared,
            config=config,
            fold=self.fold,
            reporting=reporting,
            resume=resume,
        )
        return Result(
            name=self.name,
            config=config,
            folder=recorder.folder,
            outcome=trained.outcome,
            history=epochs_from_one(trained.history),
            classifier=self.learner.classifier,
            addresses=(trained.model_uri,),
            features=trained.features,
            cost=trained.cost,
        )

    def _cross_validate(self, recorder: Recorder, *, reporting: Reporting, resume: bool) -> Result:
        config, prepared = self.config, self.prepared
        folds = train_folds(
            recorder, self.learner, prepared=prepared, config=config, reporting=reporting, resume=resume
        )
        final = None
        if isinstance(config.split, CrossValidation) and config.split.refit:
            final = refit(recorder, folds, prepared=prepared, config=config, reporting=reporting, resume=resume)
        outcome = keep_cross_validation(recorder, folds, final, prepared=prepared, config=config)
        histories = [epochs_from_one(each.history).assign(fold=number) for number, each in enumerate(folds, start=1)]
        return Result(
            name=self.name,
            config=config,
            folder=recorder.folder,
            outcome=outcome,
            history=pd.concat(histories, ignore_index=True),
            classifier=None if final is None else final.classifier,
            addresses=tuple(each.model_uri for each in ([final] if final else folds)),
            features=folds[0].features,
            cost=(final or folds[0]).cost,
        )


def prepare_experiment(config: TrainConfig, *, prepared: Prepared | None = None) -> Experiment:
    """Prepare an experiment; find all errors before anything is written.

    Parameters
    ----------
    config
        The configuration.
    prepared
        The configuration's images, if already prepared.

    Raises
    ------
    UserError
        If the images or the weights cannot be used, or the split leaks and ``data.on_shared_groups`` does not allow it.
    """
    if prepared is None:
        if needs_weights(name=config.backbone.name, weights=config.backbone.weights):
            prepare_backbone(config)
        prepared = prepare_images(config)
    backbone_seed, fold = config.hyperparameters.seed, chosen_fold(config)
    if fold is not None:
        if fold > (n_folds := len(prepared.folds)):
            raise UserError(f"split.fold={fold}: there are {n_folds} folds; give the number of one")
        config = fold_configs(whole_split(config), n_folds=len(prepared.folds))[fold - 1]
        prepared = prepared.folds[fold - 1]
    learner = build_learner(
        fold_configs(config, n_folds=len(prepared.folds))[0],
        n_classes=len(prepared.images.classes),
        backbone_seed=backbone_seed,
    )
    if config.backbone.weights == "auto":
        # Every fold uses the same weights, and comparisons read which.
        weights = learner.classifier.backbone.weights
        config = replace(config, backbone=replace(config.backbone, weights=weights))
    return Experiment(config=config, prepared=prepared, learner=learner, fold=fold)


def train(
    config: TrainConfig | None = None, *, folder: str | Path | None = None, quiet: bool = False, **settings: Any
) -> Result:
    """Train and evaluate a classifier, or one per fold, without MLflow or Hydra.

    The images are grouped, checked for leaks and split as by ``bloodcell train``; the same settings give the same
    result.

    Parameters
    ----------
    config
        The whole configuration, in place of ``settings``. Its ``tracking`` is not used.
    folder
        A new output folder; None: a folder in ``outputs``, named after the time.
    quiet
        Show no line for each epoch and print no notes; a leak is still logged as a warning.
    **settings
        Those that differ from the defaults, as for `bloodcell.config.keywords.train_config`.

    Returns
    -------
    Result
        Predictions, metrics with intervals, model, history and plots. A notebook displays it.

    Raises
    ------
    UserError
        If a setting, the images, the weights or the folder cannot be used, or the split leaks and
        ``data.on_shared_groups`` does not allow it.

    Examples
    --------
    >>> import bloodcell
    >>> result = bloodcell.train(
    ...     data={"source": "folder", "train_dir": "cells"}, backbone="mobilenetv2", epochs=3
    ... )  # doctest: +SKIP
    >>> result.metrics.loc["val"]  # doctest: +SKIP
    """
    if config is not None and settings:
        raise UserError(f"{', '.join(settings)}: give a whole configuration or settings, not both")
    if "tracking" in settings:
        raise UserError("tracking: is not used; the folder has everything, and `bloodcell train` uses MLflow")
    place = new_folder(folder)
    experiment = prepare_experiment(config or train_config(**settings))
    for note in (experiment.weights_note, experiment.prepared.leakage.sentence):
        if note and not quiet:
            print_status(note)
    with Recorder(place, name=experiment.name, tags=experiment.tags) as recorder:
        result = experiment.run(recorder, reporting=Reporting(quiet=quiet))
    if result.classifier is not None:
        give(result.classifier)
    return result


def new_folder(folder: str | Path | None) -> Path:
    """Return the path of a new output folder; None: in ``outputs``, named after the time.

    Raises
    ------
    UserError
        If it exists and is not an empty folder.
    """
    place = Path(f"outputs/{datetime.now():%Y-%m-%d/%H-%M-%S-%f}" if folder is None else folder).expanduser()
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise UserError(f"folder={place}: exists and is not an empty folder; give another")
    return place
