"""The trainer: one Keras ``fit`` per stage."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.config.training import HyperparametersConfig
from bloodcell.console.progress import SHOW_ALL, Reporting, track
from bloodcell.data.pipeline import Samples
from bloodcell.data.sampling import equal_source_weights
from bloodcell.errors import UserError
from bloodcell.models.blocks import rate_factors
from bloodcell.signals import raise_if_interrupted
from bloodcell.training.averaging import AveragedWeights
from bloodcell.training.checkpoints import Checkpoints
from bloodcell.training.heads import class_weights, fit_standardising, solve_head
from bloodcell.training.learner import Learner
from bloodcell.training.optimizers import build_optimizer, last_learning_rate
from bloodcell.training.progress import EpochProgress
from bloodcell.training.stage_data import evaluation_data, stage_data, stage_features
from bloodcell.training.stages import Stage, lowest_boundary

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """Metrics of one epoch.

    Attributes
    ----------
    epoch, stage
        Counted from 0 over all stages; the stage's name.
    train_loss, train_accuracy
        Mean over the epoch, while it trained, on augmented images.
    val_loss, val_accuracy
        After the epoch, by image or by photograph (``early_stopping.counts``).
    learning_rate
        Of the epoch's last step.
    best
        Whether it is the best so far.
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
    """The result of a training.

    Attributes
    ----------
    history
        One row for each epoch, with the attributes of `Epoch` as columns.
    best_epoch
        The epoch with the best monitored metric.
    inputs
        The origin of the input of each stage's model, by the stage's name.
    """

    history: pd.DataFrame
    best_epoch: int
    inputs: Mapping[str, str]

    @property
    def features(self) -> str:
        """The origin of the features of all stages, in one line."""
        return "; ".join(f"{stage}: {description}" for stage, description in self.inputs.items())


