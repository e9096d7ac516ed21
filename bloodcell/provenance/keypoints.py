"""Keypoints and a thumbnail of an image, by which copies are recognised."""

import threading
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bloodcell.images.normalisation import at_working_size, content_mask

N_KEYPOINTS = 250

MIN_KEYPOINTS = 60
"""Fewest keypoints with which copies are found reliably; single copies with fewer are missed."""

THUMBNAIL_SCALE = 0.5
"""Large enough to distinguish two photographs of one place with different focus."""

DETECTORS = ((0.6, 0.02), (0.75, 0.005))
"""Scale at which keypoints are found, and least contrast: coarse, and a third of the time of scale 1; and fine, if that
finds few, as in small images, which are smooth when they are enlarged."""

EDGE_THRESHOLD = 12
"""Like the contrasts less strict than in Lowe (2004): smears are pale and out of focus."""

FEW_KEYPOINTS = 100

DESCRIPTOR_NORM = 512
"""Length of a descriptor; nearly all entries then fit into 8 bits."""

FILL_MARGIN = 6
"""Distance from fill in pixels below which keypoints are ignored: they describe its edge."""

SCALED = np.array(
    [[THUMBNAIL_SCALE, 0, (THUMBNAIL_SCALE - 1) / 2], [0, THUMBNAIL_SCALE, (THUMBNAIL_SCALE - 1) / 2], [0, 0, 1]]
)
"""Matrix from an image's pixels to its thumbnail's; the origin is the centre of the first pixel."""

_row, _column, _direction = np.meshgrid(range(4), range(4), range(8), indexing="ij")
MIRRORED = (((3 - _row) * 4 + _column) * 8 + (-_direction) % 8).ravel()
"""Permutation of a SIFT descriptor's entries when the image is mirrored."""

_sift = threading.local()


@dataclass(frozen=True)
class Keypoints:
    """Keypoints and thumbnail of an image, scaled to `WORKING_AREA`.

    Attributes
    ----------
    positions
        x and y of each keypoint, in pixels of the scaled image, the strongest first, shape (n, 2), float32.
    descriptors
        RootSIFT (Arandjelović and Zisserman 2012), scaled to a length of `DESCRIPTOR_NORM`, shape (n, 128), uint8.
    thumbnail
        The scaled image in grey, half of its size, shape (height / 2, width / 2), uint8.
    size
        Width and height of the scaled image.
    """

    positions: NDArray[np.float32]
    descriptors: NDArray[np.uint8]
    thumbnail: NDArray[np.uint8]
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.positions)

    def mirror(self) -> NDArray[np.float64]:
        """Return the matrix that mirrors positions left to right, shape (3, 3)."""
        return np.array([[-1.0, 0.0, self.size[0] - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def find_keypoints(pixels: NDArray[np.uint8]) -> Keypoints:
    """Find the strongest keypoints of an RGB image, shape (height, width, 3), uint8, outside black fill."""
    pixels = at_working_size(pixels)
    size = pixels.shape[1], pixels.shape[0]
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    mask = content_mask(pixels, margin=FILL_MARGIN)
    for scale, contrast in DETECTORS:
        small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        small_mask = cv2.resize(mask, small.shape[::-1], interpolation=cv2.INTER_NEAREST)
        found, descriptors = _detector(contrast).detectAndCompute(small, small_mask)
        if len(found) >= FEW_KEYPOINTS:
            break
    if not found:
        descriptors = np.zeros((0, 128), np.float32)
    strongest = np.argsort([-keypoint.response for keypoint in found], kind="stable")[:N_KEYPOINTS]
    positions = np.array([keypoint.pt for keypoint in found], np.float32).reshape(-1, 2)
    positions = (positions + 0.5) * (np.array(size) / small.shape[::-1]) - 0.5
    thumbnail_size = max(round(size[0] * THUMBNAIL_SCALE), 2), max(round(size[1] * THUMBNAIL_SCALE), 2)
    thumbnail = cv2.resize(cv2.GaussianBlur(grey, (0, 0), 0.5), thumbnail_size, interpolation=cv2.INTER_AREA)
    return Keypoints(
        positions=positions[strongest].astype(np.float32),
        descriptors=_root(descriptors[strongest]),
        thumbnail=np.asarray(thumbnail, np.uint8),
        size=size,
    )


def _detector(contrast_threshold: float) -> "cv2.SIFT":
    if not hasattr(_sift, "detectors"):  # one for each thread
        _sift.detectors = {
            each: cv2.SIFT_create(
                nfeatures=N_KEYPOINTS,
                contrastThreshold=each,
                edgeThreshold=EDGE_THRESHOLD,
                enable_precise_upscale=True,
            )
            for _, each in DETECTORS
        }
    return _sift.detectors[contrast_threshold]


def _root(descriptors: NDArray[np.float32]) -> NDArray[np.uint8]:
    sums = np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6)
    return np.asarray(np.clip(np.rint(np.sqrt(descriptors / sums) * DESCRIPTOR_NORM), 0, 255), np.uint8)
