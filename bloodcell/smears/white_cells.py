"""The four white cells by what defines them: nucleus, chromatin, granules and cytoplasm.

Neutrophils have two to five lobes with thin bridges, or a band, in pale cytoplasm with very fine granules; eosinophils
two lobes, seldom three, in cytoplasm packed with coarse granules; lymphocytes a round dense nucleus in a thin blue rim;
monocytes, the largest, a kidney-shaped, folded or horseshoe nucleus of lacy chromatin in wide grey-blue cytoplasm with
vacuoles. Every such trait varies, so that some cells look much like another class.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bloodcell.smears.shapes import (
    Field,
    coverage,
    dots,
    grid,
    inside_outline,
    noise,
    random_outline,
    stroke,
    union,
)
from bloodcell.smears.slide import Slide

RADII = {"EOSINOPHIL": 46.0, "LYMPHOCYTE": 28.5, "MONOCYTE": 50.0, "NEUTROPHIL": 45.0}
"""Of the four cells where they are well spread, in pixels; red cells have 24."""
RADIUS_SPREAD = {"EOSINOPHIL": 0.08, "LYMPHOCYTE": 0.13, "MONOCYTE": 0.11, "NEUTROPHIL": 0.08}

ATYPICAL = 0.06
"""Share of cells whose traits are drawn between their own class's and another's."""


@dataclass(frozen=True, kw_only=True)
class WhiteCell:
    """A white cell in a square around it.

    Attributes
    ----------
    density
        Optical density, shape (side, side, 3), float32.
    nucleus, cell
        Share of each pixel that the nucleus covers, and the nucleus or the cytoplasm, shape (side, side), float32.
    radius
        Of the cell, in pixels.
    """

    density: NDArray[np.float32]
    nucleus: Field
    cell: Field
    radius: float


def draw_white_cell(rng: np.random.Generator, label: str, slide: Slide) -> WhiteCell:
    """Draw a white cell of a class as it looks on a slide."""
    atypical = bool(rng.random() < ATYPICAL)
    radius = float(RADII[label] * slide.white_scale * np.exp(rng.normal(0, RADIUS_SPREAD[label])))
    x, y = grid(int(1.35 * radius) + 4)
    bend = 0.05 * radius
    warped = (
        np.asarray(x + bend * noise(rng, x.shape, scale=0.4 * radius), np.float32),
        np.asarray(y + bend * noise(rng, x.shape, scale=0.4 * radius), np.float32),
    )
    return _DRAWN[label](rng, slide, radius, x, warped, atypical)


def _neutrophil(
    rng: np.random.Generator, slide: Slide, radius: float, x: Field, warped: tuple[Field, Field], atypical: bool
) -> WhiteCell:
    lobes = int(rng.choice([1, 2, 3, 4, 5], p=[0.08, 0.16, 0.36, 0.28, 0.12]))
    nucleus = _lobed(rng, warped, radius, lobes=1 if atypical else lobes, share=rng.uniform(0.32, 0.44))
    body, out = _body(rng, warped, radius, roughness=0.02)
    fine = noise(rng, x.shape, scale=2.2)
    toxic = rng.uniform(0.25, 0.6) if atypical or rng.random() < 0.06 else 0.0
    granules = dots(rng, x.shape, spacing=4.5, radius=1.4, packing=0.8)
    colour = rng.uniform(0.85, 1.5) * slide.pale_cytoplasm + rng.uniform(0, 0.3) * slide.eosin_granule * 0.4
    amount = (0.85 + 0.18 * fine + 0.25 * out**4)[..., None] * colour + (toxic * granules)[
        ..., None
    ] * slide.eosin_granule
    return _compose(rng, slide, radius, nucleus, body, amount, clumps=0.16, scale=0.16 * radius)


def _eosinophil(
    rng: np.random.Generator, slide: Slide, radius: float, x: Field, warped: tuple[Field, Field], atypical: bool
) -> WhiteCell:
    lobes = int(rng.choice([1, 2, 3, 4], p=[0.05, 0.68, 0.22, 0.05]))
    nucleus = _lobed(rng, warped, radius, lobes=lobes, share=rng.uniform(0.26, 0.38))
    body, out = _body(rng, warped, radius, roughness=0.03)
    size = rng.uniform(1.5, 2.3) * max(radius / 45, 0.75)
    granules = dots(rng, x.shape, spacing=2.1 * size, radius=size, packing=0.5 if atypical else 0.95)
    strength = rng.uniform(0.25, 0.5) if atypical else rng.uniform(0.55, 1.15)
    under = rng.uniform(0.9, 1.6) * slide.pale_cytoplasm
    amount = (0.9 + 0.15 * out**4)[..., None] * under + (strength * granules)[..., None] * slide.eosin_granule
    return _compose(rng, slide, radius, nucleus, body, amount, clumps=0.12, scale=0.2 * radius, over=0.25)


def _lymphocyte(
    rng: np.random.Generator, slide: Slide, radius: float, x: Field, warped: tuple[Field, Field], atypical: bool
) -> WhiteCell:
    wide = atypical or rng.random() < 0.12
    if wide:
        radius = radius * rng.uniform(1.1, 1.35)
    share = rng.uniform(0.66, 0.8) if wide else rng.uniform(0.82, 0.95)
    inner = share * radius
    off, side = rng.uniform(0, 0.9) * (radius - inner), rng.uniform(0, 2 * np.pi)
    u, v = warped[0] - np.float32(off * np.cos(side)), warped[1] - np.float32(off * np.sin(side))
    depth, _ = inside_outline(u, v, random_outline(rng, inner, elongation=0.10, roughness=0.02))
    if rng.random() < 0.25:
        angle = rng.uniform(0, 2 * np.pi)
        depth = _dented(depth, u, v, inner, angle, rng.uniform(0.1, 0.3))
    body, out = _body(rng, warped, radius, roughness=0.035)
    colour = rng.uniform(0.8, 1.5) * slide.blue_cytoplasm
    amount = (0.85 + 0.12 * noise(rng, x.shape, scale=4) + 0.3 * out**4)[..., None] * colour
    return _compose(rng, slide, radius, depth, body, amount, clumps=0.10, scale=0.25 * radius)


def _monocyte(
    rng: np.random.Generator, slide: Slide, radius: float, x: Field, warped: tuple[Field, Field], atypical: bool
) -> WhiteCell:
    if atypical:
        radius = radius * rng.uniform(0.7, 0.85)
    nucleus = _folded(rng, warped, radius, kind=int(rng.choice(4, p=[0.40, 0.2, 0.30, 0.10])))
    body, out = _body(rng, warped, radius, roughness=0.06)
    colour = rng.uniform(0.5, 1.1) * slide.blue_cytoplasm + rng.uniform(0, 0.6) * slide.pale_cytoplasm
    texture = 0.85 + 0.2 * noise(rng, x.shape, scale=5) + 0.12 * noise(rng, x.shape, scale=2.2) - 0.1 * out**4
    amount = np.maximum(texture, 0.2)[..., None] * colour
    cell = _compose(rng, slide, radius, nucleus, body, amount, clumps=0.2, scale=0.13 * radius, pale=0.88)
    holes = np.zeros(x.shape, np.float32)
    for _ in range(rng.poisson(2.5) if rng.random() < 0.6 else 0):
        at, angle, size = rng.uniform(0.2, 0.9) * radius, rng.uniform(0, 2 * np.pi), rng.uniform(1.5, 4.5)
        distance = np.hypot(warped[0] - at * np.cos(angle), warped[1] - at * np.sin(angle))
        holes = np.maximum(holes, coverage(np.asarray(size - distance, np.float32), edge=2))
    clear = (1 - 0.75 * holes)[..., None]
    return WhiteCell(density=cell.density * clear, nucleus=cell.nucleus, cell=cell.cell, radius=cell.radius)


_DRAWN: dict[str, Callable[..., WhiteCell]] = {
    "EOSINOPHIL": _eosinophil,
    "LYMPHOCYTE": _lymphocyte,
    "MONOCYTE": _monocyte,
    "NEUTROPHIL": _neutrophil,
}


def _compose(
    rng: np.random.Generator,
    slide: Slide,
    radius: float,
    nucleus: Field,
    body: Field,
    cytoplasm: NDArray[np.float32],
    *,
    clumps: float,
    scale: float,
    pale: float = 1.0,
    over: float = 0.08,
) -> WhiteCell:
    """Lay the nucleus into the cytoplasm.

    Parameters
    ----------
    clumps, scale
        How strongly the chromatin varies, in parts of its stain, and over how many pixels.
    pale
        Stain of the chromatin in parts of what is usual.
    over
        Share of the cytoplasm that lies over the nucleus.
    """
    covered = coverage(nucleus, edge=1.6)
    cell = np.maximum(coverage(body, edge=2.0), covered)
    chromatin = (
        1 + clumps * noise(rng, body.shape, scale=max(scale, 2.0)) + 0.5 * clumps * noise(rng, body.shape, scale=2.5)
    )
    chromatin += 0.08 * np.exp(-np.abs(nucleus) / 3)
    strength = pale * np.exp(rng.normal(0, 0.10))
    density = (strength * covered * np.maximum(chromatin, 0.4))[..., None] * slide.nucleus
    density += (cell * (1 - (1 - over) * covered))[..., None] * cytoplasm
    return WhiteCell(density=np.asarray(density, np.float32), nucleus=covered, cell=cell, radius=radius)


def _body(
    rng: np.random.Generator, warped: tuple[Field, Field], radius: float, *, roughness: float
) -> tuple[Field, Field]:
    """Return the depth inside the whole cell's outline, and how far out a pixel lies, 1 on the outline and beyond."""
    depth, out = inside_outline(*warped, random_outline(rng, radius, elongation=0.08, roughness=roughness))
    return depth, np.minimum(out, 1)


