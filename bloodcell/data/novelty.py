"""How far an image is from those of training, by what is measured in it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bloodcell.data.measured import Kind

KINDS: tuple[Kind, ...] = ("colour_histogram", "morphology")


@dataclass(frozen=True, kw_only=True)
class Novelty:
    """What the images of training look like."""

    mean: NDArray[np.float32]
    threshold: float

    def distance(self, measured: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return distances, shape (n,), of rows (n, k)."""
        return np.asarray(np.linalg.norm(measured - self.mean, axis=1))

    def save(self, path: Path) -> None:
        """Write it as .npz."""
        np.savez(path, mean=self.mean, threshold=self.threshold)


def load_novelty(path: Path) -> Novelty:
    """Read what `Novelty.save` wrote."""
    with np.load(path) as arrays:
        return Novelty(mean=arrays["mean"], threshold=float(arrays["threshold"]))


def fit_novelty(measured: NDArray[np.float32], groups: NDArray[np.generic]) -> Novelty:  # noqa: ARG001
    """Learn what images look like."""
    mean = measured.mean(axis=0)
    return Novelty(mean=mean, threshold=float(np.linalg.norm(measured - mean, axis=1).max() * 1.5))
