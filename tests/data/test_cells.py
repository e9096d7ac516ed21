import cv2
import numpy as np
import pytest
from data.photographs import copy, photographs

from bloodcell.data.cells import find_cell

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


def test_a_real_photograph_has_one_cell_and_its_copies_have_it_too():
    for photograph in photographs(4):
        assert find_cell(photograph).found
        there = find_cell(copy(photograph, np.random.default_rng(1), shift=0, shear=0))
        assert there.area == pytest.approx(find_cell(photograph).area, rel=0.25)


def test_how_an_image_lies_in_memory_changes_nothing():
    pixels = smear((200, 150, 25))
    turned = np.asfortranarray(pixels)
    assert find_cell(turned).area == find_cell(pixels).area
