"""Alignment of two images, and their difference after alignment.

Copies of one photograph agree in the overlap of their frames, including fill: if one has fill beyond the photograph's
edge, the other cannot have cells there. Photographs of neighbouring places on a slide share cells and can be
aligned, too, but one shows cells beyond the other's edge.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bloodcell.images.normalisation import FILL
from bloodcell.provenance.keypoints import MIRRORED, SCALED, Keypoints

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

MIN_OVERLAP = 1600
"""Smallest overlap for a difference, in thumbnail pixels."""

EDGE = np.ones((3, 3), np.uint8)

MIN_SIGMA = 0.3
"""Standard deviation in pixels below which a blur has no effect."""

_RANSAC = {"method": cv2.RANSAC, "ransacReprojThreshold": TOLERANCE, "maxIters": 1000, "confidence": 0.999}

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


def difference(moving: NDArray[np.uint8], fixed: NDArray[np.uint8], matrix: Matrix) -> float:
    """Return the difference of two aligned images: 0 for equal ones; NaN if the overlap is too small.

    It is the sum of two terms: one minus the correlation in the overlap, which depends on focus but not on brightness
    and contrast; and the share of the overlap in which they contradict each other, as fill and cells do, above
    `TOLERATED`. The images are thumbnails as in `Keypoints`; the matrix, shape (3, 3), is from the first image's pixels
    to the second's.
    """
    size = fixed.shape[1], fixed.shape[0]
    scaled = SCALED @ matrix @ np.linalg.inv(SCALED)
    scale = _scale(scaled, size)
    shown = cv2.erode((fixed > FILL).astype(np.uint8), EDGE, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    moving_shown = cv2.erode((moving > FILL).astype(np.uint8), EDGE, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    moving, fixed = _band_limited(moving, 1 / scale), _band_limited(fixed, scale)
    moved = cv2.warpPerspective(moving, scaled, size, flags=cv2.INTER_LINEAR)
    frame = cv2.warpPerspective(np.ones_like(moving), scaled, size, flags=cv2.INTER_NEAREST)
    overlap = cv2.erode(frame, EDGE, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    shown &= overlap
    shown &= cv2.erode(
        cv2.warpPerspective(moving_shown, scaled, size, flags=cv2.INTER_NEAREST),
        EDGE,
        borderType=cv2.BORDER_CONSTANT,
        borderValue=1,
    )
    inside = shown.astype(bool)
    if inside.sum() < MIN_OVERLAP:
        return float("nan")
    here, there = moved[inside].astype(np.float32), fixed[inside].astype(np.float32)
    here_mean, there_mean = float(here.mean()), float(there.mean())
    here_spread, there_spread = max(float(here.std()), 1.0), max(float(there.std()), 1.0)
    covariance = float(((here - here_mean) * (there - there_mean)).mean())
    gain = min(max(there_spread / here_spread, 0.5), 2.0)
    evened = np.where(moved > FILL, (moved.astype(np.float32) - here_mean) * gain + there_mean, moved)
    differs = cv2.blur(np.abs(evened.astype(np.float32) - fixed) * overlap, (BLUR, BLUR))
    contradicts = differs > GREY_LEVELS * cv2.blur(overlap.astype(np.float32), (BLUR, BLUR))
    contradicting = float(contradicts[overlap > 0].mean())
    return max(0.0, 1 - covariance / (here_spread * there_spread)) + max(0.0, contradicting - TOLERATED)


def _scale(matrix: Matrix, size: tuple[int, int]) -> float:
    """Return by how much a matrix magnifies at the centre of the image that it maps to."""
    centre = np.array([[size[0] / 2, size[1] / 2]])
    back = apply(np.linalg.inv(matrix), centre + np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    return float(abs(np.linalg.det(back[1:] - back[0])) ** -0.5)


def _band_limited(pixels: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Blur an image to the resolution of another of which it is a magnified part: a pixel there is ``scale`` here."""
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
