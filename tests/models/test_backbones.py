import functools
import importlib
import pickle
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest

from bloodcell.data.pipeline import resize
from bloodcell.errors import UserError
from bloodcell.images.reading import read_image
from bloodcell.models import backbones
from bloodcell.models.applications import applications
from bloodcell.models.backbones import build_backbone
from bloodcell.models.classifier import Classifier, build_classifier
from bloodcell.models.heads import build_head

SMALLEST = {
    "MobileNetV2": 32,
    "Xception": 71,
    "ResNet50": 32,
    "ResNet50V2": 32,
    "EfficientNetV2B0": 32,
    "DenseNet121": 32,
    "MobileNetV3Large": 32,
    "VGG16": 32,
    "InceptionV3": 75,
}
PREPROCESSED_INSIDE = ("EfficientNetV2B0", "MobileNetV3Large")
RELOADED = ("MobileNetV2", "VGG16", "DenseNet121", "EfficientNetV2B0")
"""One for each kind of preprocessing."""

LOAD = """
import sys
from pathlib import Path
sys.modules["bloodcell"] = None  # importing it fails
import keras, numpy as np
folder = Path(sys.argv[1])
images = np.load(folder / "images.npy")
np.savez(folder / "loaded.npz", **{file.stem: keras.models.load_model(file)(images) for file in folder.glob("*.keras")})
"""


class Probabilities(NamedTuple):
    """Probabilities of one architecture for the same images, computed in different ways."""

    core: np.ndarray
    by_hand: np.ndarray
    without_preprocessing: np.ndarray
    whole: np.ndarray


def informative_head(classifier: Classifier, features: np.ndarray) -> None:
    """Scale the head's weights so that probabilities differ; outputs of random backbones are tiny or huge."""
    (probabilities,) = classifier.head.stack
    kernel = np.random.default_rng(0).normal(size=(features.shape[1], 4))
    probabilities.set_weights([kernel / np.linalg.norm(features, axis=1).max() * 2, np.zeros(4)])


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def raw(bccd) -> np.ndarray:
    """Two real images, 240 x 320."""
    folders = sorted((bccd / "TRAIN").iterdir())
    return np.stack([read_image(min(folder.iterdir())) for folder in folders[:2]])


@pytest.fixture(scope="module")
def folder(raw, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    np.save(folder / "images.npy", raw)
    return folder


@pytest.fixture(scope="module")
def probabilities(raw, folder):
    """Build an architecture once, save it, and return its predictions."""

    @functools.cache
    def of(name: str) -> Probabilities:
        size = SMALLEST[name]
        keras.utils.set_random_seed(0)
        backbone = build_backbone(name=name, input_size=size, weights=None)
        classifier = build_classifier(backbone, build_head(n_classes=4))
        resized = resize(raw, input_size=size, interpolation="bilinear").numpy()

        def features(images: np.ndarray) -> np.ndarray:
            return np.asarray(backbone.application(images, training=False)).mean(axis=(1, 2))

        preprocess = importlib.import_module(applications()[name]).preprocess_input
        preprocessed, unchanged = features(preprocess(resized.copy())), features(resized)
        informative_head(classifier, preprocessed)
        kernel = classifier.head.stack[0].kernel.numpy()
        if name in RELOADED:
            classifier.whole.save(folder / f"{name}.keras")
        return Probabilities(
            core=np.asarray(classifier.core(resized)),
            by_hand=softmax(preprocessed @ kernel),
            without_preprocessing=softmax(unchanged @ kernel),
            whole=np.asarray(classifier.whole(raw)),
        )

    return of


@pytest.fixture(scope="module")
def loaded(probabilities, folder):
    """Predictions of the saved models in a process with Keras and without bloodcell."""
    for name in RELOADED:
        probabilities(name)
    subprocess.run([sys.executable, "-c", LOAD, str(folder)], check=True)
    return np.load(folder / "loaded.npz")


@pytest.mark.parametrize("name", SMALLEST)
def test_preprocessing_is_inside_the_model(name, probabilities):
    made = probabilities(name)
    np.testing.assert_allclose(made.core, made.by_hand, atol=1e-4)
    if name not in PREPROCESSED_INSIDE:
        assert np.abs(made.core - made.without_preprocessing).max() > 1e-2


@pytest.mark.parametrize("name", SMALLEST)
def test_the_saved_model_takes_raw_images_of_any_size(name, probabilities):
    made = probabilities(name)
    np.testing.assert_allclose(made.whole, made.core, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", RELOADED)
def test_a_saved_model_predicts_the_same_with_only_keras_installed(name, probabilities, loaded):
    np.testing.assert_allclose(loaded[name], probabilities(name).whole, atol=1e-5)


@pytest.mark.parametrize(("name", "too_small"), [("MobileNetV2", 16), ("Xception", 70), ("InceptionV3", 32)])
def test_an_input_size_that_is_too_small_is_refused_in_one_line(name, too_small):
    with pytest.raises(UserError, match=rf"^backbone.input_size={too_small}: {name} does not support it \(.+\)$"):
        build_backbone(name=name, input_size=too_small, weights=None)


def test_automatic_layer_names_do_not_depend_on_earlier_models():
    keras.utils.clear_session()
    names = [layer.name for layer in build_backbone(name="Xception", input_size=71, weights=None).application.layers]
    assert [name for name in names if name.startswith("conv2d")] == ["conv2d", "conv2d_1", "conv2d_2", "conv2d_3"]


@pytest.fixture
def downloads(tmp_path, monkeypatch) -> Path:
    """An empty folder for Keras's downloads, without network access."""
    for setting in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(setting, "http://127.0.0.1:9")
    for setting in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(setting, raising=False)
    monkeypatch.setattr("urllib.request._opener", None)  # made once, with the proxies of then
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))  # read once
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def refused_imagenet() -> str:
    with pytest.raises(UserError) as caught:
        build_backbone(name="MobileNetV2", input_size=96, weights="imagenet")
    line = str(caught.value)
    assert "\n" not in line
    assert "internet access" in line
    assert "backbone.weights=FILE" in line
    assert "backbone.weights=null" in line
    return line