def _lobed(rng: np.random.Generator, warped: tuple[Field, Field], radius: float, *, lobes: int, share: float) -> Field:
    """Return the depth inside lobes along a curve that thin bridges join; one lobe is a band.

    Parameters
    ----------
    share
        The nucleus's area in parts of the cell's.
    """
    x, y = warped
    turn, hand = rng.uniform(0, 2 * np.pi), rng.choice([-1, 1])
    if lobes == 1:
        return _arc(rng, warped, radius, span=rng.uniform(2.2, 4.0), bow=0.50, thick=0.24)
    size = radius * (share / lobes) ** 0.5
    bow = min(0.9 * radius - size, 0.55 * radius) * rng.uniform(0.85, 1.0)
    apart = rng.uniform(1.35, 2.15) * size
    step = 2 * np.arcsin(min(apart / (2 * bow), 0.95))
    step = min(step, 5.6 / lobes) if lobes > 2 else min(step * 1.15, np.pi)
    shapes, centres = [], []
    for lobe in range(lobes):
        angle = turn + hand * (lobe - (lobes - 1) / 2) * step * rng.uniform(0.9, 1.1)
        out = bow * rng.uniform(0.8, 1.08)
        at = out * np.cos(angle), out * np.sin(angle)
        own = size * np.exp(rng.normal(0, 0.12))
        along = angle + rng.choice([0, np.pi / 2], p=[0.3, 0.7]) + rng.normal(0, 0.4)
        half = own * rng.uniform(0.1, 0.55)
        ends = [(at[0] + sign * half * np.cos(along), at[1] + sign * half * np.sin(along)) for sign in (-1, 1)]
        thick = own * 0.88 - 0.35 * half
        shapes.append(
            stroke(x, y, ends[0], ends[1], radii=(thick * rng.uniform(0.85, 1), thick * rng.uniform(0.85, 1)))
        )
        centres.append(at)
    joins = range(lobes - 1)
    for join in joins:
        width = radius * rng.uniform(0.035, 0.12)
        shapes.append(stroke(x, y, centres[join], centres[join + 1], radii=(width, width)))
    return union(shapes, softness=0.035 * radius)


