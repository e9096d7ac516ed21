"""Checkpoints: the weights of the best and the last epoch, written atomically."""

from pathlib import Path

import keras

from bloodcell.files import atomic_write


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

    def save(self, epoch: int, metrics: dict[str, float]) -> bool:
        """Save the weights after an epoch; return whether it is the best so far."""
        self._write(self.last)
        score = self._sign * metrics[self._monitor]
        if not score > self._best_score:
            return False
        self._best_score, self.best_epoch = score, epoch
        self._write(self.best)
        return True

    def restore_best(self) -> None:
        """Load the weights of the best epoch."""
        self._model.load_weights(self.best)

    def _write(self, path: Path) -> None:
        with atomic_write(path) as partial:
            self._model.save_weights(partial, overwrite=True)
