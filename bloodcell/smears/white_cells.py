"""The four classes of white cells: nucleus, chromatin, granules and cytoplasm.

- Neutrophil: two to five lobes with thin bridges, or a band; pale cytoplasm with very fine granules.
- Eosinophil: two lobes, rarely three; cytoplasm full of coarse granules.
- Lymphocyte: round, dense nucleus; thin blue rim.
- Monocyte: kidney-shaped, folded or horseshoe nucleus with lacy chromatin; wide grey-blue cytoplasm with vacuoles.

All traits vary, so some cells look like another class.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from bloodcell.smears.shapes import Field, coverage, dots, grid, inside_outline, noise, random_outline, stroke, union
from bloodcell.smears.slide import Slide

RADII = {"EOSINOPHIL": 46.0, "LYMPHOCYTE": 30.5, "MONOCYTE": 47.0, "NEUTROPHIL": 45.0}
"""Mean radii on a thin slide, in pixels; that of red cells is 24."""
RADIUS_SPREAD = {"EOSINOPHIL": 0.10, "LYMPHOCYTE": 0.18, "MONOCYTE": 0.16, "NEUTROPHIL": 0.11}

ATYPICAL = 0.08
"""Share of cells with an atypical trait: a band, few and pale granules, a wide rim, a small monocyte."""


@dataclass(frozen=True, kw_only=True)
class WhiteCell:
    """A white cell in a square around it.

    Attributes
    ----------
    density
        Optical density, shape (side, side, 3), float32.
    nucleus, cell
        Share of each pixel that the nucleus, and the whole cell, covers, shape (side, side), float32.
    radius
        Of the cell, in pixels.
    """

    density: NDArray[np.float32]
    nucleus: Field
    cell: Field
    radius: float


@dataclass(frozen=True, kw_only=True)
class _Sheet:
    """Coordinates of a square's pixels relative to its centre, straight and with random distortion, and settings."""

    rng: np.random.Generator
    slide: Slide
    radius: float
    straight: tuple[Field, Field]
    bent: tuple[Field, Field]
    atypical: bool

    @property
    def shape(self) -> tuple[int, int]:
        return self.straight[0].shape[0], self.straight[0].shape[1]

    def noise(self, scale: float) -> Field:
        return noise(self.rng, self.shape, scale=scale)


def draw_white_cell(rng: np.random.Generator, label: str, slide: Slide) -> WhiteCell:
    """Draw a white cell of a class on a slide."""
    atypical = bool(rng.random() < ATYPICAL)
    radius = float(RADII[label] * slide.white_scale * np.exp(rng.normal(0, RADIUS_SPREAD[label])))
    if atypical and label in _ATYPICAL_SIZES:
        radius *= rng.uniform(*_ATYPICAL_SIZES[label])
    x, y = grid(int(1.3 * radius) + 4)
    bend, scale = np.float32(0.045 * radius), 0.4 * radius
    bent = x + bend * noise(rng, x.shape, scale=scale), y + bend * noise(rng, x.shape, scale=scale)
    sheet = _Sheet(rng=rng, slide=slide, radius=radius, straight=(x, y), bent=bent, atypical=atypical)
    return _DRAWN[label](sheet)


def _neutrophil(sheet: _Sheet) -> WhiteCell:
    rng, slide = sheet.rng, sheet.slide
    lobes = 1 if sheet.atypical else int(rng.choice([1, 2, 3, 4, 5], p=[0.07, 0.15, 0.36, 0.29, 0.13]))
    nucleus = _lobed(sheet, lobes=lobes, share=rng.uniform(0.31, 0.45))
    body, out = _body(sheet, roughness=0.02)
    colour = rng.uniform(0.6, 1.25) * slide.pale_cytoplasm + rng.uniform(0, 0.2) * slide.eosin_granule
    colour = colour + rng.uniform(0, 0.4) * slide.blue_cytoplasm
    amount = 0.85 + rng.uniform(0.1, 0.3) * sheet.noise(rng.uniform(2.0, 4.5)) + 0.12 * sheet.noise(6) + 0.15 * out**4
    cytoplasm = amount[..., None] * colour.astype(np.float32)
    if rng.random() < 0.15:  # toxic granules
        granules = dots(rng, sheet.shape, spacing=rng.uniform(3.0, 4.0), radius=1.3, packing=0.8)
        cytoplasm = cytoplasm + (np.float32(rng.uniform(0.2, 0.75)) * granules)[..., None] * slide.eosin_granule
    return _compose(sheet, nucleus, body, cytoplasm, clumps=(0.05, 0.18), scale=0.16 * sheet.radius, over=(0.0, 0.3))


