import keras
import pytest

from bloodcell.models.backbones import build_backbone
from bloodcell.models.classifier import Classifier, build_classifier
from bloodcell.models.cost import measure_cost, measure_work
from bloodcell.models.heads import build_head

MOBILENET_PARAMETERS = 2_257_984  # without the top, as Keras's documentation counts them


@pytest.fixture(scope="module")
def mobilenet() -> Classifier:
    backbone = build_backbone(name="MobileNetV2", input_size=224, weights=None)
    return build_classifier(backbone, build_head(n_classes=4, dropout=0.2))


@pytest.fixture(scope="module")
def cost(mobilenet):
    return measure_cost(mobilenet, batch_size=1, seconds=0.1)


def test_mobilenetv2_has_the_operations_of_its_paper(cost):
    # 300 million multiply-adds (Sandler et al. 2018, table 4), each counted as two.
    assert cost.flops == pytest.approx(0.6e9, rel=0.05)


def test_parameters_and_their_size_are_counted(cost):
    head = 1280 * 4 + 4
    assert cost.parameters == MOBILENET_PARAMETERS + head
    assert cost.megabytes == pytest.approx(4e-6 * (MOBILENET_PARAMETERS + head))


def test_speed_is_measured(cost):
    assert cost.images_per_second > 0


def test_operations_of_one_convolution_are_exact():
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.Conv2D(5, 3, padding="same", use_bias=False)(image))
    assert measure_work(model, batch_size=1, seconds=0.01).flops == 2 * 8 * 8 * 5 * 3 * 3 * 3


def test_backbone_and_head_together_have_the_operations_of_the_whole():
    backbone = build_backbone(name="MobileNetV2", input_size=32, weights=None)
    extra = ["colour_histogram"]
    for pooling in ("both", "cell"):
        head = build_head(n_classes=4, hidden_units=[8], pooling=pooling, standardise=True)
        classifier = build_classifier(backbone, head, extra_features=extra)
        whole = measure_work(classifier.core, batch_size=2, seconds=0.0)
        assert measure_cost(classifier, batch_size=2, seconds=0.0).flops == whole.flops // 2
