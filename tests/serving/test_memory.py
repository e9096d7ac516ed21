"""Images that claim many pixels take the memory of one, however many there are."""

import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from PIL import Image

import bloodcell.serving.loader
import bloodcell.serving.prediction
from bloodcell.serving.loader import ServedModel
from bloodcell.serving.prediction import predict_images


def picture(side: int, level: int = 200) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (side, side), (level, level, level)).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def serving(monkeypatch):
    monkeypatch.setattr(bloodcell.serving.prediction, "_novelty_of", lambda novelty, pixels: (0.0, ""))
    return SimpleNamespace(classes=("A", "B"), temperature=1.0, novelty=None, bits=None, evidence=())


class Model:
    """Probabilities by brightness; remembers how many pixels it got at a time."""

    def __init__(self):
        self.pixels = []

    def __call__(self, images, *, training):
        self.pixels.append(images.shape[0] * images.shape[1] * images.shape[2])
        bright = images.mean(axis=(1, 2, 3)) / 255
        return np.stack([bright, 1 - bright], axis=1)


def test_images_are_decoded_in_parts_and_stay_in_order(serving, monkeypatch):
    monkeypatch.setattr(bloodcell.serving.prediction, "MAX_PIXELS", 250)
    levels = [51, 102, 153, 204, 255]
    contents = [picture(10, level) for level in levels]
    contents.insert(2, b"no image")
    model = Model()
    table = predict_images(model, serving, contents)
    assert model.pixels == [200, 200, 100]
    np.testing.assert_allclose(table["p_A"].dropna(), [0.2, 0.4, 0.6, 0.8, 1.0])
    assert table["answer"].tolist() == ["B", "B", "cannot be read", "A", "A", "A"]
    assert table.index.tolist() == list(range(6))


def test_without_images_there_are_no_rows(serving):
    assert len(predict_images(Model(), serving, [])) == 0


def test_a_request_with_too_many_pixels_is_refused_before_any_is_decoded(serving, monkeypatch):
    monkeypatch.setattr(bloodcell.serving.loader, "MAX_REQUEST", 350)
    model = Model()
    served = ServedModel(model, serving)
    assert len(served.predict(pd.DataFrame({"image": [picture(10)] * 3}))) == 3
    with pytest.raises(MlflowException) as refused:
        served.predict(pd.DataFrame({"image": [picture(10)] * 4}))
    assert refused.value.get_http_status_code() == 400
    assert len(model.pixels) == 1
