"""Pictures for tests: rendered smears, and the real images of the Kaggle set if this machine has them."""

import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bloodcell.smears import CLASSES, render_photograph

Pixels = NDArray[np.uint8]
Photographs = Callable[[int], list[Pixels]]
"""From a count to as many different photographs, RGB, shape (240, 320, 3)."""

DATA = os.environ.get("BLOODCELL_TEST_DATA")
"""The folder of the real images: it holds ``TRAIN``, ``TEST`` and ``TEST_SIMPLE``."""

N_TRAIN, N_TEST = 10, 5
"""Images of each class in the folder that most tests train on."""

_OF_TRAIN, _OF_TEST = 1_000, 2_000
"""Slides start here, so that TRAIN and TEST share none."""


def rendered(count: int) -> list[Pixels]:
    """Render photographs of all classes, each of a slide of its own."""
    return [_rendered(CLASSES[index % len(CLASSES)], index) for index in range(count)]


def real(count: int) -> list[Pixels]:
    """Read photographs of all classes from ``TEST_SIMPLE``."""
    files = sorted(Path(str(DATA), "TEST_SIMPLE").glob("*/*"))
    step = len(files) // count
    return [np.asarray(Image.open(file).convert("RGB")) for file in files[::step][:count]]


def rendered_folder(root: Path) -> Path:
    """Write a few dozen rendered photographs in the layout of the Kaggle set."""
    for split, count, first in (("TRAIN", N_TRAIN, _OF_TRAIN), ("TEST", N_TEST, _OF_TEST)):
        for number, label in enumerate(CLASSES):
            (root / split / label).mkdir(parents=True)
            for index in range(count):
                image = Image.fromarray(_rendered(label, first + index))
                image.save(root / split / label / f"_{index}_{number}.jpeg", quality=90)
    return root


def real_folder(root: Path) -> Path:
    """Copy a few dozen real images."""
    for split, count in (("TRAIN", N_TRAIN), ("TEST", N_TEST)):
        for label in CLASSES:
            (root / split / label).mkdir(parents=True)
            for file in sorted(Path(str(DATA), split, label).iterdir())[:count]:
                shutil.copy(file, root / split / label)
    return root


@cache
def _rendered(label: str, slide: int) -> Pixels:
    image = render_photograph(label, slide=slide, seed=0).image
    image.flags.writeable = False
    return image
