import keras
import numpy as np
import pytest

from bloodcell.cells.crop import crop
from bloodcell.data.pipeline import resize
from bloodcell.images.reading import read_image
from bloodcell.models.feature_sets import image_features
from bloodcell.models.preparing import CropImages, MeasureImages


@pytest.fixture(scope="module")
def raw(bccd) -> np.ndarray:
    """Three real images, 240 x 320, and one without a cell."""
    folders = sorted((bccd / "TRAIN").iterdir())
    return np.stack(
        [*(read_image(min(folder.iterdir())) for folder in folders[:3]), np.full((240, 320, 3), 220, np.uint8)]
    )


def model(raw_to: keras.Layer) -> keras.Model:
    image = keras.Input((None, None, 3), dtype="uint8")
    return keras.Model(image, raw_to(image))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_images_are_cropped_and_resized_as_in_the_input_pipeline(raw, interpolation):
    made = model(CropImages(crop="nucleus", size=40, interpolation=interpolation))
    expected = [resize(crop(image, "nucleus"), input_size=40, interpolation=interpolation) for image in raw]
    assert made.output_shape == (None, 40, 40, 3)
    np.testing.assert_array_equal(made(raw), np.stack(expected))


def test_images_are_measured_one_by_one(raw):
    made = model(MeasureImages(kinds=["morphology", "colour_histogram"]))
    expected = np.stack([image_features(image, ("morphology", "colour_histogram")) for image in raw])
    assert made.output_shape == (None, expected.shape[1])
    np.testing.assert_array_equal(made(raw), expected)


@pytest.mark.parametrize(
    "layer",
    [CropImages(crop="nucleus", size=40, interpolation="bilinear"), MeasureImages(kinds=["majority", "morphology"])],
    ids=["crop", "measure"],
)
def test_a_layer_can_be_built_from_its_configuration(raw, layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    expected = np.asarray(model(layer)(raw))
    made = model(again)
    np.testing.assert_array_equal(made.predict(raw, batch_size=3, verbose=0), expected)
    assert not again.supports_jit  # or Keras would have XLA compile it on a GPU, which XLA cannot
    assert made(raw[:0]).shape[0] == 0
