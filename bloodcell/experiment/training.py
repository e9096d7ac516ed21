"""One experiment from its configuration to its result: a training, or a cross-validation with its final model."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from bloodcell.config.quoting import readable_overrides
from bloodcell.config.split import GroupKfoldSplit
from bloodcell.config.training import TrainConfig
from bloodcell.console.progress import SHOW_ALL, Reporting
from bloodcell.evaluation.outcome import Outcome
from bloodcell.experiment.crops import keep_crops
from bloodcell.experiment.cross_validation import fold_configs, keep_cross_validation, train_folds
from bloodcell.experiment.fold import Learner, build_learner, train_fold
from bloodcell.experiment.images import Prepared, prepare_images
from bloodcell.experiment.inputs import keep_inputs, tags_of
from bloodcell.experiment.recorder import Recorder
from bloodcell.experiment.refit import refit

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of an experiment.

    Attributes
    ----------
    outcome
        Predictions and metrics.
    history
        A row for each epoch, as of `bloodcell.training.trainer.Trained`; in a cross-validation with the column
        ``fold``.
    model
        The trained Keras model, from raw images to probabilities; None after a cross-validation without a final model.
    addresses
        Where the model, or that of each fold, can be loaded from; empty strings if no model is kept.
    features
        Where the input of each stage came from, as text.
    """

    outcome: Outcome
    history: pd.DataFrame
    model: Any
    addresses: tuple[str, ...]
    features: str


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """An experiment that is ready to run: its settings are checked, its images prepared, its model built.

    Attributes
    ----------
    config
        The configuration; ``backbone.weights`` names the weights that were found.
    prepared
        The images and their split.
    learner
        The untrained model; in a cross-validation the first fold's.
    """

    config: TrainConfig
    prepared: Prepared
    learner: Learner

    @cached_property
    def name(self) -> str:
        """What the run is called: its given name, what a sweep varies, or a summary of the configuration."""
        config = self.config
        if (given := config.tracking.run_name) is not None:
            return given if config.tracking.sweep_job is None else readable_overrides(given)
        plan = "frozen" if config.stays_frozen else f"tuned ({config.finetune.name})"
        return f"{config.backbone.name.lower()} {plan}, {self.prepared.split} split, seed {config.hyperparameters.seed}"

    @property
    def tags(self) -> Mapping[str, str]:
        """Code, machine, images, groups, weights, seed, and whether the split leaks."""
        return tags_of(self.config, self.prepared, self.learner.classifier)

    @property
    def weights_note(self) -> str:
        """Why ``backbone.weights=auto`` is not ImageNet's weights; empty if it is, or was not asked for."""
        backbone = self.learner.classifier.backbone
        if not backbone.instead_of:
            return ""
        note = (
            f"backbone.weights=auto: uses the weights that come with bloodcell, as ImageNet's are unavailable "
            f"({backbone.instead_of})"
        )
        if self.config.data.source == "smears":
            note += "; scores are optimistic: these weights and the images come from the same generator"
        return note

    def run(self, recorder: Recorder, *, reporting: Reporting = SHOW_ALL) -> Result:
        """Train, evaluate and record; the learner is trained in place.

        Parameters
        ----------
        recorder
            Takes the results; see `bloodcell.experiment.recorder`.
        reporting
            How progress is shown.
        """
        config, prepared = self.config, self.prepared
        if prepared.leak.sentence:
            log.warning(prepared.leak.sentence)
        keep_inputs(recorder, config, prepared, self.learner)
        keep_crops(recorder, config, prepared, reporting=reporting)
        result = self._cross_validate(recorder, reporting) if prepared.folds else self._train(recorder, reporting)
        recorder.log_artifacts()
        return result

    def _train(self, recorder: Recorder, reporting: Reporting) -> Result:
        trained = train_fold(recorder, self.learner, prepared=self.prepared, config=self.config, reporting=reporting)
        return Result(
            outcome=trained.outcome,
            history=trained.history,
            model=self.learner.classifier.whole,
            addresses=(trained.model_uri,),
            features=trained.features,
        )

    def _cross_validate(self, recorder: Recorder, reporting: Reporting) -> Result:
        config, prepared = self.config, self.prepared
        folds = train_folds(
            recorder,
            self.learner,
            prepared=prepared,
            configs=fold_configs(config, n_folds=len(prepared.folds)),
            backbone_seed=config.hyperparameters.seed,
            reporting=reporting,
        )
        final = None
        if isinstance(config.split, GroupKfoldSplit) and config.split.refit:
            final = refit(recorder, folds, prepared=prepared, config=config, reporting=reporting)
        outcome = keep_cross_validation(recorder, folds, final, prepared=prepared, config=config)
        histories = [each.history.assign(fold=number) for number, each in enumerate(folds, start=1)]
        return Result(
            outcome=outcome,
            history=pd.concat(histories, ignore_index=True),
            model=None if final is None else final.model,
            addresses=tuple(each.model_uri for each in ([final] if final else folds)),
            features=folds[0].features,
        )


def prepare_experiment(config: TrainConfig, *, prepared: Prepared | None = None) -> Experiment:
    """Find everything wrong with a configuration before anything is written.

    Parameters
    ----------
    config
        What to train on which images.
    prepared
        The configuration's images, if they are prepared already.

    Raises
    ------
    UserError
        If the images or the weights cannot be used, or the split leaks and ``data.on_shared_groups`` does not allow it.
    """
    prepared = prepared or prepare_images(config)
    learner = build_learner(
        fold_configs(config, n_folds=len(prepared.folds))[0],
        n_classes=len(prepared.images.classes),
        backbone_seed=config.hyperparameters.seed,
    )
    if config.backbone.weights == "auto":
        # Every fold has to use the same weights, and a comparison has to know which.
        weights = learner.classifier.backbone.weights
        config = replace(config, backbone=replace(config.backbone, weights=weights))
    return Experiment(config=config, prepared=prepared, learner=learner)
