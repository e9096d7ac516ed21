"""Checkpoints: the weights of the best and the last epoch, written atomically."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from bloodcell.files import atomic_write
from bloodcell.training.state import Arrays, assign_values, values_of


class Checkpoints:
    """Keeps the weights of the best and of the last epoch over all stages.

    Parameters
    ----------
    model
        The model whose weights are kept.
    folder
        The folder of ``best.weights.h5`` and ``last.weights.h5``.
    monitor
        ``val_loss`` (lower is better) or ``val_accuracy`` (higher is better).
    """

    def __init__(self, *, model: keras.Model, folder: Path, monitor: str) -> None:
        self._model = model
        self._monitor = monitor
        self._sign = -1.0 if monitor == "val_loss" else 1.0
        self._best_score = -float("inf")
        self.best = folder / "best.weights.h5"
        self.last = folder / "last.weights.h5"
        self.best_epoch = -1
        self.best_weights: Arrays = ()
        self._last_weights: Arrays = ()

    def keep(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Keep the weights after an epoch; return whether it is the best so far."""
        self._last_weights = values_of(self._model.weights)
        score = self._sign * metrics[self._monitor]
        if not score > self._best_score:
            return False
        self._best_score, self.best_epoch, self.best_weights = score, epoch, self._last_weights
        return True

    def resume(self, epochs: Sequence[Mapping[str, Any]], *, best_weights: Arrays = ()) -> None:
        """Continue after earlier epochs.

        Parameters
        ----------
        epochs
            The attributes of every earlier `bloodcell.training.trainer.Epoch`.
        best_weights
            The weights of the best of them.
        """
        for epoch in epochs:
            if epoch["best"]:
                self._best_score, self.best_epoch = self._sign * epoch[self._monitor], epoch["epoch"]
        self.best_weights = best_weights

    def write(self) -> None:
        """Write the files of the weights that were kept since the training started or continued."""
        now = values_of(self._model.weights)
        for path, weights in ((self.last, self._last_weights), (self.best, self.best_weights)):
            if weights:
                assign_values(self._model.weights, weights)
                with atomic_write(path) as partial:
                    self._model.save_weights(partial, overwrite=True)
        assign_values(self._model.weights, now)

    def restore_best(self) -> None:
        """Give the model the weights of the best epoch."""
        assign_values(self._model.weights, self.best_weights)

    def restore(self, file: Path) -> None:
        """Load the weights of one of the two files."""
        self._model.load_weights(file)
