"""The trainer: heads on stored features with `HeadEpochs`, every other stage with Keras's ``fit``."""

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

from bloodcell.console.progress import SHOW_ALL, Reporting, track
from bloodcell.data.pipeline import Samples
from bloodcell.data.sampling import equal_source_weights
from bloodcell.errors import UserError
from bloodcell.models.blocks import rate_factors
from bloodcell.signals import raise_if_interrupted
from bloodcell.training.averaging import AveragedWeights
from bloodcell.training.checkpoints import Checkpoints
from bloodcell.training.head_epochs import HeadEpochs, has_own_steps
from bloodcell.training.head_prediction import head_probabilities
from bloodcell.training.heads import class_weights, fit_frozen_layers, solve_head
from bloodcell.training.learner import Learner
from bloodcell.training.optimizers import build_optimizer, last_learning_rate
from bloodcell.training.progress import EpochProgress
from bloodcell.training.stage_data import (
    StageFeatures,
    evaluation_data,
    evaluation_features,
    stage_data,
    stage_features,
)
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
        time since. What is trained side by side takes longer, because others use the same cores.
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
    training = Training(
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
    `bloodcell.training.stage_data.evaluation_features`.
    """
    features = evaluation_features(learner, samples, orientation=orientation)
    if features is not None and lowest_boundary(learner.stages) is None:
        return head_probabilities(learner.classifier.head, features, samples, description=description)
    model, batches, total = evaluation_data(learner, samples, features=features, orientation=orientation)
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


class Training:
    """A training; the arguments are those of `train`.

    Without ``listeners`` nothing is told of its epochs: the training that continues from its state does that.
    """

    def __init__(
        self,
        learner: Learner,
        *,
        train_samples: Samples,
        val_samples: Samples,
        folder: Path,
        listeners: Sequence[Callable[[Epoch], Any]] | None = None,
        reporting: Reporting = SHOW_ALL,
        digest: str = "",
    ) -> None:
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
        self._stage_start = 0
        self._stepped = ""
        self._check: Callable[[], None] = raise_if_interrupted
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

    def run(self, state: TrainingState | None, *, check: Callable[[], None] = raise_if_interrupted) -> Trained:
        """Train from a state on, or from nothing; ``check`` is called every few steps, and ends it by an exception."""
        self._check = check
        self._started = time.perf_counter()
        self._states.clean(keep=state is not None)
        start = state or TrainingState()
        self._epochs += [Epoch(**attributes) for attributes in start.epochs]
        for epoch in self._epochs[start.reported :]:
            self._report(epoch)
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
                resumed = replace(start, optimizer=())  # its variables may be others
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
        learner, stage = self._learner, self._learner.stages[number]
        steps = -(-len(self._train_samples) // learner.settings.batch_size)
        steps = min(steps, learner.steps_per_epoch or steps)
        self._stage_start = len(self._epochs) - start.stage_epochs
        own_steps = stage.boundary is None and features.training is not None and has_own_steps(learner)
        fit = self._fit_head if own_steps else self._fit_keras
        with closing(EpochProgress(stage.name, self._reporting)) as progress:
            fit(number, features, start, steps, progress)
        if learner.settings.early_stopping.restore_best:
            self._checkpoints.restore_best()

    def _fit_head(
        self, number: int, features: StageFeatures, start: TrainingState, steps: int, progress: EpochProgress
    ) -> None:
        stage = self._learner.stages[number]
        assert features.training is not None
        assert features.validation is not None
        epochs = HeadEpochs(
            self._learner,
            stage,
            training=features.training,
            validation=features.validation,
            train_samples=self._train_samples,
            val_samples=self._val_samples,
            steps=steps,
        )
        if start.optimizer:
            epochs.steps.state = start.optimizer
        n_epochs = stage.stop_after or stage.epochs

        def stepped(done: int, metrics: dict[str, float]) -> None:
            self.stepped(stage)
            progress.on_train_batch_end(done - 1, metrics)

        progress.set_params({"epochs": n_epochs, "steps": steps})
        progress.on_train_begin()
        for epoch in range(start.stage_epochs, n_epochs):
            progress.on_epoch_begin(epoch)
            metrics = epochs.train(len(self._epochs), first_step=epoch * steps, progress=stepped)
            metrics |= {f"val_{name}": value for name, value in epochs.validate().items()}
            self.finish_epoch(metrics, stage=stage, learning_rate=float(epochs.rates[(epoch + 1) * steps - 1]))
            progress.on_epoch_end(epoch, metrics)
            if self.is_over:
                break
            if epoch + 1 < n_epochs and self._states.is_due():
                self._save_state(stage=number, stage_epochs=epoch + 1, optimizer=epochs.steps.state)

    def _fit_keras(
        self, number: int, features: StageFeatures, start: TrainingState, steps: int, progress: EpochProgress
    ) -> None:
        learner, settings, stage = self._learner, self._learner.settings, self._learner.stages[number]
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
        data.model.fit(
            data.training,
            steps_per_epoch=steps,
            initial_epoch=start.stage_epochs,
            epochs=stage.stop_after or stage.epochs,
            validation_data=data.validation,
            class_weight=class_weights(self._train_samples, settings.class_weights, sampling=settings.sampling),
            callbacks=[
                _EpochEnd(self, stage),
                progress,
                # At the end of an epoch, callbacks before it see the averaged weights, those after it do not.
                *([AveragedWeights()] if settings.weight_averaging else []),
                _StateSaver(functools.partial(self._save_state, stage=number), self._states),
            ],
            verbose=0,
            shuffle=False,  # the pipeline shuffles
        )

    @property
    def is_over(self) -> bool:
        """Whether the stage ends before its last epoch: none of ``patience`` epochs was better than one before them."""
        stopping, epochs = self._learner.settings.early_stopping, self._epochs[self._stage_start :]
        if stopping.patience is None:
            return False
        values = np.array([getattr(epoch, stopping.monitor) for epoch in epochs])
        best = int(np.argmin(values) if stopping.monitor == "val_loss" else np.argmax(values))
        return len(epochs) - 1 - best >= stopping.patience

    def stepped(self, stage: Stage) -> None:
        """End the training if it must, and log that a stage has started."""
        self._check()
        if self._stepped != stage.name:
            log.info("stage %s: first steps done", stage.name)
            self._stepped = stage.name

    def finish_epoch(self, metrics: dict[str, float], *, stage: Stage, learning_rate: float) -> None:
        """Keep the weights after an epoch, and record its ``loss, accuracy, val_loss, val_accuracy``.

        Raises
        ------
        UserError
            If a loss is not finite.
        """
        # If the last step made the weights infinite, only the validation loss shows it.
        loss = next((metrics[name] for name in ("loss", "val_loss") if not np.isfinite(metrics[name])), None)
        if loss is not None:
            raise UserError(
                f"hyperparameters.learning_rate: the loss of stage {stage.name} became {loss} at a learning rate of "
                f"{stage.learning_rate:g}; lower it"
            )
        number = len(self._epochs)
        epoch = Epoch(
            epoch=number,
            stage=stage.name,
            train_loss=metrics["loss"],
            train_accuracy=metrics["accuracy"],
            val_loss=metrics["val_loss"],
            val_accuracy=metrics["val_accuracy"],
            learning_rate=learning_rate,
            best=self._checkpoints.keep(number, metrics),
        )
        self._epochs.append(epoch)
        self._report(epoch)

    def _report(self, epoch: Epoch) -> None:
        for listener in self._listeners or ():
            listener(epoch)

    def _save_state(self, *, stage: int, stage_epochs: int = 0, optimizer: Sequence[Any] = ()) -> None:
        """Save the checkpoints, and the state in a stage after some of its epochs, or before it."""
        self._seconds = self._earlier_seconds + time.perf_counter() - self._started
        finished = stage == len(self._learner.stages)
        started = time.monotonic()
        self._checkpoints.write()
        self._states.write(
            TrainingState(
                stage=stage,
                stage_epochs=stage_epochs,
                epochs=[asdict(epoch) for epoch in self._epochs],
                inputs=self._inputs,
                reported=0 if self._listeners is None else len(self._epochs),
                seconds=self._seconds,
                weights=() if finished else values_of(self._weights),
                best_weights=() if finished else self._checkpoints.best_weights,
                seeds=values_of(self._seeds),
                optimizer=values_of(optimizer),
            ),
            since=started,
        )


class _EpochEnd(keras.callbacks.Callback):
    """Records every epoch of a stage, and ends the stage early or the training after a signal."""

    def __init__(self, training: Training, stage: Stage) -> None:
        super().__init__()
        self._training, self._stage = training, stage

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        """End the training after a signal."""
        self._training.stepped(self._stage)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002 - Keras's hook
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        rate = last_learning_rate(self.model.optimizer)
        self._training.finish_epoch(metrics, stage=self._stage, learning_rate=rate)
        if self._training.is_over:
            self.model.stop_training = True


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
