"""Loading a saved model runs no code of its file or folder."""

import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from bloodcell.errors import UserError
from bloodcell.models.preparing import CropImages
from bloodcell.models.saved import load_saved_model


def saved(model: keras.Model, folder: Path, **changes) -> Path:
    """Save a model; change entries of its second layer's description."""
    path, changed = folder / "model.keras", folder / "changed.keras"
    model.save(path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(changed, "w") as other:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "config.json":
                config = json.loads(content)
                config["config"]["layers"][1] |= changes
                content = json.dumps(config).encode()
            other.writestr(name, content)
    return changed


@pytest.fixture(scope="module")
def model() -> keras.Model:
    image = keras.Input((None, None, 3), dtype="uint8")
    return keras.Model(
        image, keras.layers.GlobalAveragePooling2D()(CropImages(crop="none", size=8, interpolation="bilinear")(image))
    )


def test_a_model_of_ours_is_loaded(model, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    np.testing.assert_array_equal(load_saved_model(saved(model, tmp_path))(images), model(images))


@pytest.mark.parametrize(
    "changes",
    [
        {"module": "os", "class_name": "system", "registered_name": None},
        {"module": "evil", "class_name": "CropImages", "registered_name": "bloodcell>CropImages"},
        {"module": "keras_evil", "class_name": "Dense", "registered_name": None},
        {"module": "keras.layers", "class_name": "Lambda", "registered_name": None},
        {"module": "keras.layers", "class_name": "TFSMLayer", "registered_name": None},
    ],
)
def test_other_classes_are_refused_by_name(model, tmp_path, changes):
    with pytest.raises(UserError, match=f"changed.keras: has {changes['module']}.{changes['class_name']}, "):
        load_saved_model(saved(model, tmp_path, **changes))


def test_a_file_of_another_kind_is_no_model(tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(ValueError, match=r"not a \.keras file"):
        load_saved_model(path)
