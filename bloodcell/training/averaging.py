"""Averaging of weights: what is validated and kept is the mean of the last steps' weights, not the last step's."""

from typing import Any

import keras


class AveragedWeights(keras.callbacks.Callback):
    """Validates with the averages of the weights that an optimizer with ``use_ema`` keeps.

    They are in the model from the beginning of an epoch's validation until callbacks that come before this one have
    heard of its end: what these save are averages. Training goes on from the weights themselves. At the end of ``fit``
    Keras itself leaves the averages in the model. Unlike Keras's `SwapEMAWeights`, it swaps without rounding, and knows
    of trainings that stop early.
    """

    def __init__(self) -> None:
        super().__init__()
        self._own: list[Any] | None = None

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002 - Keras's hook
        """Put the averages into the model."""
        weights, averages = self._pairs()
        self._own = [keras.ops.convert_to_numpy(weight) for weight in weights]
        for weight, average in zip(weights, averages, strict=True):
            weight.assign(average)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002 - Keras's hook
        """Give the model its own weights back."""
        if self._own is None:
            return
        for weight, own in zip(self._pairs()[0], self._own, strict=True):
            weight.assign(own)
        self._own = None

    def _pairs(self) -> tuple[list[Any], list[Any]]:
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)  # where a loss is scaled
        return optimizer._trainable_variables, optimizer._model_variables_moving_average
