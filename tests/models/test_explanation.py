import keras
import numpy as np
import pytest

from bloodcell.cells.crop import crop_to_nucleus
from bloodcell.errors import UserError
from bloodcell.models.backbones import build_backbone
from bloodcell.models.classifier import Classifier, build_classifier
from bloodcell.models.explanation import METHODS, explain, explain_each
from bloodcell.models.heads import build_head
from bloodcell.models.loaded import networks_in

SIDE = 64
KINDS = {
    "whole photograph": {"pooling": "average"},
    "hidden layer": {"pooling": "max", "hidden_units": (8,)},
    "crop": {"pooling": "both", "crop": "nucleus"},
    "taps": {"pooling": "average", "taps": ("block_6_expand_relu", "block_13_expand_relu")},
    "everything": {
        "pooling": "cell",
        "taps": ("block_6_expand_relu", "block_13_expand_relu"),
        "crop": "nucleus",
        "extra_features": ("colour_histogram",),
        "standardise": True,
        "projection": 6,
    },
}


def smear(*, x: int, y: int, height: int = 120, width: int = 160) -> np.ndarray:
    """A violet disc on a grey ground with pink ones."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(215, 3, (height, width, 3))
    rows, columns = np.mgrid[:height, :width]
    for left, top in ((30, 30), (130, 100), (90, 15)):
        pixels[(rows - top) ** 2 + (columns - left) ** 2 < 10**2] = (225, 170, 175)
    pixels[(rows - y) ** 2 + (columns - x) ** 2 < 18**2] = (110, 60, 160)
    return pixels.clip(0, 255).astype(np.uint8)


def classifier(
    *, name: str = "MobileNetV2", taps: tuple[str, ...] = (), crop="none", extra_features=(), **head
) -> Classifier:
    keras.utils.set_random_seed(3)
    made = build_classifier(
        build_backbone(name=name, input_size=SIDE, weights=None, taps=taps),
        build_head(n_classes=3, **head),
        crop=crop,
        extra_features=extra_features,
    )
    if made.head.projection is not None:
        kernel = made.head.projection.kernel
        kernel.assign(keras.random.normal(kernel.shape))
    return made


@pytest.fixture(scope="module", params=KINDS)
def kept(request) -> keras.Model:
    return classifier(**KINDS[request.param]).whole


@pytest.fixture(scope="module")
def plain() -> keras.Model:
    return classifier(**KINDS["whole photograph"]).whole


def test_heat_has_the_photographs_size_and_probabilities_are_the_models(kept):
    photographs = [smear(x=60, y=70), smear(x=90, y=50, height=100, width=180)]
    for pixels, explanation in zip(photographs, explain_each(kept, photographs), strict=True):
        assert explanation.heat.shape == pixels.shape[:2]
        assert explanation.heat.dtype == np.float32
        assert explanation.heat.min() >= 0
        assert explanation.heat.max() == 1
        assert explanation.heat[explanation.peak[::-1]] == 1
        np.testing.assert_allclose(explanation.probabilities, kept(pixels[np.newaxis])[0], atol=1e-5)
        assert explanation.class_index == explanation.probabilities.argmax()


def test_a_loaded_model_has_the_same_explanation(kept, tmp_path):
    pixels = smear(x=60, y=70)
    before = explain(kept, pixels)
    kept.save(tmp_path / "model.keras")
    after = explain(keras.saving.load_model(tmp_path / "model.keras"), pixels)
    np.testing.assert_allclose(after.heat, before.heat, atol=1e-3)
    assert after.layer == before.layer


def test_there_is_no_heat_outside_the_crop():
    model, pixels = classifier(**KINDS["crop"]).whole, smear(x=120, y=90, height=240, width=320)
    shown = crop_to_nucleus(pixels)
    assert shown.found
    heat = explain(model, pixels).heat
    heat[shown.top : shown.top + shown.side, shown.left : shown.left + shown.side] = 0
    assert not heat.any()


@pytest.mark.parametrize("where", [(30, 85), (125, 40)])
@pytest.mark.parametrize("method", METHODS)
def test_heat_is_at_the_evidence(where, method):
    made = classifier(name="VGG16", pooling="average", taps=("block3_conv1",))
    ground, pixels = smear(x=-100, y=-100), smear(x=where[0], y=where[1])
    shown = np.concatenate([networks_in(made.whole)[0].prepare([each[np.newaxis]])[0] for each in (pixels, ground)])
    maps = np.asarray(made.backbone.application(made.backbone.preprocess(shown)))
    # The channel with the largest excess at the disc.
    channel = (maps[0] - maps[1].max(axis=(0, 1))).max(axis=(0, 1)).argmax()
    kernel = np.zeros((maps.shape[-1], 3))
    kernel[channel, 0] = 1.0
    made.head.stack[-1].set_weights([kernel, np.zeros(3)])
    x, y = explain(made.whole, pixels, class_index=0, method=method).peak
    assert (x - where[0]) ** 2 + (y - where[1]) ** 2 < 25**2


def test_a_linear_heads_maps_give_its_probabilities():
    made = classifier(**KINDS["taps"])
    pixels = smear(x=60, y=70)
    network = networks_in(made.whole)[0]
    inputs = network.prepare([pixels[np.newaxis]])
    maps = network.application(network.preprocess(inputs[0]))
    logits = network.logits(maps, inputs)
    np.testing.assert_allclose(keras.ops.softmax(logits), made.whole(pixels[np.newaxis]), atol=1e-5)
    explanation = explain(made.whole, pixels, method="hirescam")
    assert explanation.layer == "outputs"


def test_classes_have_different_heat(plain):
    pixels = smear(x=60, y=70)
    heats = [explain(plain, pixels, class_index=index).heat for index in range(3)]
    assert np.abs(heats[0] - heats[1]).max() > 0.1
    assert np.abs(heats[1] - heats[2]).max() > 0.1


def test_many_photographs_are_explained_as_single_ones(plain):
    photographs = [smear(x=20 + 5 * index, y=60) for index in range(18)]
    together = explain_each(plain, photographs, class_indices=[index % 3 for index in range(18)])
    alone = explain(plain, photographs[17], class_index=17 % 3)
    np.testing.assert_allclose(together[17].heat, alone.heat, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("MobileNetV2", "block_12_add"),
        ("VGG16", "block5_conv3"),
        ("MobileNet", "conv_pw_11_relu"),
        ("ResNet50", "conv4_block6_add"),
        ("EfficientNetV2B0", "block5e_add"),
    ],
)
def test_the_default_layer_is_the_end_of_the_last_fine_block(name, layer):
    (network,) = networks_in(classifier(name=name, pooling="average").whole)
    assert network.last_fine_layer() == layer


def test_any_layer_with_feature_maps_can_be_explained(plain):
    pixels = smear(x=60, y=70)
    for layer in ("block_13_expand_relu", "block_9_depthwise", "out_relu", "outputs"):
        explanation = explain(plain, pixels, layer=layer)
        assert explanation.layer == layer
        assert explanation.heat.max() == 1


@pytest.mark.parametrize("layer", ["block_99", "probabilities", "input_layer"])
def test_an_unsuitable_layer_is_refused(plain, layer):
    with pytest.raises(UserError, match=f"layer={layer}: "):
        explain(plain, smear(x=60, y=70), layer=layer)


def test_an_ensemble_is_explained_by_the_mean_of_its_members():
    members = [
        classifier(**KINDS["whole photograph"]).whole,
        classifier(extra_features=["morphology"]).whole,
    ]
    members.append(classifier(name="colour_histogram").whole)
    raw = keras.Input((None, None, 3), dtype="uint8")
    named = [keras.Model(each.input, each.output, name=f"classifier_{n}") for n, each in enumerate(members)]
    mean = keras.Model(raw, keras.layers.Average()([each(raw) for each in named]))
    pixels = smear(x=60, y=70)
    explanation = explain(mean, pixels)
    np.testing.assert_allclose(explanation.probabilities, mean(pixels[np.newaxis])[0], atol=1e-5)
    index = explanation.class_index
    expected = np.mean([explain(each, pixels, class_index=index).heat for each in members[:2]], axis=0)
    np.testing.assert_allclose(explanation.heat, expected / expected.max(), atol=1e-3)


def test_a_model_without_a_network_is_explained_by_occlusion():
    model = classifier(name="colour_histogram").whole
    explanation = explain(model, smear(x=60, y=70))
    assert explanation.method == "occlusion"
    assert explanation.heat.shape == (120, 160)
    with pytest.raises(UserError, match="layer=block_12_add: "):
        explain(model, smear(x=60, y=70), layer="block_12_add")


def test_a_constant_model_has_no_heat():
    model = classifier(name="majority").whole
    explanation = explain(model, smear(x=60, y=70))
    assert not explanation.heat.any()
    assert explanation.peak is None
