"""Find the white blood cell in an image of a stained smear.

Only nuclei take up the violet stain: blue is far above green in them, red cells are pink, and the background is grey
after illumination normalisation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bloodcell.images.normalisation import background_level, content_mask, normalise_illumination

SMOOTHING = 2.0
"""Standard deviation of the blur that removes noise, in pixels."""

FILL_MARGIN = 2
LOBE_GAP = 0.8
"""Largest gap between lobes of one nucleus, in radii of a disc with the nucleus's area."""

STAINED_GAP = 17
"""Distance in pixels below which two stained parts are one."""

MIN_LOBE = 0.05
"""Smallest area of a lobe, relative to the largest."""

MIN_RELATIVE_AREA = 0.35
"""Smallest area of a second nucleus, relative to the first; platelets and stain are smaller."""

MIN_CONTRAST = 30.0
"""Smallest contrast of a nucleus with red cells, in grey levels: nuclei have 42 or more, dark red cells about 15."""
MIN_CONTRAST_TO_GROUND = 58.0
"""The same with the ground: nuclei have 60 or more, red cells up to 56."""

ONE_NUCLEUS = 0.6
"""Contrast of the upper two classes, relative to that of the lower two, below which both are nucleus."""

LEAST_HEIGHT = 0.35
"""Smallest height of a nucleus's edge between the medians of the upper two classes: red cells are not in it."""
RING = (3, 9)
"""Distances from a nucleus of what is around it, in pixels."""

MIN_RADIUS, MIN_RADIUS_AT_BORDER = 12.0, 6.0
"""Smallest radius of a nucleus, and of what is in view of one at the border, in pixels; platelets are smaller."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The white cell in an image.

    Attributes
    ----------
    nucleus
        Mask of the nucleus with all lobes: 255 inside, else 0, shape (height, width), uint8.
    content_mask
        Mask of the image without black fill: 255 or 0, shape (height, width), uint8.
    centre
        x and y of the nucleus's centre of mass, in pixels.
    area
        Area of the nucleus, in pixels.
    count
        Number of nuclei of similar size.
    excess
        Mean of blue minus green in the nucleus, less the mean around it, in grey levels after illumination
        normalisation.
    contrast
        Of the median of blue minus green with that of red cells, or of the ground if nothing is between, relative to
        the least of a nucleus, `MIN_CONTRAST` or `MIN_CONTRAST_TO_GROUND`.
    background
        Level of the background in each channel, see `bloodcell.images.normalisation.background_level`.
    """

    nucleus: NDArray[np.uint8]
    content_mask: NDArray[np.uint8]
    centre: tuple[float, float]
    area: int
    count: int
    excess: float
    contrast: float
    background: Sequence[float]

    @property
    def radius(self) -> float:
        """Radius of a disc with the nucleus's area, in pixels."""
        return float((self.area / np.pi) ** 0.5)

    @property
    def found(self) -> bool:
        """Whether there is a nucleus; if not, ``nucleus`` is the most violet spot."""
        least = MIN_RADIUS_AT_BORDER if self.at_border else MIN_RADIUS
        return self.contrast >= 1 and self.radius >= least

    @property
    def at_border(self) -> bool:
        """Whether the nucleus touches the image's border or black fill, so part of it is missing."""
        inside = np.pad(self.content_mask, 1)
        # The margin of fill is in the mask, so touching it is enough.
        touching = cv2.erode(inside, np.ones((3, 3), np.uint8))[1:-1, 1:-1] == 0
        return bool((touching & (self.nucleus > 0)).any())


@dataclass(frozen=True)
class _Violet:
    """Blue minus green of an image, its values within the content, and the content's mask and background."""

    image: NDArray[np.uint8]
    values: NDArray[np.uint8]
    content_mask: NDArray[np.uint8]
    background: Sequence[float]


