"""Alignment of two images, and their difference after alignment.

Copies of one photograph agree in the overlap of their frames, including fill: if one has fill beyond the photograph's
edge, another with fill cannot have cells there. Photographs of neighbouring places on a slide share cells and can be
aligned, too, but one shows cells beyond the other's edge.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bloodcell.images.normalisation import FILL
from bloodcell.provenance.keypoints import MIRRORED, SCALED, THUMBNAIL_SCALE, Keypoints

MIN_INLIERS = 8
"""Fewest keypoints that agree on a transformation. Unrelated smears have up to 9, but their difference is above 0.1."""

TOLERANCE = 5.0
"""Largest error of an inlier, in pixels."""

MAX_STRETCH = 2.2
MAX_SHEAR = 1.8
MAX_SHIFT = 0.5
"""Limits of two augmentations combined: scale, ratio of the scales along two axes, and shift of the centre as a share
of width or height."""

PROJECTIVE_COST = 0.8
"""A projective transformation is used if its cost is at most this share of the affine one's."""

GREY_LEVELS = 40.0
"""Difference of two aligned thumbnails, of 255, above which they contradict each other."""

BLUR = 9
"""Side of the square over which a difference is averaged, in thumbnail pixels."""

TOLERATED = 0.02
"""Share of the overlap that contradicts in copies: alignment is inexact, and edges are steep."""

MIN_FILL = 0.01
"""Smallest share of an image with black fill that is fill."""

MIN_OVERLAP = 1600
"""Smallest overlap for a difference, in thumbnail pixels."""

EDGE = np.ones((3, 3), np.uint8)
FROM_SCALED = np.linalg.inv(SCALED)

EXACT = 0.015
"""Difference above which an alignment is refined; copies with an exact one have less."""

MAX_REFINEMENT = 15.0
"""Largest shift of a corner by refinement, in pixels."""

MIN_SIGMA = 0.3
"""Standard deviation in pixels below which a blur has no effect."""

_RANSAC = {"method": cv2.RANSAC, "ransacReprojThreshold": TOLERANCE, "maxIters": 1000, "confidence": 0.999}
_ECC = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 1e-4)

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Alignment:
    """The alignment of one image with another.

    Attributes
    ----------
    matrix
        From the first image's pixels to the second's, homogeneous, shape (3, 3); a negative determinant mirrors.
    inliers
        Keypoints that agree on it.
    """

    matrix: Matrix
    inliers: int


def align(moving: Keypoints, fixed: Keypoints, *, mirrored: bool) -> Alignment | None:
    """Find the transformation from one image, perhaps mirrored first, to another.

    None if augmentation cannot produce it. Mutual nearest descriptors, an affine transformation by RANSAC (Fischler and
    Bolles 1981), and a projective one if it fits clearly better by MSAC's cost (Torr and Zisserman 2000).
    """
    if min(len(moving), len(fixed)) < MIN_INLIERS:
        return None
    flip = moving.mirror() if mirrored else np.eye(3)
    source = apply(flip, moving.positions).astype(np.float32)
    descriptors = moving.descriptors[:, MIRRORED] if mirrored else moving.descriptors
    here, there = _mutual_nearest(descriptors, fixed.descriptors)
    if len(here) < MIN_INLIERS:
        return None
    source, target = source[here], fixed.positions[there]
    affine, agreeing = cv2.estimateAffine2D(source, target, **_RANSAC)
    inliers = 0 if affine is None else int(agreeing.sum())
    if inliers < MIN_INLIERS:
        return None
    matrix = np.vstack([affine, [0.0, 0.0, 1.0]])
    if not _plausible(matrix, fixed.size):
        return None
    projective, agreeing = cv2.findHomography(source, target, **_RANSAC)
    if (
        projective is not None
        and _cost(projective, source, target) < PROJECTIVE_COST * _cost(matrix, source, target)
        and _plausible(projective, fixed.size)
    ):
        matrix, inliers = projective, int(agreeing.sum())
    return Alignment(matrix=matrix @ flip, inliers=inliers)


def apply(matrix: Matrix, positions: NDArray[np.floating]) -> NDArray[np.float64]:
    """Move positions, shape (n, 2), by a homogeneous matrix, shape (3, 3)."""
    moved = np.column_stack([positions, np.ones(len(positions))]) @ matrix.T
    return np.asarray(moved[:, :2] / moved[:, 2:])


def difference(
    moving: NDArray[np.uint8], fixed: NDArray[np.uint8], matrix: Matrix, *, reflected: bool = False
) -> float:
    """Return the difference of two aligned images: 0 for equal ones; NaN if the overlap is too small.

    It is the sum of two terms: one minus the correlation in the overlap, which depends on focus but not on brightness
    and contrast; and the share of the overlap in which they contradict each other, as fill and cells do, above
    `TOLERATED`. Both are compared at the resolution of the coarser one.

    Parameters
    ----------
    moving, fixed
        Thumbnails as in `Keypoints`.
    matrix
        From the first image's pixels to the second's, shape (3, 3).
    reflected
        Whether an image without black fill may have reflected fill, which then does not contradict black fill.
    """
    size = fixed.shape[1], fixed.shape[0]
    scaled = SCALED @ matrix @ FROM_SCALED
    scale = _scale(scaled, size)
    areas = cv2.warpPerspective(_content(moving) + np.uint8(1), scaled, size, flags=cv2.INTER_NEAREST)
    overlap, shown = _eroded(np.minimum(areas, 1)), _eroded(areas >> 1) & _content(fixed)
    n_shown = cv2.countNonZero(shown)
    if n_shown < MIN_OVERLAP:
        return float("nan")
    moved = cv2.warpPerspective(_band_limited(moving, 1 / scale), scaled, size, flags=cv2.INTER_LINEAR)
    fixed = _band_limited(fixed, scale)
    (here_mean, here_spread), (there_mean, there_spread) = (
        _mean_and_spread(moved, shown),
        _mean_and_spread(fixed, shown),
    )
    gain = min(max(there_spread / here_spread, 0.5), 2.0)
    compared = shown if reflected and not (_has_fill(moving) and _has_fill(fixed)) else overlap
    here = np.subtract(moved, here_mean, dtype=np.float32)
    there = np.subtract(fixed, there_mean, dtype=np.float32)
    covariance = float(np.vdot(here * shown, there)) / n_shown
    here *= gain
    np.copyto(here, np.subtract(moved, there_mean, dtype=np.float32), where=moved <= FILL)
    excess = cv2.absdiff(here, there)
    excess -= GREY_LEVELS
    excess *= compared
    contradicts = (cv2.blur(excess, (BLUR, BLUR)) > 0).view(np.uint8) & compared
    contradicting = cv2.countNonZero(contradicts) / max(cv2.countNonZero(compared), 1)
    correlation = covariance / (here_spread * there_spread)
    return float(max(0.0, 1 - correlation) + max(0.0, contradicting - TOLERATED))