def _eosinophil(sheet: _Sheet) -> WhiteCell:
    rng, slide = sheet.rng, sheet.slide
    lobes = int(rng.choice([1, 2, 3, 4], p=[0.04, 0.66, 0.24, 0.06]))
    nucleus = _lobed(sheet, lobes=lobes, share=rng.uniform(0.30, 0.46))
    body, out = _body(sheet, roughness=0.03)
    size = rng.uniform(1.0, 1.9) * max(sheet.radius / 45, 0.8)
    granules = dots(rng, sheet.shape, spacing=2.3 * size, radius=size, packing=0.6 if sheet.atypical else 0.95)
    strength = rng.uniform(0.15, 0.4) if sheet.atypical else rng.uniform(0.35, 1.05)
    under = np.float32(rng.uniform(0.7, 1.4)) * slide.pale_cytoplasm
    amount = 0.9 + rng.uniform(0.0, 0.25) * sheet.noise(rng.uniform(2.0, 4.5)) + 0.15 * out**4
    cytoplasm = amount[..., None] * under
    cytoplasm = cytoplasm + (np.float32(strength) * granules)[..., None] * slide.eosin_granule
    # Granules extend beyond the outline.
    body = body + np.float32(2.0) * (granules - np.float32(0.5))
    return _compose(sheet, nucleus, body, cytoplasm, clumps=(0.04, 0.15), scale=0.18 * sheet.radius, over=(0.1, 0.4))


def _lymphocyte(sheet: _Sheet) -> WhiteCell:
    rng, slide = sheet.rng, sheet.slide
    wide = sheet.atypical or rng.random() < 0.25
    inner = sheet.radius * (rng.uniform(0.66, 0.8) if wide else rng.uniform(0.82, 0.96))
    off, side = rng.uniform(0, 0.9) * (sheet.radius - inner), rng.uniform(0, 2 * np.pi)
    x = sheet.bent[0] - np.float32(off * np.cos(side))
    y = sheet.bent[1] - np.float32(off * np.sin(side))
    nucleus, _ = inside_outline(x, y, random_outline(rng, inner, elongation=0.09, roughness=0.02))
    if rng.random() < 0.2:
        nucleus = _dented(nucleus, x, y, radius=inner, angle=rng.uniform(0, 2 * np.pi), dent=rng.uniform(0.1, 0.3))
    body, out = _body(sheet, roughness=0.04)
    colour = np.float32(rng.uniform(0.4, 1.3)) * slide.blue_cytoplasm
    amount = 0.85 + 0.12 * sheet.noise(4) + 0.3 * out**4
    return _compose(sheet, nucleus, body, amount[..., None] * colour, clumps=(0.03, 0.13), scale=0.25 * sheet.radius)


def _monocyte(sheet: _Sheet) -> WhiteCell:
    rng, slide = sheet.rng, sheet.slide
    nucleus = _folded(sheet)
    body, out = _body(sheet, roughness=0.05, bent=True)
    colour = rng.uniform(0.1, 0.85) * slide.blue_cytoplasm + rng.uniform(0, 1.1) * slide.pale_cytoplasm
    amount = 0.9 + 0.11 * sheet.noise(6) + 0.08 * sheet.noise(2.5) - 0.15 * out**4
    cytoplasm = np.maximum(amount, 0.2)[..., None] * colour.astype(np.float32)
    cell = _compose(sheet, nucleus, body, cytoplasm, clumps=(0.06, 0.18), scale=0.13 * sheet.radius, pale=0.9)
    clear = np.float32(1) - np.float32(0.75) * _vacuoles(sheet)
    return WhiteCell(density=cell.density * clear[..., None], nucleus=cell.nucleus, cell=cell.cell, radius=cell.radius)


