"""Weight averaging: the moving average of the last steps' weights is validated and saved."""

from typing import Any

import keras


class AveragedWeights(keras.callbacks.Callback):
    """Validates with the moving averages of an optimizer with ``use_ema``.

    The model has the averages from the start of an epoch's validation until the ``on_epoch_end`` of this callback, so
    callbacks before it save the averages. Training continues with the weights themselves. At the end of ``fit`` Keras
    leaves the averages in the model. Unlike Keras's `SwapEMAWeights`, this callback swaps without rounding and supports
    early stopping.
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
        """Restore the model's own weights."""
        if self._own is None:
            return
        for weight, own in zip(self._pairs()[0], self._own, strict=True):
            weight.assign(own)
        self._own = None

    def _pairs(self) -> tuple[list[Any], list[Any]]:
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)  # with loss scaling
        return optimizer._trainable_variables, optimizer._model_variables_moving_average