def find_cell(pixels: NDArray[np.uint8]) -> Cell:
    """Find the largest nucleus.

    Blue minus green has three classes: ground, red cells and cytoplasm, and nuclei. Otsu's thresholds (1979) for three
    classes part them. The nucleus's blurred edge is at half of its height above what is around it. In a picture that
    the cell fills, the upper two can be paler and darker parts of the nucleus: then they are much nearer to each other
    than to the ground.

    Parameters
    ----------
    pixels
        RGB at the size of `at_working_size`, shape (height, width, 3), uint8.
    """
    return _nucleus_of(_violet(pixels))


def find_cell_and_stained(pixels: NDArray[np.uint8]) -> tuple[Cell, Cell]:
    """Return what `find_cell` and `find_stained` find."""
    violet = _violet(pixels)
    return _nucleus_of(violet), _stained_of(violet)


def _nucleus_of(violet: _Violet) -> Cell:
    if not violet.values.size:
        return _none(violet)
    values = np.sort(violet.values)
    classes = np.split(values, np.searchsorted(values, _two_thresholds(values), side="right"))
    if not all(each.size for each in classes):
        return _none(violet)
    ground, other, own = (float(np.median(each)) for each in classes)
    contrast = (own - other) / MIN_CONTRAST
    if own - other < ONE_NUCLEUS * (other - ground):
        other, own = ground, float(np.median(np.concatenate(classes[1:])))
        contrast = (own - other) / MIN_CONTRAST_TO_GROUND
    stained, nucleus, count = _nuclei(violet.image, (other + own) / 2)
    around = _ring(nucleus) & violet.content_mask
    if around.any():
        half = (_median(violet.image, nucleus) + _median(violet.image, around)) / 2
        stained, nucleus, count = _nuclei(violet.image, max(half, other + LEAST_HEIGHT * (own - other)))
    return _cell(violet, nucleus, stained, count=count, contrast=contrast)


def find_stained(pixels: NDArray[np.uint8]) -> Cell:
    """Find the largest violet part: the nucleus, and granules that are as violet, which tell classes from others.

    A pixel belongs to it if blue minus green exceeds Otsu's threshold (1979) and half of the part's own height above
    the background. The cell that is returned has it in place of the nucleus; its contrast is not known, and 0.

    Parameters
    ----------
    pixels
        RGB at the size of `at_working_size`, shape (height, width, 3), uint8.
    """
    return _stained_of(_violet(pixels))


def _stained_of(violet: _Violet) -> Cell:
    if not violet.values.size:
        return _none(violet)
    threshold, _ = cv2.threshold(violet.values.reshape(1, -1), 0, 255, cv2.THRESH_OTSU)
    stained, part, areas = _largest(violet.image, threshold)
    if areas.size:
        height = (_median(violet.image, part) + float(np.median(violet.values))) / 2
        stained, part, areas = _largest(violet.image, max(threshold, height))
    if not areas.size:
        return _none(violet)
    count = int((areas > MIN_RELATIVE_AREA * areas.max()).sum())
    return _cell(violet, part, stained, count=count, contrast=0.0)


def _violet(pixels: NDArray[np.uint8]) -> _Violet:
    inside = content_mask(pixels, margin=FILL_MARGIN)
    background = background_level(pixels, inside)
    smooth = cv2.GaussianBlur(normalise_illumination(pixels, background), (0, 0), SMOOTHING)
    image = cv2.bitwise_and(cv2.subtract(smooth[..., 2], smooth[..., 1]), inside)
    return _Violet(np.asarray(image, np.uint8), image[inside > 0], inside, background)


def _two_thresholds(values: NDArray[np.uint8]) -> tuple[int, int]:
    """Return Otsu's thresholds for three classes: they maximise the variance between the classes."""
    shares = np.bincount(values, minlength=256) / values.size
    mass, moment = (np.concatenate([[0.0], np.cumsum(each)]) for each in (shares, shares * np.arange(256)))
    first, second = np.triu_indices(257, 1)
    within = mass[second] - mass[first]
    term = np.zeros((257, 257))
    term[first, second] = (moment[second] - moment[first]) ** 2 / np.where(within > 0, within, 1.0)
    starts = np.arange(1, 256)
    total = term[0, starts][:, None] + term[np.ix_(starts, starts)] + term[starts, 256][None, :]
    total[np.tril_indices(len(starts))] = -1.0
    one, other = np.unravel_index(int(total.argmax()), total.shape)
    return int(starts[one]) - 1, int(starts[other]) - 1


