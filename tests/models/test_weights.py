import warnings
from pathlib import Path

import keras
import numpy as np
import pytest

from bloodcell.errors import UserError
from bloodcell.models.backbones import Network, build_backbone
from bloodcell.models.classifier import build_classifier
from bloodcell.models.heads import build_head
from bloodcell.models.weights import digest_of


@pytest.fixture(scope="module")
def source() -> Network:
    return build_backbone(name="MobileNetV2", input_size=32, weights=None)


def save(application: keras.Model, file: Path) -> None:
    """Save the weights, or the model if the suffix says so."""
    write = application.save_weights if file.name.endswith(".weights.h5") else application.save
    write(file)


def refusal(weights: Path) -> str:
    """Return the message for an unusable file, after checking its common parts."""
    with warnings.catch_warnings(action="error"), pytest.raises(UserError) as caught:
        build_backbone(name="MobileNetV2", input_size=32, weights=str(weights))
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"backbone.weights={weights}: MobileNetV2's weights file {weights.name}: ")
    for way_out in ("let Keras download it once", "backbone.weights=FILE", "backbone.weights=null"):
        assert way_out in line
    return line


# The second is what Keras downloads, the third a whole model.
@pytest.mark.parametrize("name", ["mine.weights.h5", "mine.h5", "mine with space.keras"])
def test_weights_are_loaded_from_any_file_that_keras_writes(name, source, tmp_path):
    file = tmp_path / name
    save(source.application, file)
    backbone = build_backbone(name="mobilenetv2", input_size=48, weights=str(file))
    assert backbone.weights == name
    assert backbone.digest == source.digest
    for loaded, saved in zip(backbone.application.get_weights(), source.application.get_weights(), strict=True):
        np.testing.assert_array_equal(loaded, saved)


def test_a_weights_file_may_be_in_the_home_folder(source, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    source.application.save_weights(tmp_path / "mine.weights.h5")
    backbone = build_backbone(name="MobileNetV2", input_size=32, weights="~/mine.weights.h5")
    assert backbone.digest == source.digest


def test_random_weights_are_named_random_and_differ_each_time(source):
    other = build_backbone(name="MobileNetV2", input_size=32, weights=None)
    assert (source.weights, other.weights) == ("random", "random")
    assert source.digest != other.digest


def test_a_digest_changes_with_any_weight(source):
    changed = build_backbone(name="MobileNetV2", input_size=32, weights=None)
    changed.application.set_weights(source.application.get_weights())
    last = changed.application.layers[-2].moving_variance
    last.assign(last + keras.ops.one_hot(0, last.shape[0]) * 1e-3)
    assert digest_of(changed.application.get_weights()) != source.digest


def test_a_missing_file_is_named(tmp_path):
    assert "no such file" in refusal(tmp_path / "nowhere.h5")


@pytest.mark.parametrize("name", ["notes.txt", "notes.h5", "notes.weights.h5", "notes.keras"])
def test_a_file_without_weights_is_named(name, tmp_path):
    (tmp_path / name).write_text("this is text")
    assert "not weights of mobilenetv2" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["other.weights.h5", "other.h5"])
def test_weights_of_another_architecture_are_refused(name, tmp_path):
    other = build_backbone(name="MobileNet", input_size=32, weights=None).application
    save(other, tmp_path / name)
    assert "not weights of mobilenetv2" in refusal(tmp_path / name)


def test_weights_of_a_whole_classifier_are_refused(source, tmp_path):
    classifier = build_classifier(source, build_head(n_classes=4))
    classifier.core.save_weights(tmp_path / "best.weights.h5")
    assert "not weights of mobilenetv2" in refusal(tmp_path / "best.weights.h5")
