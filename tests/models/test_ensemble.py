"""Several models joined to one: the same probabilities, also after saving and loading."""

import keras
import numpy as np
import pytest

from bloodcell.comparison.combination import FLOOR, Mixture, Stack
from bloodcell.images.reading import read_image
from bloodcell.models.backbones import build_backbone
from bloodcell.models.classifier import build_classifier
from bloodcell.models.ensemble import join_models
from bloodcell.models.heads import build_head
from bloodcell.models.preparing import CropImages

K = 4


def network(seed: int, *, size: int = 24, scale: float = 1.0, crop: bool = False) -> keras.Model:
    """A small classifier of raw images, with layers that work differently in training, named as all classifiers are."""
    keras.utils.set_random_seed(seed)
    raw = keras.Input((None, None, 3), dtype="uint8", name="image")
    if crop:
        pixels = CropImages(crop="nucleus", size=size, interpolation="bilinear", name="crop")(raw)
    else:
        pixels = keras.layers.Resizing(size, size, dtype="float32", name="resize")(keras.ops.cast(raw, "float32"))
    maps = keras.layers.Conv2D(6, 5, strides=3, activation="relu", name="maps")(pixels / 64.0)
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.BatchNormalization()(maps))
    head = keras.layers.Dense(K, activation="softmax", name="probabilities")
    outputs = head(keras.layers.Dropout(0.5)(features))
    head.set_weights([scale * np.random.default_rng(seed).normal(size=(6, K)), np.zeros(K)])
    return keras.Model(raw, outputs, name="classifier")


@pytest.fixture(scope="module")
def images(bccd) -> np.ndarray:
    """Four real images, 240 x 320."""
    return np.stack([read_image(min(folder.iterdir())) for folder in sorted((bccd / "TRAIN").iterdir())])


@pytest.fixture(scope="module")
def members() -> list[list[keras.Model]]:
    """Three members: one model, two models of folds, and one with a larger input."""
    return [[network(1)], [network(2), network(3)], [network(4, size=32)]]


def outputs(members, images) -> np.ndarray:
    return np.stack([np.mean([model(images, training=False) for model in models], axis=0) for models in members])


def test_the_joined_model_gives_the_weighted_mean(members, images):
    weights = np.array([0.5, 0.2, 0.3])
    joined = join_models(members, weights=weights)
    expected = Mixture(weights=weights).combine(outputs(members, images))
    np.testing.assert_allclose(joined.predict(images, verbose=0), expected, atol=1e-6)
    assert np.ptp(expected, axis=0).max() > 0.01  # the images are distinguished


def test_the_joined_model_stacks_as_it_was_fitted(members, images):
    rng = np.random.default_rng(0)
    stack = Stack(kernel=rng.normal(size=(3 * K, K)), bias=rng.normal(size=K))
    joined = join_models(members, kernel=stack.kernel, bias=stack.bias, floor=FLOOR)
    expected = stack.combine(outputs(members, images))
    np.testing.assert_allclose(joined.predict(images, verbose=0), expected, atol=1e-5)


def test_a_certain_member_does_not_break_a_stack(images):
    certain = [[network(1, scale=1e3)], [network(2)]]
    stack = Stack(kernel=np.vstack([np.eye(K), np.eye(K)]), bias=np.zeros(K))
    assert outputs(certain, images).min() < FLOOR
    joined = join_models(certain, kernel=stack.kernel, bias=stack.bias, floor=FLOOR)
    expected = stack.combine(outputs(certain, images))
    np.testing.assert_allclose(joined.predict(images, verbose=0), expected, atol=1e-5)


def test_it_takes_raw_images_of_any_size_and_can_be_saved_and_loaded(members, images, tmp_path):
    joined = join_models(members, weights=np.array([0.5, 0.2, 0.3]))
    joined.save(tmp_path / "ensemble.keras")
    loaded = keras.models.load_model(tmp_path / "ensemble.keras", compile=False)
    for batch in (images, images[:1, :100, :77]):
        np.testing.assert_allclose(loaded.predict(batch, verbose=0), joined.predict(batch, verbose=0), atol=1e-6)
    assert loaded.input.dtype == "uint8"
    assert loaded.input.shape == (None, None, None, 3)


def test_it_has_no_trainable_weights(members):
    assert join_models(members, weights=np.array([0.5, 0.2, 0.3])).trainable_weights == []


def test_members_with_weight_zero_are_left_out(members, images):
    joined = join_models(members, weights=np.array([0.0, 0.0, 1.0]))
    (last,) = members[2]
    assert joined.count_params() == last.count_params() + K * K
    np.testing.assert_allclose(joined.predict(images, verbose=0), last.predict(images, verbose=0), atol=1e-6)


def test_an_ensemble_with_bloodcells_layers_can_be_loaded(images, tmp_path):
    cropped = network(1, crop=True)
    measured = build_backbone(name="colour_histogram", input_size=32, weights=None)
    histogram = build_classifier(measured, build_head(n_classes=K)).whole
    joined = join_models([[cropped], [histogram]], weights=np.array([0.5, 0.5]))
    joined.save(tmp_path / "ensemble.keras")
    loaded = keras.models.load_model(tmp_path / "ensemble.keras", compile=False)
    np.testing.assert_allclose(loaded.predict(images, verbose=0), joined.predict(images, verbose=0), atol=1e-6)


def test_members_and_weights_are_required():
    with pytest.raises(ValueError, match="at least one member"):
        join_models([], weights=np.array([]))
    with pytest.raises(ValueError, match="at least one member"):
        join_models([[]], weights=np.array([1.0]))
    with pytest.raises(ValueError, match="either weights"):
        join_models([[network(1)]])
