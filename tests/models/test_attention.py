import numpy as np
import pytest

from bloodcell.cells.crop import crop_to_nucleus
from bloodcell.cells.segmentation import find_stained
from bloodcell.data.pipeline import resize
from bloodcell.images.reading import read_image
from bloodcell.models.attention import MASKS_SHAPE, cell_masks, masked_averages

SIZE = 224


@pytest.fixture(scope="module")
def crops(cells) -> np.ndarray:
    files = [sorted(folder.iterdir())[0] for folder in sorted((cells / "TRAIN").iterdir())]
    pixels = [crop_to_nucleus(read_image(file)).pixels for file in files]
    return np.stack([resize(image, input_size=SIZE, interpolation="bilinear") for image in pixels])


def test_the_nucleus_mask_agrees_with_segmentation(crops):
    for image, masks in zip(crops, np.asarray(cell_masks(crops)), strict=True):
        nucleus = find_stained(image.astype(np.uint8)).nucleus > 0
        cells = MASKS_SHAPE[0]
        side = nucleus.shape[0] // cells * cells
        share = nucleus[:side, :side].reshape(cells, side // cells, cells, -1).mean(axis=(1, 3))
        overlap = np.minimum(masks[..., 0], share).sum() / np.maximum(masks[..., 0], share).sum()
        assert overlap > 0.6


def test_the_surroundings_are_near_the_nucleus_and_exclude_it(crops):
    nucleus, around = np.moveaxis(np.asarray(cell_masks(crops)), -1, 0)
    assert (np.minimum(nucleus, around) > 0.5).mean() < 0.01
    assert (around.sum(axis=(1, 2)) > 0.3 * nucleus.sum(axis=(1, 2))).all()
    assert (around[:, 0, 0] == 0).all()


@pytest.mark.parametrize("side", [7, 10, 14, 28, 56])
def test_feature_maps_of_any_size_are_averaged_over_masks(side):
    image = np.full((1, SIZE, SIZE, 3), 230, np.float32)
    image[:, : SIZE // 2, :, 1] = 60  # violet above, clear ground below
    feature_map = np.zeros((1, side, side, 2), np.float32)
    feature_map[:, : side // 2, :, 0] = 1.0
    feature_map[:, side // 2 :, :, 1] = 1.0
    nucleus, around = (np.asarray(part) for part in masked_averages(feature_map, cell_masks(image)))
    np.testing.assert_allclose(nucleus, [[1.0, 0.0]], atol=0.15)
    assert around[0, 1] > 0.8


def test_an_image_without_violet_has_zero_averages():
    image = np.full((1, SIZE, SIZE, 3), 230, np.float32)
    nucleus, around = masked_averages(np.ones((1, 7, 7, 2), np.float32), cell_masks(image))
    assert not np.asarray(nucleus).any()
    assert not np.asarray(around).any()