_DRAWN: dict[str, Callable[[_Sheet], WhiteCell]] = {
    "EOSINOPHIL": _eosinophil,
    "LYMPHOCYTE": _lymphocyte,
    "MONOCYTE": _monocyte,
    "NEUTROPHIL": _neutrophil,
}
_ATYPICAL_SIZES = {"LYMPHOCYTE": (1.15, 1.45), "MONOCYTE": (0.6, 0.82)}


def _compose(
    sheet: _Sheet,
    nucleus: Field,
    body: Field,
    cytoplasm: NDArray[np.float32],
    *,
    clumps: tuple[float, float],
    scale: float,
    pale: float = 1.0,
    over: tuple[float, float] = (0.0, 0.15),
) -> WhiteCell:
    """Combine nucleus and cytoplasm.

    Parameters
    ----------
    nucleus, body
        Depth inside the nucleus and inside the cell.
    cytoplasm
        Its optical density.
    clumps, scale
        Range of the relative variation of the chromatin, and its scale in pixels.
    pale
        Relative stain of the chromatin.
    over
        Range of the share of the cytoplasm that is over the nucleus.
    """
    rng = sheet.rng
    covered = coverage(nucleus, edge=1.8)
    cell = np.maximum(coverage(body, edge=rng.uniform(2.0, 5.0)), covered)
    strength = rng.uniform(*clumps)
    chromatin = 1 + strength * sheet.noise(max(scale, 2.0)) + 0.5 * strength * sheet.noise(2.5)
    chromatin = np.maximum(chromatin, 0.4) * covered * float(pale * np.exp(rng.normal(0, 0.12)))
    seen = cell * (1 - (1 - rng.uniform(*over)) * covered)
    density = chromatin[..., None] * sheet.slide.nucleus + seen[..., None] * cytoplasm
    return WhiteCell(density=np.asarray(density, np.float32), nucleus=covered, cell=cell, radius=sheet.radius)


def _body(sheet: _Sheet, *, roughness: float, bent: bool = False) -> tuple[Field, Field]:
    """Return the depth inside the cell's outline, and the distance from its centre, 1 on the outline and beyond."""
    outline = random_outline(sheet.rng, sheet.radius, elongation=0.08, roughness=roughness)
    depth, out = inside_outline(*(sheet.bent if bent else sheet.straight), outline)
    return depth, np.minimum(out, 1)


def _lobed(sheet: _Sheet, *, lobes: int, share: float) -> Field:
    """Return the depth inside lobes along a curve, joined by thin bridges; one lobe is a band.

    Parameters
    ----------
    share
        Area of the nucleus relative to that of the cell.
    """
    rng, radius = sheet.rng, sheet.radius
    if lobes == 1:
        return _arc(sheet, span=rng.uniform(2.4, 4.2), bow=0.50, thick=0.24)
    size = radius * (share / lobes) ** 0.5
    bow = min(0.95 * radius - size, 0.56 * radius) * rng.uniform(0.88, 1.0)
    distance = size * (rng.uniform(1.65, 2.3) if lobes == 2 else rng.uniform(1.6, 2.5))
    step = 2 * np.arcsin(min(distance / (2 * bow), 0.95))
    step = min(step, 5.6 / lobes) if lobes > 2 else min(1.15 * step, np.pi)
    turn = rng.uniform(0, 2 * np.pi)
    parts, middles = [], []
    for lobe in range(lobes):
        angle = turn + (lobe - (lobes - 1) / 2) * step * rng.uniform(0.9, 1.1)
        out = bow * rng.uniform(0.8, 1.08)
        x, y = out * np.cos(angle), out * np.sin(angle)
        own = size * float(np.exp(rng.normal(0, 0.12)))
        half = own * rng.uniform(0.05, 0.5)
        along = angle + rng.choice([0, np.pi / 2]) + rng.normal(0, 0.4)
        across, down = half * np.cos(along), half * np.sin(along)
        thick = own - 0.5 * half
        radii = thick * rng.uniform(0.85, 1.0), thick * rng.uniform(0.85, 1.0)
        parts.append(stroke(*sheet.bent, (x - across, y - down), (x + across, y + down), radii=radii))
        middles.append((x, y))
    for start, end in pairwise(middles):
        width = radius * rng.uniform(0.035, 0.12)
        parts.append(stroke(*sheet.bent, start, end, radii=(width, width)))
    return union(parts, softness=0.025 * radius)


