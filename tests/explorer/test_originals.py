"""The files of the explored images: only those that a run recorded."""

import hashlib

import pytest

from bloodcell.explorer.originals import Originals
from bloodcell.images.reading import UnreadableImage


@pytest.fixture
def image(bccd):
    file = next(bccd.glob("TRAIN/*/*.jpeg"))
    return file.relative_to(bccd).as_posix(), hashlib.sha256(file.read_bytes()).hexdigest()


def test_an_image_is_read_if_its_content_is_what_the_run_recorded(bccd, image, tmp_path):
    path, sha256 = image
    originals = Originals(folders=[tmp_path, bccd], paths=[path], sha256s=[sha256])
    assert originals.pixels(0).shape == (240, 320, 3)
    assert originals.files() == [(bccd / path, sha256)]
    assert originals.missing() == ([], 1)


@pytest.mark.parametrize("sha256", ["", "0" * 64])
def test_an_image_with_another_content_or_without_a_record_is_not_read(bccd, image, sha256):
    originals = Originals(folders=[bccd], paths=[image[0]], sha256s=[sha256])
    with pytest.raises(UnreadableImage):
        originals.pixels(0)
    assert originals.files() == [None]
    assert originals.missing() == ([image[0]], 1)
