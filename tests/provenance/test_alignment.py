"""The difference of two aligned images, of which the alignment is known."""

import cv2
import numpy as np
import pytest

from bloodcell.provenance.alignment import difference, refined
from bloodcell.provenance.keypoints import Keypoints, find_keypoints
from bloodcell.provenance.matching import SAME

WIDTH, HEIGHT = 320, 240


def around_centre(scale: float, *, shift: float = 0.0) -> np.ndarray:
    x, y = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
    return np.array([[scale, 0, x - scale * x + shift], [0, scale, y - scale * y], [0, 0, 1]])


def warped(pixels: np.ndarray, matrix: np.ndarray, border: int = cv2.BORDER_CONSTANT) -> Keypoints:
    return find_keypoints(cv2.warpPerspective(pixels, matrix, (WIDTH, HEIGHT), borderMode=border))


@pytest.mark.parametrize("scale", [0.8, 1.25, 1.5])
def test_a_zoomed_copy_is_the_same_in_both_directions(scale, photographs):
    for pixels in photographs(4):
        matrix = around_centre(scale)
        whole, zoomed = find_keypoints(pixels).thumbnail, warped(pixels, matrix).thumbnail
        assert difference(whole, zoomed, matrix) < SAME / 2
        assert difference(zoomed, whole, np.linalg.inv(matrix)) < SAME / 2


def test_fill_contradicts_cells_unless_they_may_be_reflected(photographs):
    matrix = around_centre(0.7)
    for pixels in photographs(4):
        black, reflected = (
            warped(pixels, matrix, border).thumbnail for border in (cv2.BORDER_CONSTANT, cv2.BORDER_REFLECT)
        )
        assert difference(black, reflected, np.eye(3)) > 0.1
        assert difference(black, reflected, np.eye(3), reflected=True) < SAME


def test_an_inexact_alignment_is_refined(photographs):
    for pixels in photographs(4):
        thumbnail = find_keypoints(pixels).thumbnail
        inexact = around_centre(1.02, shift=3.0)
        matrix, distance = refined(thumbnail, thumbnail, inexact)
        assert difference(thumbnail, thumbnail, inexact) > SAME
        assert distance < SAME / 3
        assert np.abs(matrix - np.eye(3)).max() < 1


def test_an_alignment_is_not_moved_far(photographs):
    one, other = (find_keypoints(pixels).thumbnail for pixels in photographs(2))
    matrix, _ = refined(one, other, np.eye(3))
    corners = np.array([[0, 0, 1], [WIDTH, 0, 1], [0, HEIGHT, 1], [WIDTH, HEIGHT, 1]]).T
    moved = matrix @ corners
    assert np.abs(moved[:2] / moved[2] - corners[:2]).max() <= 15.5
