from pathlib import Path

import cv2
import numpy as np
import pytest
from data.photographs import copy
from pictures import DATA
from PIL import Image

from bloodcell.cells.segmentation import find_cell
from bloodcell.images.normalisation import at_working_size
from bloodcell.images.reading import read_image

COLOUR = (110, 60, 150)


@pytest.fixture(params=[pytest.param("", marks=pytest.mark.real)])
def other_laboratory() -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the images of another laboratory and the experts' masks, which lie beside the real images."""
    folder = Path(str(DATA)).parent / "wbc100"
    files = sorted(folder.glob("images/*/*.png"))
    return [(read_image(file), np.asarray(Image.open(folder / "masks" / file.name))) for file in files]


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


@pytest.mark.parametrize("side", [300, 120])
def test_nuclei_of_another_laboratory_are_those_of_the_experts(side, other_laboratory):
    overlaps, cells = [], []
    for pixels, mask in other_laboratory:
        small = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
        cells.append(find_cell(at_working_size(small)))
        found = cv2.resize(cells[-1].nucleus, mask.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
        overlaps.append((found & (mask == 255)).sum() / (found | (mask == 255)).sum())
    assert np.mean(overlaps) >= 0.88
    assert (np.array(overlaps) < 0.5).mean() <= 0.03
    assert all(cell.found for cell in cells)
    assert np.mean([cell.count > 1 for cell in cells]) <= 0.02


def test_fields_without_a_cell_have_none(other_laboratory):
    found = []
    for pixels, mask in other_laboratory:
        near = cv2.dilate(mask, np.ones((9, 9), np.uint8))
        for top, left in ((0, 0), (0, 190), (190, 0), (190, 190)):
            if not near[top : top + 110, left : left + 110].any():
                field = pixels[top : top + 110, left : left + 110]
                found.append(find_cell(at_working_size(np.ascontiguousarray(field))).found)
    assert len(found) >= 15
    assert np.mean(found) <= 0.25  # some show a second white cell


def test_granules_are_not_nucleus_but_stained():
    pixels = smear()
    cv2.circle(pixels, (200, 140), 40, (215, 120, 175), -1)
    cv2.circle(pixels, (188, 140), 14, COLOUR, -1)
    cv2.circle(pixels, (214, 140), 14, COLOUR, -1)
    cell = find_cell(pixels)
    assert (cell.found, cell.count) == (True, 1)
    assert cell.area == pytest.approx(2 * np.pi * 14**2, rel=0.15)


@pytest.mark.parametrize("radius", [5, 9])
def test_a_platelet_is_no_white_cell(radius):
    assert not find_cell(smear((200, 120, radius))).found


def test_a_nucleus_that_the_border_cuts_may_be_small():
    cell = find_cell(smear((319, 120, 12)))
    assert cell.at_border
    assert cell.found