def _folded(rng: np.random.Generator, warped: tuple[Field, Field], radius: float, *, kind: int) -> Field:
    """Return the depth inside a monocyte's nucleus: a kidney, a horseshoe, a folded one, or a nearly round one."""
    x, y = warped
    if kind == 0:
        return _arc(rng, warped, radius, span=rng.uniform(1.6, 2.6), bow=0.36, thick=0.38)
    if kind == 1:
        return _arc(rng, warped, radius, span=rng.uniform(2.8, 4.0), bow=0.48, thick=0.28)
    if kind == 2:
        parts = []
        for angle in rng.uniform(0, 2 * np.pi) + np.arange(3) * 2.1 + rng.normal(0, 0.3, 3):
            at = 0.33 * radius * np.cos(angle), 0.33 * radius * np.sin(angle)
            parts.append(stroke(x, y, (0.0, 0.0), at, radii=(0.25 * radius, radius * rng.uniform(0.28, 0.44))))
        return union(parts, softness=0.05 * radius)
    at, angle = rng.uniform(0, 0.25) * radius, rng.uniform(0, 2 * np.pi)
    u, v = x - np.float32(at * np.cos(angle)), y - np.float32(at * np.sin(angle))
    size = rng.uniform(0.58, 0.7) * radius
    depth, _ = inside_outline(u, v, random_outline(rng, size, elongation=0.2, roughness=0.05))
    return _dented(depth, u, v, size, rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.4))


def _arc(
    rng: np.random.Generator,
    warped: tuple[Field, Field],
    radius: float,
    *,
    span: float,
    bow: float,
    thick: float,
) -> Field:
    """Return the depth inside a thick bow; ``bow`` and ``thick`` are its radius and half width in parts of the cell's."""
    x, y = warped
    turn = rng.uniform(0, 2 * np.pi)
    angles = turn + np.linspace(-0.5, 0.5, 6) * span
    bow = bow * rng.uniform(0.9, 1.08) * radius
    # Seen from the cell's middle a short bow would lie all on one side: it is drawn in a little.
    back = 0.45 * bow * np.sinc(span / (2 * np.pi))
    centres = [(bow * np.cos(a) - back * np.cos(turn), bow * np.sin(a) - back * np.sin(turn)) for a in angles]
    widths = thick * radius * rng.uniform(0.82, 1.12, len(angles))
    parts = [
        stroke(x, y, start, end, radii=(float(first), float(second)))
        for start, end, first, second in zip(centres[:-1], centres[1:], widths[:-1], widths[1:], strict=True)
    ]
    return union(parts, softness=0.02 * radius)


def _dented(depth: Field, x: Field, y: Field, radius: float, angle: float, dent: float) -> Field:
    """Take a round bite out of a shape's side; ``dent`` is how deep it goes, in radii."""
    size = 0.7 * radius
    out = radius * (1 - dent) + size
    bite = np.hypot(x - out * np.cos(angle), y - out * np.sin(angle)) - size
    return np.asarray(np.minimum(depth, bite), np.float32)
