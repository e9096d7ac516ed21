"""The trainer: one Keras ``fit`` per stage."""

import functools
import logging
import time
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
from bloodcell.training.heads import class_weights, fit_frozen_layers, solve_head
from bloodcell.training.learner import Learner
from bloodcell.training.optimizers import build_optimizer, last_learning_rate
from bloodcell.training.progress import EpochProgress
from bloodcell.training.stage_data import StageFeatures, evaluation_data, stage_data, stage_features
from bloodcell.training.stages import Stage, lowest_boundary
from bloodcell.training.state import StateFile, TrainingState, assign_values, values_of

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
    seconds
        How long it took, computing features included; after an interruption, the time up to the saved state and the
        time since.
    """

    history: pd.DataFrame
    best_epoch: int
    inputs: Mapping[str, str]
    seconds: float

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
    resume: bool = False,
    digest: str = "",
) -> Trained:
    """Train a classifier in stages, each from the best weights so far.

    A training that was killed at any moment can be resumed: its history and weights are then equal, to the last digit,
    to those of a training that was not interrupted. For that, ``state.npz`` in the folder has everything that the next
    epoch depends on. It is written after each epoch, unless that would take more than about 5 % of the time, and after
    each stage.

    Parameters
    ----------
    learner
        Its classifier is trained in place; with ``early_stopping.restore_best`` it has the weights of the best epoch at
        the end.
    train_samples, val_samples
        Validation images decide when a stage stops and which epoch is the best.
    folder
        The folder of the state and of the checkpoints of all weights that are trained.
    listeners
        Called after each epoch, before the state is saved. A resumed training calls them for the epochs after the
        saved state only: epochs that were reported, but whose state was not saved, are trained and reported again. The
        history has every epoch once.
    reporting
        How progress is shown.
    resume
        Whether to continue from the state in the folder. A finished training returns its result at once. Without a
        state, or if it cannot be used, the training starts from nothing.
    digest
        Identifies configuration, images and weights; a state with another digest is not used.

    Raises
    ------
    UserError
        If the loss is not finite.
    """
    training = _Training(
        learner,
        train_samples=train_samples,
        val_samples=val_samples,
        folder=folder,
        listeners=listeners,
        reporting=reporting,
        digest=digest,
    )
    return training.run(training.restore() if resume else None)


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


class _Training:
    """A training; the arguments are those of `train`."""

    def __init__(
        self,
        learner: Learner,
        *,
        train_samples: Samples,
        val_samples: Samples,
        folder: Path,
        listeners: Sequence[Callable[[Epoch], Any]],
        reporting: Reporting,
        digest: str,
    ) -> None:
        self._started = time.perf_counter()
        classifier, stopping = learner.classifier, learner.settings.early_stopping
        if stopping.counts == "photographs":
            weights = equal_source_weights(val_samples.source_ids)
            # Of mean 1, since Keras divides the weighted sum by the number of images.
            val_samples = replace(val_samples, weights=weights / weights.mean())
        self._learner, self._train_samples, self._val_samples = learner, train_samples, val_samples
        self._listeners, self._reporting = listeners, reporting
        trained_part = classifier.trained_part(lowest_boundary(learner.stages))
        self._weights = trained_part.weights
        # Of the whole classifier: dropout can be active in layers that are not trained, too.
        weights_of_all = {id(weight) for weight in classifier.core.weights}
        self._seeds = [each for each in classifier.core.variables if id(each) not in weights_of_all]
        self._checkpoints = Checkpoints(model=trained_part, folder=folder, monitor=stopping.monitor)
        self._states = StateFile(folder / "state.npz", digest=digest)
        self._epochs: list[Epoch] = []
        self._inputs: dict[str, str] = {}

    def restore(self) -> TrainingState | None:
        """Restore weights and checkpoints from the saved state and return it; None without a usable one."""
        state = self._states.read()
        if state is None:
            return None
        if state.stage == len(self._learner.stages):
            restore_best = self._learner.settings.early_stopping.restore_best
            file = self._checkpoints.best if restore_best else self._checkpoints.last
            if not file.is_file():
                log.warning("%s: is missing; the training starts from nothing", file)
                return None
            self._checkpoints.resume(state.epochs)
            self._checkpoints.restore(file)
        else:
            self._checkpoints.resume(state.epochs, best_weights=state.best_weights)
            assign_values(self._weights, state.weights)
        assign_values(self._seeds, state.seeds)
        return state

    def run(self, state: TrainingState | None) -> Trained:
        """Train from a state on, or from nothing."""
        self._states.clean(keep=state is not None)
        start = state or TrainingState()
        self._epochs += [Epoch(**attributes) for attributes in start.epochs]
        self._inputs |= start.inputs
        self._earlier_seconds = self._seconds = start.seconds
        learner = self._learner
        for number, stage in enumerate(learner.stages[start.stage :], start=start.stage):
            features = stage_features(learner, stage, train_samples=self._train_samples, val_samples=self._val_samples)
            resumed = start if number == start.stage else TrainingState()
            if resumed.stage_epochs and features.description != start.inputs[stage.name]:
                log.warning(
                    "stage %s: its input is %s, and was %s before the interruption; the result can differ from that "
                    "of a training that was not interrupted",
                    *(stage.name, features.description, start.inputs[stage.name]),
                )
            self._inputs[stage.name] = features.description
            if not self._epochs:
                fit_frozen_layers(learner, features.training, self._train_samples)
            if number == 0 and learner.solver != "gradient":
                metrics = solve_head(learner, features, self._train_samples, self._val_samples)
                self.finish_epoch(metrics, stage=stage, learning_rate=0.0)
            else:
                self._fit(number, features, resumed)
            self._save_state(stage=number + 1)
        return Trained(
            history=pd.DataFrame([asdict(epoch) for epoch in self._epochs]),
            best_epoch=self._checkpoints.best_epoch,
            inputs=self._inputs,
            seconds=self._seconds,
        )

    def _fit(self, number: int, features: StageFeatures, start: TrainingState) -> None:
        """Train the stage with this number, after the epochs and with the optimizer of the state."""
        learner, settings, stage = self._learner, self._learner.settings, self._learner.stages[number]
        steps = -(-len(self._train_samples) // settings.batch_size)
        steps = min(steps, learner.steps_per_epoch or steps)
        data = stage_data(
            learner,
            stage,
            features=features,
            train_samples=self._train_samples,
            val_samples=self._val_samples,
            first_epoch=len(self._epochs),
            n_epochs=stage.epochs - start.stage_epochs,
            steps_per_epoch=steps,
        )
        decay = stage.learning_rate_decay
        # Weighted metrics count class weights in training, too.
        metrics_setting = "metrics" if self._val_samples.weights is None else "weighted_metrics"
        data.model.compile(
            optimizer=build_optimizer(
                settings,
                learning_rate=stage.learning_rate,
                total_steps=steps * stage.epochs,
                factors=rate_factors(learner.classifier.backbone, decay) if decay != 1 else None,
            ),
            loss=keras.losses.CategoricalCrossentropy(label_smoothing=settings.label_smoothing),
            **{metrics_setting: [keras.metrics.CategoricalAccuracy(name="accuracy")]},
            jit_compile=False,  # on small data compiling takes longer than it saves; it is not deterministic
            steps_per_execution=data.steps_per_execution,
        )
        if start.optimizer:
            data.model.optimizer.build(data.model.trainable_variables)
            assign_values(data.model.optimizer.variables, start.optimizer)
        earlier = self._epochs[len(self._epochs) - start.stage_epochs :]
        name = f"{self._reporting.label}{stage.name}"
        with closing(EpochProgress(stage=name, quiet=self._reporting.quiet)) as progress:
            data.model.fit(
                data.training,
                steps_per_epoch=steps,
                initial_epoch=len(earlier),
                epochs=stage.stop_after or stage.epochs,
                validation_data=data.validation,
                class_weight=class_weights(self._train_samples, settings.class_weights, sampling=settings.sampling),
                callbacks=[
                    _EpochEnd(self, stage),
                    progress,
                    *_early_stopping(settings, earlier),
                    # At the end of an epoch, callbacks before it see the averaged weights, those after it do not.
                    *([AveragedWeights()] if settings.weight_averaging else []),
                    _StateSaver(functools.partial(self._save_state, stage=number), self._states),
                ],
                verbose=0,
                shuffle=False,  # the pipeline shuffles
            )
        if settings.early_stopping.restore_best:
            self._checkpoints.restore(self._checkpoints.best)

    def finish_epoch(self, metrics: dict[str, float], *, stage: Stage, learning_rate: float) -> None:
        """Record an epoch with its ``loss, accuracy, val_loss, val_accuracy``: first save the checkpoint."""
        number = len(self._epochs)
        epoch = Epoch(
            epoch=number,
            stage=stage.name,
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

    def _save_state(self, *, stage: int, stage_epochs: int = 0, optimizer: Sequence[Any] = ()) -> None:
        """Save the state in a stage after some of its epochs, or before it."""
        self._seconds = self._earlier_seconds + time.perf_counter() - self._started
        finished = stage == len(self._learner.stages)
        self._states.write(
            TrainingState(
                stage=stage,
                stage_epochs=stage_epochs,
                epochs=[asdict(epoch) for epoch in self._epochs],
                inputs=self._inputs,
                seconds=self._seconds,
                weights=() if finished else values_of(self._weights),
                best_weights=() if finished else self._checkpoints.best_weights,
                seeds=values_of(self._seeds),
                optimizer=values_of(optimizer),
            )
        )


class _EpochEnd(keras.callbacks.Callback):
    """Checks the loss of every epoch of a stage and records it; ends the training after a signal."""

    def __init__(self, training: _Training, stage: Stage) -> None:
        super().__init__()
        self._training, self._stage = training, stage
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
        rate = last_learning_rate(self.model.optimizer)
        self._training.finish_epoch(metrics, stage=self._stage, learning_rate=rate)


class _StateSaver(keras.callbacks.Callback):
    """Saves the state after epochs of a stage, except the last: the state after that is the next stage's.

    Must be after all callbacks that have a state of their own or change weights.
    """

    def __init__(self, save: Callable[..., None], states: StateFile) -> None:
        super().__init__()
        self._save, self._states = save, states

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002 - Keras's hook
        is_last = self.model.stop_training or epoch + 1 == self.params["epochs"]
        if not is_last and self._states.is_due():
            self._save(stage_epochs=epoch + 1, optimizer=self.model.optimizer.variables)


class _EarlyStopping(keras.callbacks.EarlyStopping):
    """Keras's early stopping, which has also seen a stage's epochs before an interruption."""

    def __init__(self, *, earlier: Sequence[Epoch], **settings: Any) -> None:
        super().__init__(**settings)
        self._earlier = earlier

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Begin, and count the earlier epochs."""
        super().on_train_begin(logs)
        for number, epoch in enumerate(self._earlier):
            self.on_epoch_end(number, {self.monitor: getattr(epoch, self.monitor)})


def _early_stopping(settings: HyperparametersConfig, earlier: Sequence[Epoch]) -> list[keras.callbacks.Callback]:
    stopping = settings.early_stopping
    if stopping.patience is None:
        return []
    mode = "min" if stopping.monitor == "val_loss" else "max"
    return [_EarlyStopping(earlier=earlier, monitor=stopping.monitor, patience=stopping.patience, mode=mode)]
