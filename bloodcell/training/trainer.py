"""The trainer: stage after stage, each an ordinary Keras ``fit``."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.config.training import HyperparametersConfig
from bloodcell.console.progress import SHOW_ALL, Reporting, track
from bloodcell.data.augmentation import Augmentation
from bloodcell.data.pipeline import Samples
from bloodcell.data.sampling import equal_source_weights
from bloodcell.errors import UserError
from bloodcell.models.classifier import Classifier
from bloodcell.training.averaging import AveragedWeights
from bloodcell.training.checkpoints import Checkpoints
from bloodcell.training.features import FeatureSource
from bloodcell.training.feeds import evaluation_feed, stage_features, stage_feed
from bloodcell.training.heads import Solver, class_weights, fit_standardising, solve_head
from bloodcell.training.optimizers import build_optimizer, last_learning_rate
from bloodcell.training.progress import EpochProgress
from bloodcell.training.stages import Stage, lowest_boundary

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What one epoch came to.

    Attributes
    ----------
    epoch
        Counted from 0 over all stages.
    stage
        The stage's name.
    train_loss, train_accuracy
        Mean over the epoch, while it trained, on augmented images.
    val_loss, val_accuracy
        After the epoch, by image or by photograph as ``early_stopping.counts`` has it.
    learning_rate
        Of the epoch's last step.
    best
        Whether it was the best so far.
    """

    epoch: int
    stage: str
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    best: bool


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training came to.

    Attributes
    ----------
    history
        One row for each epoch, the columns those of `Epoch`.
    best_epoch
        The epoch with the best monitored metric.
    feeds
        Where the input of each stage's model came from, by the stage's name.
    """

    history: pd.DataFrame
    best_epoch: int
    feeds: Mapping[str, str]


class EpochListener(Protocol):
    """Something that wants to know of every epoch as it ends."""

    def __call__(self, epoch: Epoch, /) -> None:
        """Take note of the epoch."""


def train(
    classifier: Classifier,
    *,
    train_samples: Samples,
    val_samples: Samples,
    augmentation: Augmentation,
    stages: Sequence[Stage],
    settings: HyperparametersConfig,
    folder: Path,
    source: FeatureSource | None = None,
    n_views: int = 1,
    solver: Solver = "gradient",
    l2: float = 0.0,
    steps_per_epoch: int | None = None,
    listeners: Sequence[EpochListener] = (),
    reporting: Reporting = SHOW_ALL,
) -> Trained:
    """Train a classifier, stage after stage, each from the best weights so far.

    Parameters
    ----------
    classifier
        Trained in place; ends with the weights of the best epoch if ``settings.early_stopping.restore_best``.
    train_samples, val_samples
        Validation images decide when a stage stops and which epoch is the best.
    augmentation
        Of the training images.
    stages
        As of `bloodcell.training.stages.plan_stages`.
    settings
        Batch size, optimizer, loss, early stopping, seed.
    folder
        Where the checkpoints are kept, of everything that any stage trains.
    source, n_views
        As for `bloodcell.training.feeds.stage_features`.
    solver
        How the first stage, the head's, is trained: in epochs by ``gradient``, or by ``lbfgs`` until it is solved, for
        which it must be linear; one epoch stands for it.
    l2
        The head's, for ``lbfgs``.
    steps_per_epoch
        Stop an epoch after so many batches; None: after all images.
    listeners
        Called after each epoch.
    reporting
        How progress is shown.

    Raises
    ------
    UserError
        If the loss is no number any more.
    """
    checkpoints = Checkpoints(
        model=classifier.trained_part(lowest_boundary(stages)), folder=folder, monitor=settings.early_stopping.monitor
    )
    steps = -(-len(train_samples) // settings.batch_size)
    steps = min(steps, steps_per_epoch or steps)
    val_weights = None
    if settings.early_stopping.counts == "photographs":
        val_weights = equal_source_weights(val_samples.photographs)
        val_weights /= val_weights.mean()  # since Keras divides what it has weighed by the number of images
    epochs: list[Epoch] = []
    feeds: dict[str, str] = {}
    for number, stage in enumerate(stages):
        features = stage_features(
            classifier,
            stage,
            source=source,
            n_views=n_views,
            train_samples=train_samples,
            val_samples=val_samples,
            augmentation=augmentation,
        )
        if number == 0:
            fit_standardising(
                classifier,
                features.training,
                train_samples,
                batch_size=settings.batch_size,
                sampling=settings.sampling,
            )
        if number == 0 and solver == "lbfgs":
            feeds[stage.name] = features.said
            metrics = solve_head(
                classifier, features, train_samples, val_samples, settings=settings, l2=l2, val_weights=val_weights
            )
            epochs.append(_solved(stage, metrics, checkpoints.save(0, metrics)))
            for listener in listeners:
                listener(epochs[-1])
            continue
        feed = stage_feed(
            classifier,
            stage,
            features=features,
            train_samples=train_samples,
            val_samples=val_samples,
            augmentation=augmentation,
            batch_size=settings.batch_size,
            seed=settings.seed,
            first_epoch=len(epochs),
            steps_per_epoch=steps,
            sampling=settings.sampling,
            mixup=settings.mixup,
            cutmix=settings.cutmix,
            val_weights=val_weights,
        )
        feeds[stage.name] = feed.said
        feed.model.compile(
            optimizer=build_optimizer(
                name=settings.optimizer,
                learning_rate=stage.learning_rate,
                schedule=settings.schedule,
                warmup=settings.warmup,
                momentum=settings.momentum,
                weight_decay=settings.weight_decay,
                total_steps=steps * stage.epochs,
                averaging=settings.weight_averaging,
                factors=classifier.rate_factors(stage.learning_rate_decay) if stage.learning_rate_decay != 1 else None,
            ),
            loss=keras.losses.CategoricalCrossentropy(label_smoothing=settings.label_smoothing),
            **_metrics(weighted=val_weights is not None),
            jit_compile=False,  # compiling takes longer than it saves on small data, and is not deterministic
            steps_per_execution=feed.steps_per_execution,
        )
        # Last of all, since the others' model at the end of an epoch is the averaged one.
        averaging = [AveragedWeights()] if settings.weight_averaging else []
        record = _Recorder(stage=stage, checkpoints=checkpoints, epochs=epochs, listeners=listeners)
        with closing(EpochProgress(stage=f"{reporting.label}{stage.name}", quiet=reporting.quiet)) as progress:
            feed.model.fit(
                feed.training,
                steps_per_epoch=steps,
                epochs=stage.stop_after or stage.epochs,
                validation_data=feed.validation,
                class_weight=class_weights(train_samples, settings.class_weights, sampling=settings.sampling),
                callbacks=[record, progress, *_early_stopping(settings), *averaging],
                verbose=0,
                shuffle=False,  # the pipeline shuffles
            )
        if settings.early_stopping.restore_best:
            checkpoints.restore_best()
    history = pd.DataFrame([asdict(epoch) for epoch in epochs])
    return Trained(history=history, best_epoch=checkpoints.best_epoch, feeds=feeds)


def _solved(stage: Stage, metrics: Mapping[str, float], best: bool) -> Epoch:
    return Epoch(
        epoch=0,
        stage=stage.name,
        train_loss=metrics["loss"],
        train_accuracy=metrics["accuracy"],
        val_loss=metrics["val_loss"],
        val_accuracy=metrics["val_accuracy"],
        learning_rate=0.0,
        best=best,
    )


def predict(
    classifier: Classifier,
    samples: Samples,
    *,
    boundary: int | None,
    source: FeatureSource | None = None,
    batch_size: int,
    description: str,
    orientation: int = 0,
) -> NDArray[np.float32]:
    """Return a classifier's probabilities for every image, in order, shape (n, n_classes).

    Parameters
    ----------
    classifier
        Trained from ``boundary`` on.
    samples
        The images.
    boundary, source, batch_size, orientation
        As for `bloodcell.training.feeds.evaluation_feed`.
    description
        What is shown while it works.
    """
    model, batches, total = evaluation_feed(
        classifier, samples, boundary=boundary, source=source, batch_size=batch_size, orientation=orientation
    )
    # Not batch by batch: Keras would compile the model anew for the last, smaller one.
    with closing(track(range(total), description, total=total)) as progress:
        step = keras.callbacks.LambdaCallback(on_predict_batch_end=lambda *_, **__: next(progress, None))
        probabilities: NDArray[np.float32] = model.predict(batches, verbose=0, callbacks=[step])
    return probabilities


def predict_orientations(
    classifier: Classifier,
    samples: Samples,
    *,
    n_orientations: int,
    boundary: int | None,
    source: FeatureSource | None = None,
    batch_size: int,
    description: str,
) -> NDArray[np.float32]:
    """Return probabilities for every image in several orientations, shape (n_orientations, n, n_classes).

    Parameters
    ----------
    classifier, samples, boundary, source, batch_size, description
        As for `predict`.
    n_orientations
        1..8: the first turns of `bloodcell.data.orientations.turn`, the first of which is the image as it is.
    """
    known = {"boundary": boundary, "source": source, "batch_size": batch_size}
    names = [
        description,
        *(f"{description}, view {number + 1} of {n_orientations}" for number in range(1, n_orientations)),
    ]
    return np.stack(
        [
            predict(classifier, samples, description=name, orientation=number, **known)  # type: ignore[arg-type]
            for number, name in enumerate(names)
        ]
    )


class _Recorder(keras.callbacks.Callback):
    """Turn Keras's epochs of one stage into ours: checkpoint first, then tell the listeners."""

    def __init__(
        self,
        *,
        stage: Stage,
        checkpoints: Checkpoints,
        epochs: list[Epoch],
        listeners: Sequence[Callable[[Epoch], Any]],
    ) -> None:
        super().__init__()
        self._stage, self._checkpoints, self._epochs, self._listeners = stage, checkpoints, epochs, listeners
        self._stepped = False

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        """Say once that training goes."""
        if not self._stepped:
            log.info("stage %s: first steps taken", self._stage.name)
            self._stepped = True

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002 - Keras's hook
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        # Weights that the last step ruined show in the validation loss only.
        loss = next((metrics[name] for name in ("loss", "val_loss") if not np.isfinite(metrics[name])), None)
        if loss is not None:
            raise UserError(
                f"hyperparameters.learning_rate: the loss of stage {self._stage.name} became "
                f"{loss} at a learning rate of {self._stage.learning_rate:g}; lower it"
            )
        number = len(self._epochs)
        finished = Epoch(
            epoch=number,
            stage=self._stage.name,
            train_loss=metrics["loss"],
            train_accuracy=metrics["accuracy"],
            val_loss=metrics["val_loss"],
            val_accuracy=metrics["val_accuracy"],
            learning_rate=last_learning_rate(self.model.optimizer),
            best=self._checkpoints.save(number, metrics),
        )
        self._epochs.append(finished)
        for listener in self._listeners:
            listener(finished)


def _metrics(*, weighted: bool) -> dict[str, list[keras.metrics.Metric]]:
    """Return what the model is compiled with; weighted, training's accuracy too counts by class weights, if any."""
    return {"weighted_metrics" if weighted else "metrics": [keras.metrics.CategoricalAccuracy(name="accuracy")]}


def _early_stopping(settings: HyperparametersConfig) -> list[keras.callbacks.Callback]:
    stopping = settings.early_stopping
    if stopping.patience is None:
        return []
    mode = "min" if stopping.monitor == "val_loss" else "max"
    return [keras.callbacks.EarlyStopping(monitor=stopping.monitor, patience=stopping.patience, mode=mode)]
