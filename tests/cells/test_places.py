"""Where the cell is in an image."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bloodcell.cells.places import NOWHERE, cell_places
from bloodcell.smears import render_photograph


def test_the_place_is_that_of_the_nucleus_at_any_size(tmp_path: Path) -> None:
    photographs = [render_photograph("LYMPHOCYTE", slide=slide, seed=0) for slide in range(4)]
    pixels = [each.image for each in photographs]
    files = []
    for number, image in enumerate([*pixels, np.asarray(Image.fromarray(pixels[0]).resize((640, 480)))]):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(image).save(files[-1])
    empty = tmp_path / "empty.png"
    Image.new("RGB", (320, 240), (220, 210, 215)).save(empty)
    places = cell_places([*files, empty], [hashlib.sha256(file.read_bytes()).hexdigest() for file in [*files, empty]])
    for photograph, place in zip(photographs, places[:4], strict=True):
        rows, columns = np.nonzero(photograph.nucleus)
        assert place[:2] == pytest.approx([columns.mean() / 320, rows.mean() / 240], abs=0.02)
        assert place[2] * 320 == pytest.approx((len(rows) / np.pi) ** 0.5, rel=0.2)
        assert place[3] * 240 == pytest.approx(place[2] * 320, rel=1e-3)
    assert places[4] == pytest.approx(places[0], abs=0.01)
    assert places[5].tolist() == list(NOWHERE)
    assert cell_places([], []).shape == (0, 4)