WANTED = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_96_no_top.h5"


def test_weights_that_cannot_be_downloaded_are_named_with_advice(downloads):
    line = refused_imagenet()
    begin = f"backbone.weights=imagenet: MobileNetV2's weights file {WANTED}: cannot be downloaded: [Errno"
    assert line.startswith(begin)
    assert f"copy it into {downloads} here" in line


def test_a_damaged_download_is_named_with_advice(downloads):
    (downloads / WANTED).write_bytes(b"half a file")
    line = refused_imagenet()
    assert line.startswith(f"backbone.weights=imagenet: MobileNetV2's weights file in {downloads}: damaged")
    assert "delete it and try again" in line


def test_a_download_is_reused_offline(downloads):
    source = build_backbone(name="MobileNetV2", input_size=96, weights=None)
    source.application.save(downloads / WANTED)
    backbone = build_backbone(name="MobileNetV2", input_size=96, weights="imagenet")
    assert (backbone.weights, backbone.digest) == ("imagenet", source.digest)


def test_auto_is_imagenet_if_available(downloads):
    source = build_backbone(name="MobileNetV2", input_size=96, weights=None)
    source.application.save(downloads / WANTED)
    backbone = build_backbone(name="MobileNetV2", input_size=96, weights="auto")
    assert (backbone.weights, backbone.digest, backbone.fallback_reason) == ("imagenet", source.digest, "")


def test_auto_falls_back_to_included_weights_and_says_why(downloads):
    backbone = build_backbone(name="MobileNetV2", input_size=96, weights="auto", taps=["block_6_expand_relu"])
    own = build_backbone(name="MobileNetV2", input_size=96, weights="smears")
    assert (backbone.weights, backbone.digest) == ("smears", own.digest)
    assert f"{WANTED}: cannot be downloaded: [Errno" in backbone.fallback_reason
    assert own.fallback_reason == ""
    assert backbone.outputs[0].shape == (None, 12, 12, 96)


def test_auto_does_not_wait_for_a_host_that_never_answers(downloads, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        for setting in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(setting, f"http://127.0.0.1:{mute.getsockname()[1]}")
        monkeypatch.setattr(backbones, "DOWNLOAD_TIMEOUT", 0.2)
        assert build_backbone(name="MobileNetV2", input_size=96, weights="auto").weights == "smears"
    assert socket.getdefaulttimeout() is None


def test_included_weights_are_small_and_for_one_backbone(downloads):
    file, _ = backbones.INCLUDED_WEIGHTS["MobileNetV2"]
    assert file.stat().st_size < 3e6
    with pytest.raises(UserError, match=r"^backbone.weights=smears: exists only for MobileNetV2, not for Xception"):
        build_backbone(name="Xception", input_size=96, weights="smears")
    with pytest.raises(UserError, match=r"^backbone.weights=imagenet: Xception's weights file"):
        build_backbone(name="Xception", input_size=96, weights="auto")


def test_the_error_for_unavailable_weights_can_be_pickled(downloads):
    with pytest.raises(UserError) as caught:
        build_backbone(name="Xception", input_size=96, weights="auto")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
