"""Synthetic smears: the speed of rendering, and the accuracy of segmentation and of recovered sources.

    uv run python experiments/benchmarks/smears.py

Photographs and copies per minute on all cores, and the speed of reading cached images; how often the nucleus is found,
and its intersection over union with the known mask, by class; recall and precision of pairs of copies of one
photograph. One JSON line has all numbers.
"""

import json
import os
import time

import joblib
import numpy as np
import pandas as pd

from bloodcell.cells.segmentation import find_cell
from bloodcell.data.groups import recovered_groups
from bloodcell.data.manifest import ImageSet
from bloodcell.data.smears import NUCLEI, load_smears
from bloodcell.images.reading import read_image
from bloodcell.smears import CLASSES, augmented_copy, render_photograph

N_PHOTOGRAPHS, N_COPIES = 400, 8
SET = {"train_photographs": 80, "test_photographs": 40, "copies": 5, "slides": 8, "seed": 0}


def main() -> None:
    """Measure everything and print the line."""
    images = load_smears(**SET)
    print(json.dumps(speeds(images) | nuclei(images) | pairs(images)))


def speeds(images: ImageSet) -> dict[str, float]:
    """Return photographs and images a minute, rendered and read."""
    parallel = joblib.Parallel(n_jobs=-1)
    parallel(joblib.delayed(os.getpid)() for _ in range(2 * (os.cpu_count() or 1)))  # starts its processes
    started = time.perf_counter()
    parallel(joblib.delayed(_render)(number) for number in range(N_PHOTOGRAPHS))
    rendered = time.perf_counter() - started
    files = images.files(images.manifest)
    started = time.perf_counter()
    for file in files:
        read_image(file)
    read = time.perf_counter() - started
    return {
        "photographs_a_minute": 60 * N_PHOTOGRAPHS / rendered,
        "images_a_minute": 60 * N_PHOTOGRAPHS * N_COPIES / rendered,
        "images_read_a_minute": 60 * len(files) / read,
    }


def nuclei(images: ImageSet) -> dict[str, float]:
    """Return by class the share of images whose nucleus is found, and the median overlap with the known one."""
    rows = []
    for path, label in images.manifest[["path", "label"]].itertuples(index=False):
        known = read_image((images.root / NUCLEI / path).with_suffix(".png"))[..., 0] > 0
        if known.sum() < 300:  # augmentation moved it out of the image
            continue
        found = find_cell(read_image(images.root / path)).nucleus > 0
        rows.append((label, (found & known).sum() / (found | known).sum()))
    overlaps = pd.DataFrame(rows, columns=["label", "overlap"]).groupby("label")["overlap"]
    shares, medians = overlaps.apply(lambda values: (values > 0.5).mean()), overlaps.median()
    return {f"nucleus_found_{label.lower()}": float(shares[label]) for label in CLASSES} | {
        f"nucleus_overlap_{label.lower()}": float(medians[label]) for label in CLASSES
    }


def pairs(images: ImageSet) -> dict[str, float]:
    """Return recall and precision of pairs of copies of one photograph."""
    known = images.manifest["group"].to_numpy()
    found = recovered_groups(images).manifest["group"].to_numpy()
    true, predicted = (np.triu(np.equal.outer(groups, groups), k=1) for groups in (known, found))
    return {
        "pairs_found": (true & predicted).sum() / true.sum(),
        "pairs_right": (true & predicted).sum() / predicted.sum(),
    }


def _render(number: int) -> None:
    photograph = render_photograph(CLASSES[number % len(CLASSES)], slide=number // 10, seed=number)
    for seed in range(N_COPIES):
        augmented_copy(photograph, seed=seed)


if __name__ == "__main__":
    main()
