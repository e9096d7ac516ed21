"""The cost of sets of any shape: few or many classes and images, small or large images.

    uv run python experiments/benchmarks/sizes.py
    uv run python experiments/benchmarks/sizes.py 10x200000x28x28

Each set is CLASSES x IMAGES x WIDTH x HEIGHT: discs of a colour of their class on noise. Writes it, then runs the whole
command in a new process with an empty cache, without searching for photographs: MobileNetV2's frozen layers at 32
pixels, one epoch of a linear head. Prints a line of a table: time of the command, processor seconds and peak memory.
"""

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import command
import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

SETS = ("2x20x300x300", "12x2400x120x120", "300x6000x64x64", "4x24x4000x3000", "10x200000x28x28")
BLOCK = 1000
"""Images that a process writes at a time."""


def write(folder: Path, start: int, *, n_classes: int, size: tuple[int, int], stop: int) -> None:
    """Write the images of some numbers, each into the folder of its class."""
    width, height = size
    for number in range(start, min(start + BLOCK, stop)):
        label, rng = number % n_classes, np.random.default_rng(number)
        pixels = rng.integers(190, 230, (height, width, 3), np.uint8)
        hue = np.array([[[180 * label // n_classes, 200, 160]]], np.uint8)
        colour = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0].tolist()
        centre = [int(rng.integers(edge // 4, 3 * edge // 4 + 1)) for edge in size]
        cv2.circle(pixels, centre, min(size) // 5, colour, -1)
        cv2.imwrite(str(folder / f"class {label:03}" / f"{number}.jpg"), pixels)


def fill(folder: Path, *, n_classes: int, n_images: int, size: tuple[int, int]) -> None:
    """Write a set of images."""
    for label in range(n_classes):
        (folder / f"class {label:03}").mkdir(parents=True)
    made = partial(write, folder, n_classes=n_classes, size=size, stop=n_images)
    with ProcessPoolExecutor() as pool:
        list(pool.map(made, range(0, n_images, BLOCK)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=SETS)
    table = Table(title="Sets of any shape", title_justify="left")
    for heading in ("classes", "images", "pixels", "seconds", "processor seconds", "peak GiB"):
        table.add_column(heading, justify="right")
    for name in parser.parse_args().sets:
        n_classes, n_images, width, height = map(int, name.split("x"))
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            fill(folder / "images", n_classes=n_classes, n_images=n_images, size=(width, height))
            cost = command.bloodcell(*job(folder / "images"), folder=folder, cache=folder / "cache")
        figures = (f"{cost.seconds:.0f}", f"{cost.cpu_seconds:.0f}", f"{cost.gib:.1f}")
        table.add_row(str(n_classes), f"{n_images:,}", f"{width} x {height}", *figures)
    Console().print(table)


def job(images: Path) -> list[str]:
    """Return the command's arguments."""
    return [
        *("train", "data=folder", f"data.train_dir={images}", "data.test_dir=null", "data.groups=none"),
        *("split=random", "backbone=mobilenetv2", "backbone.weights=null", "backbone.input_size=32"),
        *("augmentation=none", "finetune=none", "hyperparameters.epochs=1", "baselines=[]", "explain=none"),
    ]


if __name__ == "__main__":
    main()