def train(
    learner: Learner,
    *,
    train_samples: Samples,
    val_samples: Samples,
    folder: Path,
    listeners: Sequence[Callable[[Epoch], Any]] = (),
    reporting: Reporting = SHOW_ALL,
) -> Trained:
    """Train a classifier in stages, each from the best weights so far.

    Parameters
    ----------
    learner
        Its classifier is trained in place; with ``early_stopping.restore_best`` it has the weights of the best epoch at
        the end.
    train_samples, val_samples
        Validation images decide when a stage stops and which epoch is the best.
    folder
        The folder of the checkpoints of all weights that are trained.
    listeners
        Called after each epoch.
    reporting
        How progress is shown.

    Raises
    ------
    UserError
        If the loss is not finite.
    """
    classifier, settings = learner.classifier, learner.settings
    trained_part = classifier.trained_part(lowest_boundary(learner.stages))
    checkpoints = Checkpoints(model=trained_part, folder=folder, monitor=settings.early_stopping.monitor)
    steps = -(-len(train_samples) // settings.batch_size)
    steps = min(steps, learner.steps_per_epoch or steps)
    if settings.early_stopping.counts == "photographs":
        weights = equal_source_weights(val_samples.source_ids)
        # Of mean 1, since Keras divides the weighted sum by the number of images.
        val_samples = replace(val_samples, weights=weights / weights.mean())
    # Weighted metrics count class weights in training, too.
    metrics_setting = "metrics" if val_samples.weights is None else "weighted_metrics"
    epochs: list[Epoch] = []
    inputs: dict[str, str] = {}
    for number, stage in enumerate(learner.stages):
        features = stage_features(learner, stage, train_samples=train_samples, val_samples=val_samples)
        inputs[stage.name] = features.description
        record = _Recorder(stage=stage, checkpoints=checkpoints, epochs=epochs, listeners=listeners)
        if number == 0:
            fit_standardising(learner, features.training, train_samples)
        if number == 0 and learner.solver == "lbfgs":
            record.finished(solve_head(learner, features, train_samples, val_samples), learning_rate=0.0)
            continue
        data = stage_data(
            learner,
            stage,
            features=features,
            train_samples=train_samples,
            val_samples=val_samples,
            first_epoch=len(epochs),
            steps_per_epoch=steps,
        )
        decay = stage.learning_rate_decay
        data.model.compile(
            optimizer=build_optimizer(
                settings,
                learning_rate=stage.learning_rate,
                total_steps=steps * stage.epochs,
                factors=rate_factors(classifier.backbone, decay) if decay != 1 else None,
            ),
            loss=keras.losses.CategoricalCrossentropy(label_smoothing=settings.label_smoothing),
            **{metrics_setting: [keras.metrics.CategoricalAccuracy(name="accuracy")]},
            jit_compile=False,  # on small data compiling takes longer than it saves; it is not deterministic
            steps_per_execution=data.steps_per_execution,
        )
        # It must be last: at the end of an epoch, callbacks before it see the averaged weights.
        averaging = [AveragedWeights()] if settings.weight_averaging else []
        with closing(EpochProgress(stage=f"{reporting.label}{stage.name}", quiet=reporting.quiet)) as progress:
            data.model.fit(
                data.training,
                steps_per_epoch=steps,
                epochs=stage.stop_after or stage.epochs,
                validation_data=data.validation,
                class_weight=class_weights(train_samples, settings.class_weights, sampling=settings.sampling),
                callbacks=[record, progress, *_early_stopping(settings), *averaging],
                verbose=0,
                shuffle=False,  # the pipeline shuffles
            )
        if settings.early_stopping.restore_best:
            checkpoints.restore_best()
    history = pd.DataFrame([asdict(epoch) for epoch in epochs])
    return Trained(history=history, best_epoch=checkpoints.best_epoch, inputs=inputs)


def predict(learner: Learner, samples: Samples, *, description: str, orientation: int = 0) -> NDArray[np.float32]:
    """Return a trained classifier's probabilities for every image, in order.

    Shape (n, n_classes). ``description`` is what progress shows, ``orientation`` that of
    `bloodcell.training.stage_data.evaluation_data`.
    """
    model, batches, total = evaluation_data(learner, samples, orientation=orientation)
    # Not batch by batch: Keras would compile the model again for the last, smaller one.
    with closing(track(range(total), description, total=total)) as progress:
        step = keras.callbacks.LambdaCallback(on_predict_batch_end=lambda *_, **__: next(progress, None))
        probabilities: NDArray[np.float32] = model.predict(batches, verbose=0, callbacks=[step])
    return probabilities


def predict_orientations(
    learner: Learner, samples: Samples, *, n_orientations: int, description: str
) -> NDArray[np.float32]:
    """Return probabilities for orientations of every image, (n_orientations, n, n_classes).

    Parameters
    ----------
    learner, samples, description
        As for `predict`.
    n_orientations
        1..8, see `bloodcell.data.orientations.orient`; the first is the unchanged image, the only one if the backbone
        takes no images.
    """
    n = n_orientations if learner.classifier.backbone.takes_images else 1
    names = [description, *(f"{description}, view {number} of {n}" for number in range(2, n + 1))]
    return np.stack([predict(learner, samples, description=name, orientation=i) for i, name in enumerate(names)])


class _Recorder(keras.callbacks.Callback):
    """Records the epochs of one stage: saves the checkpoint first, then calls the listeners."""

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
        """Log that training has started, and end it after a signal."""
        raise_if_interrupted()
        if not self._stepped:
            log.info("stage %s: first steps done", self._stage.name)
            self._stepped = True

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002 - Keras's hook
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        # If the last step made the weights infinite, only the validation loss shows it.
        loss = next((metrics[name] for name in ("loss", "val_loss") if not np.isfinite(metrics[name])), None)
        if loss is not None:
            raise UserError(
                f"hyperparameters.learning_rate: the loss of stage {self._stage.name} became "
                f"{loss} at a learning rate of {self._stage.learning_rate:g}; lower it"
            )
        self.finished(metrics, learning_rate=last_learning_rate(self.model.optimizer))

    def finished(self, metrics: dict[str, float], *, learning_rate: float) -> None:
        """Record a finished epoch with its ``loss, accuracy, val_loss, val_accuracy``."""
        number = len(self._epochs)
        epoch = Epoch(
            epoch=number,
            stage=self._stage.name,
            train_loss=metrics["loss"],
            train_accuracy=metrics["accuracy"],
            val_loss=metrics["val_loss"],
            val_accuracy=metrics["val_accuracy"],
            learning_rate=learning_rate,
            best=self._checkpoints.save(number, metrics),
        )
        self._epochs.append(epoch)
        for listener in self._listeners:
            listener(epoch)


def _early_stopping(settings: HyperparametersConfig) -> list[keras.callbacks.Callback]:
    stopping = settings.early_stopping
    if stopping.patience is None:
        return []
    mode = "min" if stopping.monitor == "val_loss" else "max"
    return [keras.callbacks.EarlyStopping(monitor=stopping.monitor, patience=stopping.patience, mode=mode)]
