"""Images of more than 8 bits a channel, and of several pages."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bloodcell.images.address import Address, address_of
from bloodcell.images.reading import UnreadableImage, decode_image, pages_and_bits, read_image

COLOURS = np.array([[(0, 100, 4095), (16, 2048, 4080)]], np.uint16)
"""Red, green and blue of a camera of 12 bits."""


def encoded(values: NDArray[np.generic], kind: str) -> bytes:
    order = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}.get(values.shape[-1] if values.ndim == 3 else 1)
    done, content = cv2.imencode(kind, values if order is None else cv2.cvtColor(values, order))
    assert done
    return content.tobytes()


@pytest.mark.parametrize("kind", [".png", ".tiff"])
def test_of_colours_with_12_bits_the_upper_8_of_these_are_read(kind: str) -> None:
    data = encoded(COLOURS, kind)
    assert pages_and_bits(data) == (1, 12)
    assert decode_image(data).tolist() == (COLOURS >> 4).tolist() == [[[0, 6, 255], [1, 128, 255]]]
    assert decode_image(data, bits=16).tolist() == (COLOURS >> 8).tolist()
    assert decode_image(data, bits=10).max() == 255  # brighter than white is white


@pytest.mark.parametrize("kind", [".png", ".tiff"])
def test_grey_and_opacity_of_12_bits(kind: str) -> None:
    assert decode_image(encoded(COLOURS[..., 1], kind)).tolist() == [[[6] * 3, [128] * 3]]
    opaque = np.dstack([COLOURS, np.full((1, 2), 65535, np.uint16)])
    assert decode_image(encoded(opaque, kind)).tolist() == (COLOURS >> 4).tolist()


@pytest.mark.parametrize(("most", "bits"), [(255, 8), (256, 10), (1023, 10), (4000, 12), (16383, 14), (16384, 16)])
def test_the_depth_is_the_least_of_a_camera_that_holds_all_values(most: int, bits: int) -> None:
    assert pages_and_bits(encoded(np.array([[0, most]], np.uint16), ".png")) == (1, bits)


def test_numbers_with_a_point_are_fractions_of_white_or_counts() -> None:
    assert decode_image(encoded(np.array([[0, 0.5, 1]], np.float32), ".tiff"))[0, :, 0].tolist() == [0, 128, 255]
    assert decode_image(encoded(np.array([[0, 2048, 4000]], np.float32), ".tiff"))[0, :, 0].tolist() == [0, 128, 250]
    assert pages_and_bits(encoded(np.array([[0, 0.5]], np.float32), ".tiff")) == (1, 0)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_16_bits_is_turned_upright(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the first row is the right edge
    content = io.BytesIO()
    Image.fromarray(np.array([[0, 4095]], np.uint16)).save(content, kind, exif=exif)
    assert decode_image(content.getvalue())[..., 0].tolist() == [[0], [255]]


def test_an_address_names_a_page_and_the_bits(tmp_path: Path) -> None:
    file = tmp_path / "stack.tif"
    cv2.imwritemulti(str(file), [encoded_page[..., ::-1] for encoded_page in (COLOURS, COLOURS // 2)])
    assert read_image(file / "2").tolist() == (COLOURS // 2 >> 4).tolist()
    assert read_image(file / "2@16").tolist() == (COLOURS // 2 >> 8).tolist()
    with pytest.raises(UnreadableImage):
        read_image(file / "3")
    for address in (Address("a/b.tif"), Address("a/b.tif", 2), Address("a/b.tif", 1, 12)):
        assert address_of(str(address)) == address
    assert Address("a.tif").digest("0" * 64) == "0" * 64
    assert len({Address("a.tif", page, bits).digest("0" * 64) for page in (1, 2) for bits in (None, 12, 14)}) == 6


def test_a_file_in_a_folder_with_the_name_of_an_image_is_itself(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    Image.new("RGB", (2, 2), "red").save(tmp_path / "a.png" / "2", "PNG")
    assert read_image(tmp_path / "a.png" / "2")[0, 0].tolist() == [255, 0, 0]
