import cv2
import numpy as np
import pytest
from data.photographs import copy

from bloodcell.cells.crop import (
    CROPS,
    MAX_HALF_SIDE,
    MIN_AT_BORDER,
    RADII,
    Crop,
    crop,
    crop_recipe,
    crop_to_nucleus,
    find_crop,
    register_crop,
)
from bloodcell.cells.segmentation import find_cell
from bloodcell.images.normalisation import BACKGROUND_LEVEL, at_working_size
from bloodcell.images.reading import read_image

VIOLET = (110, 60, 150)


def smear(*nuclei: tuple[int, int, int], height: int = 240, width: int = 320) -> np.ndarray:
    """Draw pale ground with a red cell, and violet discs at x, y of a radius."""
    pixels = np.full((height, width, 3), (225, 220, 222), np.uint8)
    cv2.circle(pixels, (60, 60), 22, (205, 150, 150), -1)
    for x, y, radius in nuclei:
        cv2.circle(pixels, (x, y), radius, VIOLET, -1)
    return pixels


def middle(made: Crop) -> tuple[float, float]:
    return made.left + (made.side - 1) / 2, made.top + (made.side - 1) / 2


@pytest.mark.parametrize("label", ["EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"])
def test_a_crop_of_a_real_photograph_holds_all_of_its_nucleus(cells, label):
    for file in sorted((cells / "TRAIN" / label).iterdir())[:4]:
        pixels = read_image(file)
        made, cell = crop_to_nucleus(pixels), find_cell(at_working_size(pixels))
        assert made.found
        assert made.pixels.shape == (made.side, made.side, 3)
        assert made.side < 240
        rows, columns = np.nonzero(cell.nucleus)
        inside = (np.abs(columns - middle(made)[0]) <= made.side / 2) & (
            np.abs(rows - middle(made)[1]) <= made.side / 2
        )
        assert inside.mean() > 0.98


def test_a_square_is_around_the_nucleus_and_in_proportion_to_it():
    made = crop_to_nucleus(smear((200, 130, 25)))
    assert (made.found, made.count, made.at_border) == (True, 1, False)
    assert middle(made) == pytest.approx((200, 130), abs=1)
    assert made.side == pytest.approx(2 * RADII * 25, rel=0.06)
    larger = crop_to_nucleus(smear((160, 120, 50)))
    assert larger.side == pytest.approx(2 * made.side, rel=0.06)


def test_a_square_is_no_larger_than_its_limit():
    assert crop_to_nucleus(smear((160, 120, 110))).side == 2 * round(MAX_HALF_SIDE) + 1


def test_of_a_cell_that_is_cut_more_is_kept_than_what_is_left_of_it_asks_for():
    made = crop_to_nucleus(smear((0, 120, 9)))
    assert made.at_border
    assert made.side == 2 * round(MIN_AT_BORDER) + 1


def test_of_two_cells_the_larger_is_cropped_and_both_are_counted():
    made = crop_to_nucleus(smear((80, 160, 20), (230, 80, 26)))
    assert made.count == 2
    assert middle(made) == pytest.approx((230, 80), abs=1)


@pytest.mark.parametrize("centre", [(316, 120), (160, 2)])
def test_a_cell_at_the_border_is_marked_and_pixels_beyond_it_are_background(centre):
    made = crop_to_nucleus(smear((*centre, 25)))
    assert made.at_border
    beyond = made.pixels[:, -1] if centre[0] > 300 else made.pixels[0]
    assert (beyond == BACKGROUND_LEVEL).all()


def test_a_cell_at_black_fill_is_marked_and_the_fill_becomes_background():
    pixels = smear((200, 120, 25))
    pixels[:, 205:] = 0
    made = crop_to_nucleus(pixels)
    assert made.at_border
    assert (made.pixels[:, -5:] == BACKGROUND_LEVEL).all()
    assert made.pixels.min() > 24