def _folded(sheet: _Sheet) -> Field:
    """Return the depth inside a monocyte's nucleus: kidney-shaped, horseshoe, folded or nearly round."""
    rng, radius = sheet.rng, sheet.radius
    kind = rng.choice(["kidney", "horseshoe", "folded", "round"], p=[0.34, 0.16, 0.24, 0.26])
    if kind == "kidney":
        return _arc(sheet, span=rng.uniform(1.6, 2.6), bow=0.36, thick=0.45)
    if kind == "horseshoe":
        return _arc(sheet, span=rng.uniform(2.8, 4.0), bow=0.50, thick=0.33)
    if kind == "folded":
        parts = []
        for angle in rng.uniform(0, 2 * np.pi) + np.arange(3) * 2.1 + rng.normal(0, 0.3, 3):
            end = 0.36 * radius * np.cos(angle), 0.36 * radius * np.sin(angle)
            parts.append(stroke(*sheet.bent, (0.0, 0.0), end, radii=(0.32 * radius, radius * rng.uniform(0.34, 0.5))))
        return union(parts, softness=0.05 * radius)
    off, angle = rng.uniform(0, 0.22) * radius, rng.uniform(0, 2 * np.pi)
    x = sheet.bent[0] - np.float32(off * np.cos(angle))
    y = sheet.bent[1] - np.float32(off * np.sin(angle))
    size = rng.uniform(0.66, 0.78) * radius
    depth, _ = inside_outline(x, y, random_outline(rng, size, elongation=0.2, roughness=0.05))
    return _dented(depth, x, y, radius=size, angle=rng.uniform(0, 2 * np.pi), dent=rng.uniform(0.05, 0.4))


def _arc(sheet: _Sheet, *, span: float, bow: float, thick: float) -> Field:
    """Return the depth inside an arc; its radius and half its width are relative to the cell's radius."""
    rng, radius = sheet.rng, sheet.radius
    turn = rng.uniform(0, 2 * np.pi)
    bow = bow * rng.uniform(0.9, 1.08) * radius
    # A short arc is on one side of its centre: it is moved inwards, to stay within the cell.
    back = 0.45 * bow * float(np.sinc(span / (2 * np.pi)))
    angles = turn + np.linspace(-0.5, 0.5, 6) * span
    points = [(bow * np.cos(a) - back * np.cos(turn), bow * np.sin(a) - back * np.sin(turn)) for a in angles]
    widths = [float(width) for width in thick * radius * rng.uniform(0.82, 1.12, len(angles))]
    pieces = zip(pairwise(points), pairwise(widths), strict=True)
    parts = [stroke(*sheet.bent, start, end, radii=radii) for (start, end), radii in pieces]
    return union(parts, softness=0.02 * radius)


def _dented(depth: Field, x: Field, y: Field, *, radius: float, angle: float, dent: float) -> Field:
    """Cut a round dent into a shape's side; ``dent`` is its depth in radii."""
    size = 0.7 * radius
    out = radius * (1 - dent) + size
    bite = cv2.magnitude(x - np.float32(out * np.cos(angle)), y - np.float32(out * np.sin(angle))) - np.float32(size)
    return np.asarray(np.minimum(depth, bite), np.float32)


def _vacuoles(sheet: _Sheet) -> Field:
    """Return a monocyte's vacuoles: 1 inside, else 0."""
    rng = sheet.rng
    holes = np.zeros(sheet.shape, np.float32)
    for _ in range(rng.poisson(3.0) if rng.random() < 0.6 else 0):
        out, angle, size = rng.uniform(0.2, 0.9) * sheet.radius, rng.uniform(0, 2 * np.pi), rng.uniform(1.5, 4.5)
        x, y = (np.float32(out * np.cos(angle)), np.float32(out * np.sin(angle)))
        away = cv2.magnitude(sheet.bent[0] - x, sheet.bent[1] - y)
        holes = np.maximum(holes, coverage(np.float32(size) - away, edge=2.5))
    return holes
