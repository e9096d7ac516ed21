import keras
import numpy as np
import pytest

from bloodcell.cells.crop import crop
from bloodcell.data.pipeline import resize
from bloodcell.errors import UserError
from bloodcell.images.reading import read_image
from bloodcell.models.backbones import Network, build_backbone
from bloodcell.models.classifier import Classifier, build_classifier
from bloodcell.models.feature_sets import image_features
from bloodcell.models.heads import build_head


@pytest.fixture(scope="module")
def backbone() -> Network:
    return build_backbone(name="MobileNetV2", input_size=32, weights=None)


def make_distinguishing(classifier: Classifier, resized: np.ndarray) -> None:
    """Give the head weights that distinguish two images; random backbones hardly do."""
    maps = classifier.backbone.application(classifier.backbone.preprocess(resized.copy()))
    features = np.asarray(classifier.head.pool([maps]))
    difference = features[0] - features[1]
    kernel = np.outer(difference / (difference @ difference), [-2, -1, 1, 2])
    classifier.head.stack[-1].set_weights([kernel, -features.mean(axis=0) @ kernel])


def classify(backbone, *, pooling="max", standardise=False, **changes) -> Classifier:
    return build_classifier(backbone, build_head(n_classes=4, pooling=pooling, standardise=standardise), **changes)


@pytest.fixture(scope="module")
def classifier(backbone, resized) -> Classifier:
    made = classify(backbone)
    make_distinguishing(made, resized)
    return made


@pytest.fixture(scope="module")
def raw(bccd) -> np.ndarray:
    """Two real images, 240 x 320."""
    folders = sorted((bccd / "TRAIN").iterdir())
    return np.stack([read_image(min(folder.iterdir())) for folder in folders[:2]])


@pytest.fixture(scope="module")
def resized(raw) -> np.ndarray:
    return resize(raw, input_size=32, interpolation="bilinear").numpy()


def statistics(backbone: Network) -> list[np.ndarray]:
    return [weight.numpy() for weight in backbone.application.weights if weight.name.startswith("moving_")]


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_the_saved_model_resizes_as_the_input_pipeline_does(backbone, raw, interpolation):
    classifier = classify(backbone, interpolation=interpolation)
    prepared = resize(raw, input_size=32, interpolation=interpolation).numpy()
    make_distinguishing(classifier, prepared)
    np.testing.assert_allclose(classifier.whole(raw), classifier.core(prepared), atol=1e-5)


def test_the_saved_model_distinguishes_images_of_any_size(classifier, raw):
    whole, cropped = np.asarray(classifier.whole(raw)), np.asarray(classifier.whole(raw[:, 40:140, 60:210]))
    assert whole.argmax(axis=1).tolist() == [3, 0]
    assert np.abs(whole - cropped).max() > 1e-3
    np.testing.assert_allclose(whole.sum(axis=1), 1, atol=1e-5)


def test_the_saved_model_shares_its_weights_with_the_trained_one(classifier, raw, resized):
    probabilities = classifier.head.stack[-1]
    before = probabilities.get_weights()
    probabilities.bias.assign([0, 0, 50, 0])
    assert np.asarray(classifier.core(resized)).argmax(axis=1).tolist() == [2, 2]
    assert np.asarray(classifier.whole(raw)).argmax(axis=1).tolist() == [2, 2]
    probabilities.set_weights(before)


