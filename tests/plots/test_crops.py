import numpy as np
import pytest

from bloodcell.cells.crop import Crop
from bloodcell.plots.crops import Cropped, crop_gallery

RNG = np.random.default_rng(0)


def cropped(*, found: bool = True, caption: str = "_0_1169.jpeg", height: int = 60, width: int = 80) -> Cropped:
    pixels = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
    cut = pixels[10:31, 20:41] if found else pixels
    side = 21 if found else width
    left, top = (20, 10) if found else (0, 0)
    crop = Crop(pixels=cut, found=found, count=int(found), at_border=False, left=left, top=top, side=side)
    return Cropped(photograph=pixels, crop=crop, caption=caption)


def test_every_photograph_is_shown_with_its_square_and_its_crop(texts_of, check_legible):
    rows = {"LYMPHOCYTE": [cropped(), cropped()], "MONOCYTE": [cropped()]}
    figure = crop_gallery(rows, title="Crops")
    pairs = [pair for row in rows.values() for pair in row]
    assert len(figure.axes) == 2 * len(pairs)
    for pair, whole, cut in zip(pairs, figure.axes[::2], figure.axes[1::2], strict=True):
        np.testing.assert_array_equal(whole.images[0].get_array(), pair.photograph)
        np.testing.assert_array_equal(cut.images[0].get_array(), pair.crop.pixels)
        square = whole.patches[-1]
        assert (*square.get_xy(), square.get_width()) == (19.5, 9.5, 21)
    assert {"Crops", "LYMPHOCYTE", "MONOCYTE", "_0_1169.jpeg"} <= set(texts_of(figure))
    check_legible(figure)


def test_a_photograph_without_a_cell_has_no_square(check_legible):
    figure = crop_gallery({"no cell found: 1": [cropped(found=False)]})
    whole, cut = figure.axes
    assert not whole.patches
    assert cut.images[0].get_array().shape == (60, 80, 3)
    check_legible(figure)


def test_names_of_any_length_and_images_of_any_shape_fit(check_legible):
    long = "ein sehr langer Name einer Klasse, den niemand gäbe " * 2
    rows = {long: [cropped(caption="ein_langer_dateiname_" * 6), cropped(height=200, width=40)], "b": [cropped()]}
    check_legible(crop_gallery(rows))


def test_a_row_without_a_photograph_is_refused():
    with pytest.raises(ValueError, match="each row needs a photograph"):
        crop_gallery({})
    with pytest.raises(ValueError, match="each row needs a photograph"):
        crop_gallery({"MONOCYTE": []})
