"""The final model of a cross-validation: one more training, on all training images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from bloodcell.config.training import TrainConfig
from bloodcell.console.progress import SHOW_ALL, Reporting
from bloodcell.evaluation.evidence import of_leakage, ordered
from bloodcell.evaluation.folds import mean_by_image
from bloodcell.experiment.evidence import evidence_of
from bloodcell.experiment.fold import (
    FoldResult,
    Predicted,
    build_learner,
    cost_of,
    keep_history,
    predicted,
    samples_for,
)
from bloodcell.experiment.identity import experiment_digest
from bloodcell.experiment.images import Prepared
from bloodcell.experiment.keeping import keep_trained_model
from bloodcell.experiment.recorder import Recorder
from bloodcell.models.classifier import Classifier
from bloodcell.training.stages import Stage
from bloodcell.training.trainer import train


@dataclass(frozen=True, kw_only=True)
class Refit:
    """The final model of a cross-validation.

    Attributes
    ----------
    test
        Its predictions of the test images; None if not evaluated.
    cost
        See `bloodcell.experiment.fold.FoldResult`.
    classifier
        The trained classifier.
    model_uri
        The address to load it from; empty if it is not saved.
    """

    test: Predicted | None
    cost: dict[str, float]
    classifier: Classifier
    model_uri: str


def refit(
    recorder: Recorder,
    results: Sequence[FoldResult],
    *,
    prepared: Prepared,
    config: TrainConfig,
    reporting: Reporting = SHOW_ALL,
    resume: bool = False,
) -> Refit:
    """Train on all training images, for the median of the folds' best epochs, and save the model.

    There is no validation, so the history has no validation metrics.

    Parameters
    ----------
    recorder
        The recorder of the cross-validation.
    results
        Of the folds.
    prepared
        All training and test images.
    config
        The run's configuration.
    reporting
        How progress is shown.
    resume
        Whether to continue an interrupted training in the recorder's folder, see `bloodcell.training.trainer.train`.
    """
    images, settings = prepared.images, config.hyperparameters
    reporting = reporting.of("on all")
    learner = build_learner(config, n_classes=len(images.classes), backbone_seed=settings.seed)
    restored = settings.early_stopping.restore_best
    stages = as_long_as_was_best(learner.stages, [result.history for result in results], restored=restored)
    # Without validation images the last epoch is used.
    stopping = replace(settings.early_stopping, patience=None, restore_best=False)
    learner = replace(learner, stages=stages, settings=replace(settings, early_stopping=stopping))
    samples = samples_for(learner, config, images, "train")
    trained = train(
        learner,
        train_samples=samples,
        val_samples=samples,
        folder=recorder.folder / "checkpoints",
        listeners=[lambda epoch: recorder.log_epoch(replace(epoch, val_loss=np.nan, val_accuracy=np.nan))],
        reporting=reporting,
        resume=resume,
        digest=experiment_digest(
            config, data_digest=prepared.digest, weights_digest=learner.classifier.backbone.digest
        ),
    )
    cost = cost_of(learner, seconds=trained.seconds)
    # The best epoch would be the best on training images, so the last one is used.
    (recorder.folder / "checkpoints" / "best.weights.h5").unlink(missing_ok=True)
    kept = trained.history.index == trained.history.index[-1]
    history = trained.history.assign(val_loss=np.nan, val_accuracy=np.nan, best=kept)
    keep_history(recorder, history, monitor=settings.early_stopping.monitor)
    held_out = mean_by_image([result.outcome.val.table for result in results], classes=images.classes)
    test = None
    if config.evaluate_test:
        unseen = samples_for(learner, config, images, "test")
        test = predicted(learner, unseen, images, "test", config=config, label=reporting.label)
    model_uri = ""
    if config.log_model:
        evidence = ordered((*evidence_of(config), *of_leakage(prepared.leakage.leaky)))
        model_uri = keep_trained_model(
            recorder, learner.classifier.whole, images=images, held_out=held_out, evidence=evidence
        )
    return Refit(test=test, cost=cost, classifier=learner.classifier, model_uri=model_uri)


def as_long_as_was_best(stages: Sequence[Stage], histories: Sequence[pd.DataFrame], *, restored: bool) -> list[Stage]:
    """Return stages with the median of their numbers of epochs in the folds.

    Parameters
    ----------
    stages
        The planned stages.
    histories
        The history of each fold, see `bloodcell.training.trainer.Trained`.
    restored
        Whether a stage ended with its best epoch: then later epochs do not count, and a stage without an improvement is
        left out.
    """
    kept = []
    for number, stage in enumerate(stages):
        counts = []
        for history in histories:
            best = history.loc[history["stage"] == stage.name, "best"].to_numpy(bool)
            counts.append(int(np.flatnonzero(best).max(initial=-1)) + 1 if restored else len(best))
        epochs = int(np.floor(np.median(counts) + 0.5))
        if epochs or number == 0:
            kept.append(replace(stage, stop_after=max(epochs, 1)))
    return kept
