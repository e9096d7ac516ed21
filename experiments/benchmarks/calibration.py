"""Accuracy of the calibration errors (expected, by chance, debiased) if the truth is known.

    uv run python experiments/benchmarks/calibration.py 400

Simulates confidences and errors, the given number of times for each setting. Photographs are those of the Kaggle set's
TEST (13, 6, 4 and 48 of the four classes, 622 images each) or TRAIN (75, 27, 16 and 159, 2,490 images each), 20 with 30
images each, or 2,000 with one image each.

The confidence is 0.3 + 0.7 times a Beta(2, 1) variate. An image is classified correctly with that probability less a
gap: none, constant (*shift*), or from -1.7 to 1.7 times the error (*slope*: underconfident at low confidence and
overconfident at high confidence). The root mean squared gap is the true error. Confidences and errors are correlated
within photographs by Gaussian copulas; 1 means that all images of a photograph are predicted alike.

One JSON line for each setting: means of the three errors; of the debiased one also the standard deviation, the share of
zeros, and the root mean square.
"""

import json
import sys
from dataclasses import asdict
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from bloodcell.evaluation.calibration import calibration_errors

SIZES = {
    "as TEST": np.repeat([48, 104, 156, 13], [13, 6, 4, 48]),
    "as TRAIN": np.repeat([33, 92, 156, 16], [75, 27, 16, 159]),
    "20 of 30 images": np.full(20, 30),
    "2,000 of one image": np.ones(2000, dtype=int),
}
"""Images of each photograph."""


def drawn(
    rng: np.random.Generator, sizes: NDArray[np.int64], *, correlation: float, error: float, kind: str
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Draw labels, shape (n,), probabilities, shape (n, 2), and photographs, shape (n,)."""
    groups = np.repeat(np.arange(sizes.size), sizes)
    quantile, answer = (
        stats.norm.cdf(
            np.sqrt(correlation) * rng.standard_normal(sizes.size)[groups]
            + np.sqrt(1 - correlation) * rng.standard_normal(groups.size)
        )
        for _ in range(2)
    )
    confidence = 0.3 + 0.7 * stats.beta.ppf(quantile, 2, 1)
    gap = error * (np.sqrt(3) * (2 * quantile - 1) if kind == "slope" else 1)
    right = answer < confidence - gap
    # Four classes: the first is the predicted one, the others share the rest.
    rest = np.repeat((1 - confidence)[:, None] / 3, 3, axis=1)
    return np.where(right, 0, 1), np.column_stack([confidence, rest]), groups


def main(repetitions: int) -> None:
    """Simulate every setting and print its line."""
    for name, (error, kind) in product(SIZES, [(0.0, ""), *product((0.05, 0.1, 0.2), ("shift", "slope"))]):
        for correlation in (0.0,) if name.endswith("one image") else (0.1, 0.85, 1.0):
            rng = np.random.default_rng(0)
            found = []
            for _ in range(repetitions):
                labels, probabilities, groups = drawn(rng, SIZES[name], correlation=correlation, error=error, kind=kind)
                found.append(asdict(calibration_errors(labels=labels, probabilities=probabilities, groups=groups)))
            table = pd.DataFrame(found)
            figures = table.mean().to_dict() | {
                "debiased_sd": table["debiased"].std(),
                "debiased_0": (table["debiased"] == 0).mean(),
                "debiased_root_mean_square": np.sqrt((table["debiased"] ** 2).mean()),
            }
            setting = {"photographs": name, "correlation": correlation, "error": error, "kind": kind}
            print(json.dumps(setting | {key: round(float(value), 3) for key, value in figures.items()}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
