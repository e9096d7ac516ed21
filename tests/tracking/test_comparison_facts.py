"""Pictures in a report are of the runs' images only."""

import hashlib
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bloodcell.config.data import FolderData
from bloodcell.tracking.comparison_facts import pictures_of

PATHS = ("grey.png", "text.png", "../secret.png")


@pytest.fixture
def picture(tmp_path):
    (tmp_path / "cells").mkdir()
    wide = np.full((300, 400), 40_000, np.uint16)
    Image.fromarray(wide).save(tmp_path / "cells" / "grey.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (tmp_path / "cells" / "text.png").write_text("no image")
    Image.new("RGB", (8, 8)).save(tmp_path / "cells" / "other.png")
    recorded = {path: hashlib.sha256((tmp_path / "cells" / path).read_bytes()).hexdigest() for path in PATHS}
    recorded["other.png"] = "0" * 64
    changed = recorded | {"grey.png": "1" * 64}  # a run on another file of this name
    config = SimpleNamespace(data=FolderData(train_dir=str(tmp_path / "cells")))
    stored = []
    for number, manifest in enumerate((changed, recorded)):
        file = tmp_path / f"{number}.parquet"
        pd.DataFrame({"path": manifest.keys(), "sha256": manifest.values()}).to_parquet(file)
        stored.append(SimpleNamespace(config=config, read=lambda _, reader, file=file: reader(file)))
    return pictures_of({"run": SimpleNamespace(stored=stored)})


def test_an_image_of_the_set_is_small_and_its_16_bits_are_not_white(picture):
    with Image.open(BytesIO(picture("grey.png"))) as small:
        assert small.size == (320, 240)
        assert 150 < np.asarray(small).mean() < 160


@pytest.mark.parametrize("path", ["../secret.png", "cells/../../secret.png", "gone.png", "text.png", "other.png"])
def test_a_path_outside_the_set_or_without_an_image_has_no_picture(picture, path):
    assert picture(path) is None


def test_an_absolute_path_has_no_picture(picture, tmp_path):
    assert picture(str(tmp_path / "secret.png")) is None
