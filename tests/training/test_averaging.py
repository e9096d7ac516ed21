import keras
import numpy as np
import pytest
from training import tiny

from bloodcell.training.averaging import AveragedWeights
from bloodcell.training.optimizers import build_optimizer

MOMENTUM, EPOCHS, STEPS = 0.5, 3, 2


class Watch(keras.callbacks.Callback):
    """Records the weight after each step and at the end of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[float] = []
        self.ends: list[float] = []

    def weight(self) -> float:
        return float(np.asarray(self.model.trainable_weights[0]).item())

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(self.weight())

    def on_epoch_end(self, epoch, logs=None):
        self.ends.append(self.weight())


@pytest.fixture
def fitted():
    """A line through the origin, fitted with averaging: its weights and validation losses."""

    def fit(*callbacks):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
        optimizer = build_optimizer(
            tiny.settings(optimizer="sgd", weight_averaging=MOMENTUM), learning_rate=0.1, total_steps=STEPS * EPOCHS
        )
        model.compile(optimizer=optimizer, loss="mse")
        watch, one = Watch(), np.ones((4, 1), np.float32)
        history = model.fit(
            *(one, one),
            batch_size=2,
            epochs=EPOCHS,
            validation_data=(one, one),
            callbacks=[watch, *callbacks, AveragedWeights()],
            verbose=0,
        )
        return watch, history.history["val_loss"], float(np.asarray(model.trainable_weights[0]).item())

    return fit


def averages(steps: list[float]) -> list[float]:
    """The moving average after each step."""
    found = [steps[0]]
    for step in steps[1:]:
        found.append(MOMENTUM * found[-1] + (1 - MOMENTUM) * step)
    return found


def test_training_continues_with_the_weights_themselves(fitted):
    watch, _, _ = fitted()
    # A fifth of the way to 1 in every step.
    assert watch.steps == pytest.approx([1 - 0.8**step for step in range(1, STEPS * EPOCHS + 1)], rel=1e-5)


def test_validation_and_checkpoints_have_the_averages(fitted):
    watch, losses, _ = fitted()
    expected = averages(watch.steps)[STEPS - 1 :: STEPS]
    assert watch.ends == pytest.approx(expected, rel=1e-5)
    assert losses == pytest.approx([(1 - average) ** 2 for average in expected], rel=1e-4)


def test_the_model_ends_with_the_averages(fitted):
    watch, _, last = fitted()
    assert last == pytest.approx(averages(watch.steps)[-1], rel=1e-5)


def test_the_model_ends_with_the_averages_also_after_early_stopping(fitted):
    stop = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: setattr(stop.model, "stop_training", True))
    watch, losses, last = fitted(stop)
    assert len(losses) == 1
    assert last == pytest.approx(averages(watch.steps)[-1], rel=1e-5)
