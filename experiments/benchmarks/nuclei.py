"""How well nuclei are found in another laboratory's images, against masks of experts.

    uv run python experiments/benchmarks/nuclei.py path/to/images path/to/masks

``images`` has a folder for each class, ``masks`` a file of the same name for each image: 255 in the nucleus, 128 in the
cytoplasm, else 0. Prints, for the images as they are and changed in several ways, the mean intersection over union
(IoU) of the found nucleus and the mask, how many are below 0.5, in how many a cell is found, and in how many several.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bloodcell.cells.segmentation import find_cell
from bloodcell.images.normalisation import at_working_size
from bloodcell.images.reading import read_image

Pixels = NDArray[np.uint8]
Change = Callable[[Pixels, Pixels], tuple[Pixels, Pixels]]


def scaled(factor: float) -> Change:
    """Scale an image and its mask."""

    def change(pixels: Pixels, mask: Pixels) -> tuple[Pixels, Pixels]:
        size = round(pixels.shape[1] * factor), round(pixels.shape[0] * factor)
        smaller = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
        return np.asarray(smaller, np.uint8), np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST))

    return change


def cropped(share: float) -> Change:
    """Crop a square around the cell, with this share of the image's side."""

    def change(pixels: Pixels, mask: Pixels) -> tuple[Pixels, Pixels]:
        side = round(share * min(mask.shape))
        rows, columns = np.nonzero(mask)
        top = int(np.clip(rows.mean() - side / 2, 0, mask.shape[0] - side))
        left = int(np.clip(columns.mean() - side / 2, 0, mask.shape[1] - side))
        return pixels[top : top + side, left : left + side], mask[top : top + side, left : left + side]

    return change


def cut(pixels: Pixels, mask: Pixels) -> tuple[Pixels, Pixels]:
    """Cut an image through the middle of its nucleus."""
    left = int(np.nonzero(mask == 255)[1].mean())
    return pixels[:, left:], mask[:, left:]


def turned(pixels: Pixels, mask: Pixels) -> tuple[Pixels, Pixels]:
    """Turn an image by 25 degrees, with black corners."""
    size = mask.shape[::-1]
    matrix = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), 25, 1)
    moved = cv2.warpAffine(pixels, matrix, size)
    return np.asarray(moved, np.uint8), np.asarray(cv2.warpAffine(mask, matrix, size, flags=cv2.INTER_NEAREST))


def seen_as(change: Callable[[Pixels], NDArray[np.floating]]) -> Change:
    """Change the pixels only."""
    return lambda pixels, mask: (np.clip(change(pixels), 0, 255).astype(np.uint8), mask)


CHANGES: dict[str, Change] = {
    "as they are": lambda pixels, mask: (pixels, mask),
    "120 x 120": scaled(0.4),
    "80 x 80": scaled(0.267),
    "600 x 600": scaled(2.0),
    "cropped to the cell": cropped(0.4),
    "cut in the nucleus": cut,
    "turned, black corners": turned,
    "yellow": seen_as(lambda pixels: pixels * np.array([1, 0.97, 0.75])),
    "blue": seen_as(lambda pixels: pixels * np.array([0.8, 0.9, 1])),
    "dark": seen_as(lambda pixels: pixels * 0.6),
    "gamma 0.6": seen_as(lambda pixels: 255 * (pixels / 255) ** 0.6),
    "gamma 1.6": seen_as(lambda pixels: 255 * (pixels / 255) ** 1.6),
    "blurred": seen_as(lambda pixels: cv2.GaussianBlur(pixels, (0, 0), 3).astype(float)),
    "noise": seen_as(lambda pixels: pixels + np.random.default_rng(0).normal(0, 12, pixels.shape)),
}


def overlap(found: Pixels, mask: Pixels) -> float:
    """Return the intersection over union of a nucleus, at the working size, and a mask."""
    size = mask.shape[1], mask.shape[0]
    here, there = cv2.resize(found, size, interpolation=cv2.INTER_NEAREST) > 0, mask == 255
    return float((here & there).sum() / max((here | there).sum(), 1))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("masks", type=Path)
    arguments = parser.parse_args()
    files = sorted(arguments.images.glob("*/*"))
    table = Table(title=f"{len(files)} images", title_justify="left")
    for heading in ("images", "mean IoU", "below 0.5", "found", "several cells"):
        table.add_column(heading, justify="left" if heading == "images" else "right")
    for name, change in CHANGES.items():
        cells, overlaps = [], []
        for file in files:
            mask = cv2.cvtColor(read_image(arguments.masks / file.name), cv2.COLOR_RGB2GRAY)
            pixels, mask = change(read_image(file), np.asarray(mask, np.uint8))
            cells.append(find_cell(at_working_size(np.ascontiguousarray(pixels))))
            overlaps.append(overlap(cells[-1].nucleus, mask))
        below, found = sum(each < 0.5 for each in overlaps), sum(cell.found for cell in cells)
        several = sum(cell.count > 1 for cell in cells)
        table.add_row(name, f"{np.mean(overlaps):.3f}", str(below), str(found), str(several))
    Console().print(table)


if __name__ == "__main__":
    main()
