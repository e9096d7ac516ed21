"""Draw synthetic smears next to real photographs.

    python experiments/contact_sheet.py path/to/blood-cells experiments/pictures/smears.jpg

Every class has two rows, one synthetic and one real, in alternating order, with labels at the side. Real photographs
are those of TEST_SIMPLE, without duplicates.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bloodcell.images.reading import read_image
from bloodcell.smears import CLASSES, render_photograph

COLUMNS, WIDTH, HEIGHT, SIDE, GAP = 6, 216, 162, 30, 3
QUALITY = 70

Pixels = NDArray[np.uint8]


def main(root: Path, output: Path, *, first_slide: int, seed: int) -> None:
    """Draw the sheet and write it."""
    rows = []
    for number, label in enumerate(CLASSES):
        rendered = [render_photograph(label, slide=first_slide + i, seed=seed).image for i in range(COLUMNS)]
        named = [(f"{label} rendered", rendered), (f"{label} real", real_photographs(root, label))]
        rows += [row_of(name, images) for name, images in (named if number % 2 else named[::-1])]
    sheet = np.vstack(rows)
    output.write_bytes(cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes())


def real_photographs(root: Path, label: str) -> list[Pixels]:
    """Read different photographs of a class for a row; the set has duplicates."""
    images: list[Pixels] = []
    for file in sorted((root / "TEST_SIMPLE" / label).glob("*.jpeg")):
        pixels = read_image(file)
        if all(np.abs(pixels.astype(int) - other).mean() > 2 for other in images):
            images.append(pixels)
    return images[:COLUMNS]


def row_of(name: str, images: list[Pixels]) -> Pixels:
    """Arrange images in a row with the name at the left; missing images stay white."""
    row = np.full((HEIGHT + GAP, SIDE + COLUMNS * (WIDTH + GAP), 3), 255, np.uint8)
    for column, image in enumerate(images):
        left = SIDE + column * (WIDTH + GAP)
        row[:HEIGHT, left : left + WIDTH] = cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    side = np.full((SIDE, HEIGHT + GAP, 3), 255, np.uint8)
    cv2.putText(side, name, (2, SIDE - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    row[:, :SIDE] = np.rot90(side)
    return row


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of the Kaggle set, with TEST_SIMPLE")
    parser.add_argument("output", type=Path, help="JPEG to write")
    parser.add_argument("--first-slide", type=int, default=0, help="number of the first column's slide")
    parser.add_argument("--seed", type=int, default=0, help="number of the photograph on its slide")
    arguments = parser.parse_args()
    main(arguments.root, arguments.output, first_slide=arguments.first_slide, seed=arguments.seed)
