import numpy as np
import pytest

from bloodcell.evaluation.pointing import measure_pointing, nucleus_and_cell_in, nucleus_in

GROUND, VIOLET = (215, 212, 216), (110, 60, 160)


def photograph(*, x: int = 160, y: int = 120, scale: int = 1) -> np.ndarray:
    """A violet disc of radius 30 on a grey ground, 320 x 240, or larger."""
    rows, columns = np.mgrid[: 240 * scale, : 320 * scale]
    pixels = np.full((240 * scale, 320 * scale, 3), GROUND, np.uint8)
    pixels[(rows - scale * y) ** 2 + (columns - scale * x) ** 2 < (30 * scale) ** 2] = VIOLET
    return pixels


def spot(x: int, y: int, *, shape: tuple[int, int] = (240, 320)) -> np.ndarray:
    heat = np.zeros(shape, np.float32)
    heat[y, x] = 1
    return heat


@pytest.mark.parametrize("scale", [1, 2])
def test_the_cell_is_the_nucleus_and_what_is_around_it_at_any_size(scale):
    pixels = photograph(scale=scale)
    nucleus, cell = nucleus_and_cell_in(pixels)
    assert nucleus.shape == cell.shape == pixels.shape[:2]
    np.testing.assert_array_equal(nucleus_in(pixels), nucleus)
    assert nucleus.mean() == pytest.approx(np.pi * 30**2 / (240 * 320), rel=0.1)
    assert cell.mean() == pytest.approx(np.pi * 44**2 / (240 * 320), rel=0.1)


def test_peaks_are_counted_on_the_nucleus_and_on_the_cell():
    pixels = photograph()
    heats = [spot(160, 120), spot(160 + 37, 120), spot(20, 20), np.zeros((240, 320), np.float32)]
    pointing = measure_pointing([pixels] * 4, heats)
    assert (pointing.photographs, pointing.without_nucleus) == (4, 0)
    assert pointing.peak_on_nucleus == 0.25
    assert pointing.peak_on_cell == 0.5
    assert pointing.heat_on_cell == 0.5
    assert 0 < pointing.nucleus_area < pointing.cell_area < 0.1


def test_photographs_without_a_nucleus_are_left_out_and_counted():
    empty = np.full((240, 320, 3), GROUND, np.uint8)
    pointing = measure_pointing([empty, photograph()], [spot(160, 120), spot(160, 120)])
    assert (pointing.photographs, pointing.without_nucleus) == (1, 1)
    assert pointing.peak_on_nucleus == 1
    nowhere = measure_pointing([empty], [spot(160, 120)])
    assert nowhere.photographs == 0
    assert np.isnan(nowhere.peak_on_nucleus)