@pytest.mark.parametrize("way", ["called", "predict", "loaded and called"])
def test_a_model_is_in_inference_mode_however_it_is_called(classifier, raw, resized, tmp_path, way):
    before = statistics(classifier.backbone)
    expected = classifier.core.predict(resized, verbose=0)
    if way == "loaded and called":
        classifier.whole.save(tmp_path / "model.keras")
        model = keras.models.load_model(tmp_path / "model.keras")
    else:
        model = classifier.whole
    probabilities = model.predict(raw, verbose=0) if way == "predict" else model(raw)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    for now, then in zip(statistics(classifier.backbone), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("boundary", [None, 0, 100, 153])
def test_layers_below_the_boundary_are_frozen_and_the_head_never_is(classifier, boundary):
    model = classifier.trainable_core(boundary=boundary, train_statistics=False)
    application = classifier.backbone.application
    frozen = len(application.layers) if boundary is None else boundary
    above = [weight for layer in application.layers[frozen:] for weight in layer.trainable_weights]
    expected = [*above, *classifier.head.stack[-1].weights]
    assert {id(weight) for weight in model.trainable_weights} == {id(weight) for weight in expected}
    assert not [layer.name for layer in application.layers[:frozen] if layer.trainable]


@pytest.mark.parametrize("train_statistics", [False, True])
def test_a_trained_backbone_is_in_inference_mode_unless_it_learns_statistics(classifier, resized, train_statistics):
    model = classifier.trainable_core(boundary=0, train_statistics=train_statistics)
    before = [weight.numpy() for weight in classifier.backbone.application.weights]
    expected = np.asarray(classifier.core(resized))
    trained = np.asarray(model(resized, training=True))
    same = all(
        np.array_equal(now.numpy(), then)
        for now, then in zip(classifier.backbone.application.weights, before, strict=True)
    )
    classifier.backbone.application.set_weights(before)
    assert same is not train_statistics
    assert np.allclose(trained, expected, atol=1e-5) is not train_statistics
    np.testing.assert_allclose(model(resized, training=False), expected, atol=1e-5)


TAPS = ("block_6_expand_relu", "block_13_expand_relu")


def test_a_backbone_ends_at_the_last_tap():
    backbone = build_backbone(name="MobileNetV2", input_size=32, weights=None, taps=TAPS)
    assert [output.shape[-1] for output in backbone.outputs] == [192, 576]
    assert backbone.application.layers[-1].name == "block_13_expand_relu"


def test_a_tap_must_output_feature_maps():
    for tap in ("block_99", "input_layer"):
        with pytest.raises(UserError, match=r"^backbone\.taps: "):
            build_backbone(name="MobileNet", input_size=32, weights=None, taps=(tap,))


@pytest.mark.parametrize("pooling", ["both", "cell"])
@pytest.mark.parametrize("boundary", [None, "block_3_expand", "block_10_expand"])
def test_stored_features_give_the_predictions_of_the_whole_model(raw, pooling, boundary):
    backbone = build_backbone(name="MobileNetV2", input_size=64, weights=None, taps=TAPS)
    classifier = classify(
        backbone, pooling=pooling, crop="nucleus", extra_features=("colour_histogram",), standardise=True
    )
    names = [layer.name for layer in backbone.application.layers]
    index = None if boundary is None else names.index(boundary)
    cropped = np.stack([resize(crop(image, "nucleus"), input_size=64, interpolation="bilinear") for image in raw])
    measured = np.stack([image_features(image, ("colour_histogram",)) for image in raw])
    rows = np.asarray(classifier.frozen_part(index)(cropped))
    assert rows.shape == (2, classifier.feature_width(index))
    features = np.hstack([rows[:, classifier.used_columns(index)], measured])
    expected = np.asarray(classifier.whole(raw))
    np.testing.assert_allclose(classifier.trained_part(index)(features), expected, atol=1e-5)
    np.testing.assert_allclose(classifier.core([cropped, measured]), expected, atol=1e-5)
    assert np.abs(expected[0] - expected[1]).max() > 1e-4


def test_without_a_network_the_saved_model_measures_raw_images(raw):
    backbone = build_backbone(name="morphology", input_size=224, weights=None)
    classifier = classify(backbone)
    measured = np.stack([image_features(image, ("morphology",)) for image in raw])
    np.testing.assert_allclose(classifier.whole(raw), classifier.core(measured), atol=1e-5)
    np.testing.assert_allclose(classifier.trained_part(None)(measured), classifier.core(measured), atol=1e-5)


def test_extra_features_that_the_backbone_has_are_not_repeated():
    backbone = build_backbone(name="morphology", input_size=224, weights=None)
    classifier = classify(backbone, extra_features=("colour_histogram", "morphology"))
    assert classifier.feature_sets == ("morphology", "colour_histogram")


def test_a_model_that_crops_and_measures_predicts_the_same_after_loading(raw, tmp_path):
    backbone = build_backbone(name="MobileNetV2", input_size=32, weights=None, taps=TAPS)
    classifier = classify(backbone, pooling="cell", crop="nucleus", extra_features=("colour_histogram",))
    classifier.whole.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(raw), classifier.whole(raw), atol=1e-6)


@pytest.mark.parametrize(("policy", "scaled"), [("mixed_float16", True), ("mixed_bfloat16", False)])
def test_the_loss_is_scaled_if_layers_compute_in_float16(policy, scaled):
    keras.config.set_dtype_policy(policy)
    try:
        classifier = classify(build_backbone(name="VGG16", input_size=32, weights=None))
    finally:
        keras.config.set_dtype_policy("float32")
    model = classifier.trainable_core(boundary=None, train_statistics=False)
    model.compile(optimizer="adam", loss="categorical_crossentropy")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) is scaled
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
