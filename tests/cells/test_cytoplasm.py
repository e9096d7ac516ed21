import cv2
import numpy as np
import pytest

from bloodcell.cells.cytoplasm import BINS, N_NUMBERS, PATTERNS, measure_cytoplasm
from bloodcell.cells.segmentation import find_cell
from bloodcell.images.normalisation import normalise_illumination

GROUND, RED, VIOLET = (230, 230, 230), (205, 150, 150), (110, 60, 150)
BLUE = (165, 185, 215)
HISTOGRAM = slice(BINS * BINS)
PATTERN = slice(BINS * BINS, BINS * BINS + 4 * PATTERNS)
AREAS = slice(PATTERN.stop, PATTERN.stop + 3)
COLOURS = slice(AREAS.stop, N_NUMBERS)


def cell(*, cytoplasm: tuple[int, int, int] | None, width: int = 12, red: tuple[int, int, int] = RED) -> np.ndarray:
    """Draw red cells, and a nucleus with a rim of cytoplasm of a width."""
    pixels = np.full((240, 320, 3), GROUND, np.uint8)
    for x, y in ((40, 40), (280, 40), (40, 200), (280, 200), (100, 40), (220, 200)):
        cv2.circle(pixels, (x, y), 20, red, -1)
    if cytoplasm is not None:
        cv2.circle(pixels, (160, 120), 25 + width, cytoplasm, -1)
    cv2.circle(pixels, (160, 120), 25, VIOLET, -1)
    return cv2.GaussianBlur(pixels, (0, 0), 0.7)


def measured(pixels: np.ndarray) -> np.ndarray:
    found = find_cell(pixels)
    distance = cv2.distanceTransform(cv2.bitwise_not(found.nucleus), cv2.DIST_L2, 3)
    return measure_cytoplasm(normalise_illumination(pixels, found.background), found, distance)


def test_a_cell_has_the_stated_number_of_finite_features(photographs):
    for pixels in (
        *photographs(3),
        cell(cytoplasm=None),
        np.zeros((240, 320, 3), np.uint8),
        np.full((8, 9, 3), 200, np.uint8),
    ):
        row = measured(pixels)
        assert row.shape == (N_NUMBERS,)
        assert np.isfinite(row).all()


def test_shares_are_shares(photographs):
    for pixels in photographs(4):
        row = measured(pixels)
        assert (row[HISTOGRAM] ** 2).sum() <= 1 + 1e-9
        np.testing.assert_allclose(row[PATTERN].reshape(4, PATTERNS).sum(axis=1), 1)


def test_more_cytoplasm_has_a_larger_area():
    narrow, wide = (measured(cell(cytoplasm=BLUE, width=width))[AREAS] for width in (6, 14))
    assert wide[0] > 1.5 * narrow[0]
    assert wide[1] > 1.5 * narrow[1]
    assert wide[2] == pytest.approx(((25 + 14) ** 2 - 25**2) / 25**2, rel=0.3)
    bare = measured(cell(cytoplasm=None))
    assert bare[AREAS][1] < 0.2 * narrow[1]


def test_cytoplasm_of_the_red_cells_colour_is_at_nought_on_their_scale():
    red, blue = (measured(cell(cytoplasm=colour)) for colour in (RED, BLUE))
    # Body is what is unlike red cells, so there is hardly any where the cytoplasm is as they are.
    assert red[AREAS][1] < 0.5 * blue[AREAS][1]
    assert np.abs(red[HISTOGRAM] - blue[HISTOGRAM]).max() > 0.5
    mean_b = blue[COLOURS][2]
    assert mean_b < -14


def test_slides_with_paler_red_cells_are_read_on_their_own_scale():
    paler = (220, 175, 175)
    one, other = measured(cell(cytoplasm=RED)), measured(cell(cytoplasm=paler, red=paler))
    np.testing.assert_allclose(one[HISTOGRAM], other[HISTOGRAM], atol=0.35)
    apart = measured(cell(cytoplasm=RED, red=paler))
    assert np.abs(one[HISTOGRAM] - apart[HISTOGRAM]).sum() > np.abs(one[HISTOGRAM] - other[HISTOGRAM]).sum()


def test_grain_in_the_nucleus_shows_in_its_patterns():
    smooth = cell(cytoplasm=BLUE)
    rough = smooth.copy()
    nucleus = find_cell(smooth).nucleus > 0
    noise = np.random.default_rng(0).integers(-25, 26, (240, 320, 1))
    rough[nucleus] = np.clip(rough.astype(int) + noise, 0, 255)[nucleus]
    of_smooth, of_rough = (measured(pixels)[PATTERN].reshape(4, PATTERNS)[0] for pixels in (smooth, rough))
    assert of_rough[-1] > of_smooth[-1] + 0.1