def refined(
    moving: NDArray[np.uint8], fixed: NDArray[np.uint8], matrix: Matrix, *, reflected: bool = False
) -> tuple[Matrix, float]:
    """Return a more exact matrix, if the images do not agree with this one, and their difference.

    The matrix maximises the thumbnails' correlation (ECC, Evangelidis and Psarakis 2008). Parameters are those of
    `difference`.
    """
    distance = difference(moving, fixed, matrix, reflected=reflected)
    if distance <= EXACT:
        return matrix, distance
    back = np.linalg.inv(SCALED @ matrix @ FROM_SCALED)
    size = moving.shape[1], moving.shape[0]
    shown = cv2.warpPerspective((fixed > FILL).astype(np.uint8), back, size, flags=cv2.INTER_NEAREST)
    mask = _eroded(shown & (moving > FILL))
    start = (back / back[2, 2]).astype(np.float32)
    try:
        _, found = cv2.findTransformECC(fixed, moving, start, cv2.MOTION_HOMOGRAPHY, _ECC, mask, 3)
        better = np.asarray(FROM_SCALED @ np.linalg.inv(found) @ SCALED, np.float64)
    except (cv2.error, np.linalg.LinAlgError):  # it does not converge
        return matrix, distance
    width, height = size[0] / THUMBNAIL_SCALE, size[1] / THUMBNAIL_SCALE
    corners = np.array([[0.0, 0.0], [0.0, height], [width, 0.0], [width, height]])
    if np.abs(apply(better, corners) - apply(matrix, corners)).max() > MAX_REFINEMENT:
        return matrix, distance
    closer = difference(moving, fixed, better, reflected=reflected)
    return (better, closer) if closer < distance else (matrix, distance)


def _content(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return 1 where an image shows something, and 0 on fill and its edge."""
    return _eroded((pixels > FILL).view(np.uint8))


def _has_fill(pixels: NDArray[np.uint8]) -> bool:
    return bool(np.count_nonzero(pixels <= FILL) > MIN_FILL * pixels.size)


def _eroded(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.erode(mask, EDGE, borderType=cv2.BORDER_CONSTANT, borderValue=1))


def _mean_and_spread(pixels: NDArray[np.uint8], mask: NDArray[np.uint8]) -> tuple[float, float]:
    """Return the mean and the standard deviation, at least 1, of the masked pixels."""
    mean, spread = cv2.meanStdDev(pixels, mask=mask)
    return float(mean[0, 0]), max(float(spread[0, 0]), 1.0)


def _scale(matrix: Matrix, size: tuple[int, int]) -> float:
    """Return by how much a matrix magnifies at the centre of the image that it maps to."""
    back = np.linalg.inv(matrix)
    depth = back[2] @ (size[0] / 2, size[1] / 2, 1.0)
    return float(abs(depth**3 / np.linalg.det(back)) ** 0.5)


def _band_limited(pixels: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Blur an image to the resolution of another that shows it smaller: a pixel there is ``scale`` pixels here."""
    sigma = 0.5 * max(scale**2 - 1, 0) ** 0.5
    return pixels if sigma < MIN_SIGMA else np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma))


def _mutual_nearest(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    a, b = first.astype(np.float32), second.astype(np.float32)
    distances = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2 * (a @ b.T)
    there = distances.argmin(axis=1)
    mutual = np.flatnonzero(distances.argmin(axis=0)[there] == np.arange(len(a)))
    return mutual, there[mutual]


def _cost(matrix: Matrix, source: NDArray[np.float32], target: NDArray[np.float32]) -> float:
    """Return the sum of squared distances in pixels, each at most that of `TOLERANCE`."""
    squared = ((apply(matrix, source) - target) ** 2).sum(axis=1)
    return float(np.minimum(squared, TOLERANCE**2).sum())


def _plausible(matrix: Matrix, size: tuple[int, int]) -> bool:
    """Return whether two augmentations combined can produce this transformation."""
    centre = np.array([[size[0] / 2, size[1] / 2]])
    around = apply(matrix, centre + np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    linear = (around[1:] - around[0]).T
    scales = np.linalg.svd(linear, compute_uv=False)
    shift = np.abs(around[0] - centre[0]) / size
    return bool(
        np.isfinite(matrix).all()
        and np.linalg.det(linear) > 0
        and scales[0] < MAX_STRETCH
        and scales[1] > 1 / MAX_STRETCH
        and scales[0] < MAX_SHEAR * scales[1]
        and shift.max() < MAX_SHIFT
    )
