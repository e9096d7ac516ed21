"""Checkpoints: the weights of the best and the last epoch, written atomically."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from bloodcell.files import atomic_write
from bloodcell.training.state import Arrays, assign_values, values_of


class Checkpoints:
    """Saves the weights of the best and of the last epoch over all stages.

    Parameters
    ----------
    model
        The model whose weights are saved.
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

    def save(self, epoch: int, metrics: dict[str, float]) -> bool:
        """Save the weights after an epoch; return whether it is the best so far."""
        self._write(self.last)
        score = self._sign * metrics[self._monitor]
        if not score > self._best_score:
            return False
        self._best_score, self.best_epoch = score, epoch
        self.best_weights = values_of(self._model.weights)
        self._write(self.best)
        return True

    def resume(self, epochs: Sequence[Mapping[str, Any]], *, best_weights: Arrays = ()) -> None:
        """Continue after earlier epochs.

        Parameters
        ----------
        epochs
            The attributes of every earlier `bloodcell.training.trainer.Epoch`.
        best_weights
            The weights of the best of them: the model gets them, and its checkpoint is written again, because a later
            epoch may have replaced it. Empty: the checkpoint is kept.
        """
        for epoch in epochs:
            if epoch["best"]:
                self._best_score, self.best_epoch = self._sign * epoch[self._monitor], epoch["epoch"]
        if best_weights:
            self.best_weights = best_weights
            assign_values(self._model.weights, best_weights)
            self._write(self.best)

    def restore(self, file: Path) -> None:
        """Load the weights of one of the two files."""
        self._model.load_weights(file)

    def _write(self, path: Path) -> None:
        with atomic_write(path) as partial:
            self._model.save_weights(partial, overwrite=True)
