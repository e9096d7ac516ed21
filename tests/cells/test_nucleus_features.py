import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bloodcell.cells.nucleus_features import N_NUMBERS, nucleus_features

Pixels = NDArray[np.uint8]


def smear(nucleus: tuple[int, int], *, magnification: float = 1.0, side: int = 320) -> Pixels:
    """Draw clear ground with one violet nucleus in pink cytoplasm."""
    pixels = np.full((side, side, 3), (225, 222, 224), np.uint8)
    middle = (side // 2, side // 2)
    body = tuple(round(magnification * (axis + 8)) for axis in nucleus)
    cv2.ellipse(pixels, middle, body, 0, 0, 360, (215, 165, 180), -1)
    cv2.ellipse(pixels, middle, tuple(round(magnification * axis) for axis in nucleus), 0, 0, 360, (110, 60, 150), -1)
    return pixels


@pytest.mark.parametrize("magnification", [0.6, 2.0, 2.6])
def test_a_cell_is_the_same_at_every_magnification(magnification):
    small, large, longer = nucleus_features(
        [smear((32, 26)), smear((32, 26), magnification=magnification), smear((40, 18))]
    ).numbers
    size, ragged_to_thickness, nucleus = slice(0, 1), slice(1, 4), slice(5, 8)
    np.testing.assert_allclose(large[size], small[size], rtol=0.06)
    np.testing.assert_allclose(large[ragged_to_thickness], small[ragged_to_thickness], atol=0.05)
    np.testing.assert_allclose(large[nucleus], small[nucleus], atol=3)
    assert np.abs(longer - small)[ragged_to_thickness].max() > 0.1


def test_what_surrounds_a_cell_changes_little():
    alone, in_a_field = nucleus_features([smear((32, 26), side=160), smear((32, 26), side=480)]).numbers
    np.testing.assert_allclose(in_a_field, alone, rtol=0.15, atol=3)


def test_of_every_image_there_is_a_row_of_finite_numbers(photographs):
    rng = np.random.default_rng(0)
    images = [
        *photographs(3),
        np.zeros((60, 80, 3), np.uint8),
        np.full((240, 320, 3), 255, np.uint8),
        rng.integers(0, 256, (33, 400, 3)).astype(np.uint8),
    ]
    seen = nucleus_features(images)
    assert seen.numbers.shape == (6, N_NUMBERS)
    assert np.isfinite(seen.numbers).all()
    assert seen.found[:5].tolist() == [True, True, True, False, False]
    assert nucleus_features([]).numbers.shape == (0, N_NUMBERS)
