"""Sources with random measurements."""

import numpy as np

from bloodcell.audit.sources import SourceTable
from bloodcell.cells.measurements import PROPERTIES

CLASSES = ("a", "b", "c")
N_CELLS = 12


def some(n: int, *, seed: int, separation: float = 3.0, test_share: float = 0.3) -> SourceTable:
    """Return n sources whose cells predict the class; all other measurements are noise."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(CLASSES, n, p=[0.5, 0.3, 0.2])
    cells = rng.normal(size=(n, N_CELLS))
    for place, label in enumerate(CLASSES):
        cells[labels == label, place] += separation
    return SourceTable(
        sources=np.array([f"g{number:04}" for number in range(n)]),
        groups=np.arange(n),
        labels=labels,
        splits=np.where(rng.random(n) < test_share, "test", "train"),
        examples=np.array([f"{number}.png" for number in range(n)]),
        n_images=rng.integers(1, 20, n),
        properties=rng.normal(size=(n, len(PROPERTIES))),
        cells=cells,
        border=rng.random(n),
        background=rng.normal(size=(n, 22)),
        counts=np.ones(n, dtype=np.int64),
    )