def test_where_there_is_no_cell_the_whole_image_is_left_under_one_light():
    made = crop_to_nucleus(smear())
    assert (made.found, made.count, made.at_border) == (False, 0, False)
    assert made.pixels.shape == (240, 320, 3)
    assert (made.left, made.top, made.side) == (0, 0, 320)
    assert np.abs(np.median(made.pixels, axis=(0, 1)) - BACKGROUND_LEVEL).max() <= 1


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((240, 320, 3), np.uint8),
        np.full((1, 1, 3), 255, np.uint8),
        np.full((8, 900, 3), 128, np.uint8),
        np.random.default_rng(0).integers(0, 256, (30, 50, 3)).astype(np.uint8),
    ],
    ids=["black", "one pixel", "a strip", "noise"],
)
def test_any_image_has_a_crop(pixels):
    made = crop_to_nucleus(pixels)
    assert made.pixels.dtype == np.uint8
    assert made.pixels.size
    assert made.found or made.pixels.shape == pixels.shape


@pytest.mark.parametrize("scale", [2, 3.75])
def test_a_larger_copy_has_the_same_crop_at_its_own_scale(scale, photographs):
    for pixels in photographs(4):
        small = crop_to_nucleus(pixels)
        size = round(320 * scale), round(240 * scale)
        large = crop_to_nucleus(cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC))
        assert large.side == pytest.approx(scale * small.side, rel=0.06)
        assert middle(large) == pytest.approx(tuple(scale * at for at in middle(small)), abs=4 * scale)
        shrunk = cv2.resize(large.pixels, small.pixels.shape[:2], interpolation=cv2.INTER_AREA)
        assert np.abs(shrunk.astype(int) - small.pixels).mean() < 12


def test_the_same_pixels_have_the_same_crop_and_are_left_as_they_are(photographs):
    (pixels,) = photographs(1)
    before = pixels.copy()
    one, other = crop_to_nucleus(pixels), crop_to_nucleus(pixels)
    np.testing.assert_array_equal(one.pixels, other.pixels)
    np.testing.assert_array_equal(pixels, before)
    np.testing.assert_array_equal(crop(pixels, "nucleus"), one.pixels)
    assert crop(pixels, "none") is pixels


@pytest.mark.parametrize("light", [(0.6, 0.6, 0.6), (1.0, 0.95, 0.6), (0.8, 0.85, 1.0), (1.0, 0.75, 1.0)])
def test_light_and_its_colour_hardly_change_a_crop(light, photographs):
    for pixels in photographs(4):
        made, other = crop_to_nucleus(pixels), crop_to_nucleus((pixels * light).astype(np.uint8))
        assert middle(other) == pytest.approx(middle(made), abs=3)
        assert other.side == pytest.approx(made.side, rel=0.06)
        side = (96, 96)
        apart = cv2.resize(made.pixels, side).astype(int) - cv2.resize(other.pixels, side)
        assert np.abs(apart).mean() < 8


def test_a_turned_copy_with_black_corners_has_the_same_cell_in_its_crop(photographs):
    for seed, pixels in enumerate(photographs(4)):
        turned = crop_to_nucleus(copy(pixels, np.random.default_rng(seed), shift=0, shear=0))
        assert turned.found
        assert turned.pixels.min() > 0
        assert turned.side == pytest.approx(crop_to_nucleus(pixels).side, rel=0.15)


def test_features_of_crops_and_of_whole_images_have_different_keys():
    assert crop_recipe("none") is None
    assert crop_recipe("nucleus")["name"] == "nucleus"


def test_a_registered_crop_has_a_name_and_versions_have_different_keys(monkeypatch):
    pixels = smear((160, 120, 25))
    recipes = []
    for version in (1, 2):
        monkeypatch.setitem(CROPS, "corner", None)  # so that it is gone afterwards
        register_crop("corner", version=version)(lambda pixels: Crop(pixels=pixels[:8, :8], left=0, top=0, side=8))
        recipes.append(crop_recipe("corner"))
    np.testing.assert_array_equal(crop(pixels, "corner"), pixels[:8, :8])
    assert find_crop(pixels, "corner").found
    assert find_crop(pixels, "none") is None
    assert recipes[0] != recipes[1]
