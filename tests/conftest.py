"""What the tests share: a place of their own for caches and stores, and a few dozen real images."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import absl.logging
import numpy as np
import pytest
from hypothesis import settings
from PIL import Image
from real import CLASSES, real_data

N_TRAIN, N_TEST = 10, 5
LONGEST = ("test_walkthrough", "test_contributing", "test_your_own_images")

# TensorFlow's Python logger keeps the error stream that it first finds, and pytest's would be closed by then.
absl.logging.get_absl_handler().python_handler.setStream(sys.__stderr__)

# The tests start many processes; where Python may keep nothing that it compiles, each would compile TensorFlow again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

# How long an example takes depends on what else the machine does.
settings.register_profile("bloodcell", deadline=None)
settings.load_profile("bloodcell")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest, the command line's among them, so that no worker is left alone with them at the end."""
    items.sort(key=lambda item: (item.path.stem not in LONGEST, item.path.parent.name != "tests"))


@pytest.fixture(scope="session", autouse=True)
def _own_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep caches out of the user's, and the user's tracking server out of the tests."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        environment.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


@pytest.fixture(scope="session")
def bccd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few dozen images in the layout of the Kaggle set: real ones where they are, else drawn ones."""
    root = tmp_path_factory.mktemp("bccd with space")
    source = real_data()
    for split, count in (("TRAIN", N_TRAIN), ("TEST", N_TEST)):
        for number, label in enumerate(CLASSES):
            folder = root / split / label
            folder.mkdir(parents=True)
            if source is None:
                for index in range(count):
                    draw_cell(
                        folder / f"_{index}_{number}.jpeg",
                        colour=number,
                        seed=100 * number + index + (50 if split == "TEST" else 0),
                    )
            else:
                for file in sorted((source / split / label).iterdir())[:count]:
                    shutil.copy(file, folder)
    return root


def draw_cell(path: Path, *, colour: int, seed: int) -> None:
    """Draw a disc of a class's colour on a noisy ground, 320 x 240."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(180, 230, (240, 320, 3))
    rows, columns = np.mgrid[:240, :320]
    centre = rng.integers(60, 180, 2)
    disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < 40**2
    pixels[disc] = np.array([(200, 60, 60), (60, 60, 200), (120, 60, 160), (90, 140, 90)])[colour]
    Image.fromarray(pixels.astype(np.uint8)).save(path, quality=90)
