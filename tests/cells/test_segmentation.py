import cv2
import numpy as np
import pytest
from data.photographs import copy

from bloodcell.cells.segmentation import find_cell

COLOUR = (110, 60, 150)


def smear(*nuclei: tuple[int, int, int]) -> np.ndarray:
    """Draw pale ground with a red cell, and nuclei at x, y of a radius."""
    pixels = np.full((240, 320, 3), (225, 220, 222), np.uint8)
    cv2.circle(pixels, (60, 60), 22, (205, 150, 150), -1)
    for x, y, radius in nuclei:
        cv2.circle(pixels, (x, y), radius, COLOUR, -1)
    return pixels


def test_the_nucleus_is_found_where_it_is():
    cell = find_cell(smear((200, 150, 25)))
    assert cell.found
    assert cell.centre == pytest.approx((200, 150), abs=1)
    assert cell.area == pytest.approx(np.pi * 25**2, rel=0.1)
    assert cell.count == 1


def test_lobes_are_one_nucleus_and_a_distant_one_is_another():
    lobes = find_cell(smear((200, 150, 15), (233, 150, 15)))
    assert lobes.count == 1
    assert lobes.area == pytest.approx(2 * np.pi * 15**2, rel=0.15)
    assert find_cell(smear((200, 150, 25), (90, 180, 22))).count == 2


def test_black_fill_is_no_nucleus_and_an_empty_field_has_none():
    turned = copy(smear(), np.random.default_rng(0))
    assert not find_cell(turned).found
    assert not find_cell(np.zeros((240, 320, 3), np.uint8)).found


def test_red_cells_that_are_the_most_violet_thing_in_view_are_no_nucleus():
    pixels = smear()
    cv2.circle(pixels, (200, 120), 40, (200, 150, 170), -1)
    assert not find_cell(pixels).found


@pytest.mark.parametrize("stain", [0.4, 1.0])
def test_a_nucleus_is_found_however_strong_the_stain_and_whatever_the_white_balance(stain, photographs):
    for light in ((1.0, 1.0, 1.0), (1.0, 0.9, 0.55), (0.75, 1.0, 0.85)):
        for photograph in photographs(3):
            pale = 220 - (220 - photograph.astype(float)) * stain
            pixels = np.clip(pale * light, 0, 255).astype(np.uint8)
            assert find_cell(pixels).found
            assert find_cell(pixels).area == pytest.approx(find_cell(photograph).area, rel=0.15)


def test_a_real_photograph_has_one_cell_and_its_copies_have_it_too(photographs):
    for photograph in photographs(4):
        assert find_cell(photograph).found
        there = find_cell(copy(photograph, np.random.default_rng(1), shift=0, shear=0))
        assert there.area == pytest.approx(find_cell(photograph).area, rel=0.25)


def test_the_memory_layout_of_an_image_has_no_effect():
    pixels = smear((200, 150, 25))
    turned = np.asfortranarray(pixels)
    assert find_cell(turned).area == find_cell(pixels).area
