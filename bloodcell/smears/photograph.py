"""A photograph of a synthetic smear: one white cell among red cells and platelets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bloodcell.smears.camera import take_photograph
from bloodcell.smears.red_cells import platelets, red_cells
from bloodcell.smears.shapes import Field
from bloodcell.smears.slide import slide_from
from bloodcell.smears.white_cells import draw_white_cell

CLASSES = ("EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL")

HEIGHT, WIDTH = 240, 320

_SLIDE, _PHOTOGRAPH = 1, 2
"""Seeds of the random generators of slides and photographs, so they are independent."""


@dataclass(frozen=True, kw_only=True)
class Photograph:
    """A synthetic photograph and its ground truth.

    Attributes
    ----------
    image
        RGB, shape (240, 320, 3), uint8.
    nucleus
        Where the white cell's nucleus is, shape (240, 320), bool.
    cell
        Where the white cell is, nucleus and cytoplasm, shape (240, 320), bool.
    label
        One of `CLASSES`.
    slide
        Number of its slide; photographs of one slide share stain, light and camera.
    seed
        Its number among the photographs of its class and slide.
    """

    image: NDArray[np.uint8]
    nucleus: NDArray[np.bool_]
    cell: NDArray[np.bool_]
    label: str
    slide: int
    seed: int


def render_photograph(label: str, *, slide: int, seed: int) -> Photograph:
    """Render a photograph; the same arguments give identical pixels.

    Parameters
    ----------
    label
        One of `CLASSES`.
    slide
        Number of the slide, 0 or more.
    seed
        Number of the photograph of this class on this slide, 0 or more.

    Raises
    ------
    ValueError
        If the label is not in `CLASSES`, or a number is negative.
    """
    if label not in CLASSES:
        raise ValueError(f"{label} is not a class; the classes are {', '.join(CLASSES)}")
    if min(slide, seed) < 0:
        raise ValueError(f"numbers of slides and photographs are at least 0, got {min(slide, seed)}")
    rng = np.random.default_rng([_PHOTOGRAPH, CLASSES.index(label), slide, seed])
    glass = slide_from(np.random.default_rng([_SLIDE, slide]), height=HEIGHT, width=WIDTH)
    white = draw_white_cell(rng, label, glass)
    x, y = _place(rng, white.radius)
    nucleus, cell = (_framed(part, x, y) for part in (white.nucleus, white.cell))
    red = red_cells(rng, glass, (HEIGHT, WIDTH), keep_clear=(x, y, white.radius))
    small = platelets(rng, glass, (HEIGHT, WIDTH))
    # A white cell displaces red cells; the remaining ones are under it.
    density = (red * (1 - np.float32(0.85) * cell))[..., None] * glass.red_cell
    density += (small * (1 - cell) * (1 - np.float32(0.4) * np.minimum(red, 1)))[..., None] * glass.platelet
    density += _framed(white.density, x, y)
    return Photograph(
        image=take_photograph(rng, glass, density),
        nucleus=nucleus > 0.5,
        cell=cell > 0.5,
        label=label,
        slide=slide,
        seed=seed,
    )


def _place(rng: np.random.Generator, radius: float) -> tuple[int, int]:
    """Return the centre of the cell: rarely that of the photograph, sometimes near the border."""
    margin = 0.35 * radius
    x = np.clip(rng.normal(0.47 * WIDTH, 0.22 * WIDTH), margin, WIDTH - margin)
    y = rng.uniform(margin, HEIGHT - margin)
    return round(float(x)), round(float(y))


def _framed(patch: Field, x: int, y: int) -> Field:
    """Return an empty photograph with a square patch centred at x and y, cut at the border."""
    frame = np.zeros((HEIGHT, WIDTH, *patch.shape[2:]), np.float32)
    reach = patch.shape[0] // 2
    left, top = x - reach, y - reach
    columns = slice(max(left, 0), min(left + 2 * reach + 1, WIDTH))
    rows = slice(max(top, 0), min(top + 2 * reach + 1, HEIGHT))
    frame[rows, columns] = patch[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return frame
