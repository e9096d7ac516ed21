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

MIN_INLIERS = 15
"""Fewest keypoints that agree on a transformation; unrelated smears have up to 9."""

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
    moved = cv2.warpPerspective(moving, scaled, size, flags=cv2.INTER_LINEAR)
    frame = cv2.warpPerspective(np.ones_like(moving), scaled, size, flags=cv2.INTER_NEAREST)
    overlap = cv2.erode(frame, EDGE, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    content_mask = ((moved > FILL) & (fixed > FILL)).astype(np.uint8) & overlap
    shown = cv2.erode(content_mask, EDGE, borderType=cv2.BORDER_CONSTANT, borderValue=1).astype(bool)
    if shown.sum() < MIN_OVERLAP:
        return float("nan")
    here, there = moved[shown].astype(np.float32), fixed[shown].astype(np.float32)
    here_mean, there_mean = float(here.mean()), float(there.mean())
    here_spread, there_spread = max(float(here.std()), 1.0), max(float(there.std()), 1.0)
    covariance = float(((here - here_mean) * (there - there_mean)).mean())
    gain = min(max(there_spread / here_spread, 0.5), 2.0)
    evened = np.where(moved > FILL, (moved.astype(np.float32) - here_mean) * gain + there_mean, moved)
    contradicts = cv2.blur(np.abs(evened.astype(np.float32) - fixed), (BLUR, BLUR)) > GREY_LEVELS
    contradicting = float(contradicts[overlap > 0].mean())
    return 1 - covariance / (here_spread * there_spread) + max(0.0, contradicting - TOLERATED)


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
