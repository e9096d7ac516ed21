import pytest

from bloodcell.models.backbones import build_backbone
from bloodcell.models.blocks import boundary_at_block
from bloodcell.models.classifier import Classifier, build_classifier
from bloodcell.models.heads import build_head
from bloodcell.models.summary import summarise


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    backbone = build_backbone(name="MobileNetV2", input_size=64, weights=None)
    return build_classifier(backbone, build_head(n_classes=4, pooling="both", hidden_units=(16,), dropout=0.2))


def test_a_frozen_backbone_is_one_block_and_the_head_follows_layer_by_layer(classifier):
    rows = summarise(classifier, boundary=None)
    assert [row.name for row in rows] == [
        *("image", "resize", "preprocess", "backbone", "pooling"),
        *("dropout_1", "hidden_1", "dropout", "probabilities"),
    ]
    backbone = rows[3]
    assert (backbone.kind, backbone.output_shape, backbone.trainable) == ("MobileNetV2", "2 x 2 x 1280", False)
    assert rows[-1].output_shape == "4"
    assert rows[4].output_shape == "2560"


def test_a_backbone_is_divided_at_the_first_trained_layer(classifier):
    application = classifier.backbone.application
    rows = summarise(classifier, boundary=boundary_at_block(application, "block_13"))
    below, above = rows[3:5]
    assert (below.output_shape, below.trainable) == ("4 x 4 x 96", False)
    assert (above.name, above.output_shape, above.trainable) == ("backbone from block_13_expand", "2 x 2 x 1280", True)
    assert below.parameters + above.parameters == application.count_params()


def test_a_backbone_that_is_trained_from_its_first_layer_is_one_block(classifier):
    rows = summarise(classifier, boundary=0)
    (backbone,) = [row for row in rows if row.kind == "MobileNetV2"]
    assert backbone.trainable
    assert backbone.parameters == classifier.backbone.application.count_params()


@pytest.mark.parametrize("boundary", [None, 0, 100])
def test_every_parameter_is_in_one_block(classifier, boundary):
    rows = summarise(classifier, boundary=boundary)
    assert sum(row.parameters for row in rows) == classifier.core.count_params()
