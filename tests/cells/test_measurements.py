import hashlib

import numpy as np
import pytest
from data.photographs import save

from bloodcell.cells import measurements
from bloodcell.cells.measurements import PROPERTIES, measure_images


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def measured(*files):
    return measure_images(files, [hashlib.sha256(file.read_bytes()).hexdigest() for file in files])


def test_light_changes_the_image_not_the_cell(tmp_path, photographs):
    photograph = photographs(1)[0]
    bright = save(tmp_path, "bright", photograph, quality=98)
    dark = save(tmp_path, "dark", (photograph * 0.8).astype(np.uint8), quality=98)
    other = save(tmp_path, "other", photographs(2)[1], quality=98)
    all_of_them = measured(bright, dark, other)
    brightness = all_of_them.properties[:, PROPERTIES.index("brightness")]
    assert brightness[1] == pytest.approx(0.8 * brightness[0], rel=0.03)
    apart = np.abs(all_of_them.cells - all_of_them.cells[0]).sum(axis=1)
    assert apart[1] < 0.5 * apart[2]


def test_every_number_of_any_image_is_finite(tmp_path):
    rng = np.random.default_rng(0)
    files = [
        save(tmp_path, "black", np.zeros((48, 64, 3), np.uint8)),
        save(tmp_path, "white", np.full((480, 640, 3), 255, np.uint8)),
        save(tmp_path, "noise", rng.integers(0, 256, (100, 30, 3)).astype(np.uint8)),
    ]
    found = measured(*files)
    assert all(np.isfinite(values).all() for values in (found.properties, found.cells, found.ground))


def test_an_image_is_measured_once_and_a_torn_memory_is_made_again(tmp_path, monkeypatch, photographs):
    files = [save(tmp_path, str(number), pixels) for number, pixels in enumerate(photographs(3))]
    first = measured(*files[:2])
    seen = []
    measure = measurements.measure
    monkeypatch.setattr(measurements, "measure", lambda pixels: seen.append(1) or measure(pixels))
    again = measured(*files)
    assert len(seen) == 1
    assert np.array_equal(first.cells, again.cells[:2])
    next((tmp_path / "cache" / "bloodcell").glob("measures*")).write_bytes(b"torn")
    assert np.array_equal(measured(*files).cells, again.cells)
    assert len(seen) == 4


def test_what_was_measured_before_an_interruption_is_kept(tmp_path, monkeypatch, photographs):
    files = [save(tmp_path, str(number), pixels) for number, pixels in enumerate(photographs(4))]
    measure, seen = measurements.measure, []

    def interrupted(pixels):
        seen.append(1)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return measure(pixels)

    monkeypatch.setattr(measurements, "measure", interrupted)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        measured(*files)
    seen.clear()
    monkeypatch.setattr(measurements, "measure", lambda pixels: seen.append(1) or measure(pixels))
    assert np.isfinite(measured(*files).cells).all()
    assert len(seen) == 2
