import hashlib

import numpy as np
import pytest
from data.photographs import save

from bloodcell.config.model import MEASURED
from bloodcell.images.reading import read_image
from bloodcell.models.measured import KINDS, is_kind, measured_images, measured_in, n_columns


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def files(tmp_path, photographs):
    return [save(tmp_path / "images", str(number), pixels) for number, pixels in enumerate(photographs(3))]


def measured(files, *kinds):
    return measured_images(files, [hashlib.sha256(file.read_bytes()).hexdigest() for file in files], kinds)


def test_the_kinds_are_those_that_a_configuration_may_name():
    assert KINDS == MEASURED
    assert all(is_kind(kind) for kind in KINDS)
    assert not is_kind("MobileNetV2")


@pytest.mark.parametrize(
    "kinds", [("majority",), ("colour_histogram",), ("morphology",), ("morphology", "colour_histogram")]
)
def test_images_have_as_many_numbers_as_their_kinds_say(files, kinds):
    rows = measured(files, *kinds)
    assert rows.shape == (3, n_columns(kinds))
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()


def test_the_majority_class_knows_nothing_of_an_image_and_reads_none(tmp_path):
    rows = measured_images([tmp_path / "there is no such file"] * 2, ["0" * 64, "1" * 64], ("majority",))
    np.testing.assert_array_equal(rows, np.zeros((2, 1)))


@pytest.mark.parametrize("kind", KINDS)
def test_one_image_is_measured_as_many_are_also_when_recalled(files, kind):
    rows, recalled = measured(files, kind), measured(files, kind)
    np.testing.assert_array_equal(rows, recalled)
    for row, file in zip(rows, files, strict=True):
        np.testing.assert_array_equal(measured_in(read_image(file), (kind,)), row)


def test_kinds_come_in_the_order_in_which_they_are_asked_for(files):
    one, other = measured(files, "colour_histogram"), measured(files, "morphology")
    np.testing.assert_array_equal(measured(files, "morphology", "colour_histogram"), np.hstack([other, one]))
    np.testing.assert_array_equal(measured(files, "colour_histogram", "morphology"), np.hstack([one, other]))


def test_kinds_tell_images_apart(files):
    for kind in ("colour_histogram", "morphology"):
        rows = measured(files, kind)
        assert len(np.unique(rows, axis=0)) == 3