def _nuclei(violet: NDArray[np.uint8], threshold: float) -> tuple[NDArray[np.uint8], NDArray[np.uint8], int]:
    """Return the mask above a threshold, that of the largest nucleus in it, and how many of similar size there are."""
    stained = np.asarray((violet > threshold).astype(np.uint8) * 255)
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(stained)
    areas = statistics[1:, cv2.CC_STAT_AREA]
    nucleus, joined = _with_lobes(parts, areas)
    others = np.delete(areas, joined)
    return stained, nucleus, 1 + int((others > MIN_RELATIVE_AREA * areas[joined].sum()).sum())


def _ring(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the mask of what is `RING` pixels from another mask."""
    inner, outer = (cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * r + 1, 2 * r + 1)) for r in RING)
    return np.asarray(cv2.dilate(mask, outer) & ~cv2.dilate(mask, inner))


def _median(values: NDArray[np.uint8], mask: NDArray[np.uint8]) -> float:
    return float(np.median(values[mask > 0]))


def _with_lobes(parts: NDArray[np.int32], areas: NDArray[np.integer]) -> tuple[NDArray[np.uint8], list[int]]:
    """Return the mask of the largest part with the lobes that are near to it, and the indices of these parts."""
    joined = [int(areas.argmax())]
    rest = {int(place) for place in np.flatnonzero(areas >= MIN_LOBE * areas.max())} - set(joined)
    nucleus = np.asarray((parts == joined[0] + 1).astype(np.uint8) * 255)
    while rest:
        reach = LOBE_GAP * float((areas[joined].sum() / np.pi) ** 0.5)
        distance = cv2.distanceTransform(cv2.bitwise_not(nucleus), cv2.DIST_L2, 3)
        near = [place for place in rest if distance[parts == place + 1].min() <= reach]
        if not near:
            break
        joined += near
        rest -= set(near)
        nucleus = np.asarray(np.isin(parts, np.array(joined) + 1).astype(np.uint8) * 255)
    return nucleus, joined


def _largest(
    violet: NDArray[np.uint8], threshold: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.intp]]:
    """Return the mask above a threshold, the mask of its largest part, and the area of every part."""
    stained = np.asarray((violet > threshold).astype(np.uint8) * 255)
    joined = cv2.morphologyEx(stained, cv2.MORPH_CLOSE, np.ones((STAINED_GAP, STAINED_GAP), np.uint8))
    n_parts, parts = cv2.connectedComponents(joined)
    areas = np.bincount(parts[stained > 0], minlength=n_parts)[1:]
    if not areas.any():
        return stained, np.zeros_like(stained), areas[:0]
    return stained, np.asarray(((parts == 1 + int(areas.argmax())) & (stained > 0)).astype(np.uint8) * 255), areas


def _cell(
    violet: _Violet, nucleus: NDArray[np.uint8], stained: NDArray[np.uint8], *, count: int, contrast: float
) -> Cell:
    moments = cv2.moments(nucleus, binaryImage=True)
    around = cv2.mean(violet.image, mask=cv2.bitwise_and(violet.content_mask, cv2.bitwise_not(stained)))[0]
    return Cell(
        nucleus=nucleus,
        content_mask=violet.content_mask,
        centre=(moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]),
        area=cv2.countNonZero(nucleus),
        count=count,
        excess=float(cv2.mean(violet.image, mask=nucleus)[0] - around),
        contrast=contrast,
        background=violet.background,
    )


def _none(violet: _Violet) -> Cell:
    height, width = violet.content_mask.shape
    return Cell(
        nucleus=np.zeros_like(violet.content_mask),
        content_mask=violet.content_mask,
        centre=((width - 1) / 2, (height - 1) / 2),
        area=0,
        count=0,
        excess=0.0,
        contrast=0.0,
        background=violet.background,
    )
