import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from bloodcell.models import kept_backbones
from bloodcell.models.classifier import build_classifier
from bloodcell.models.extractors import FeatureExtractor
from bloodcell.models.heads import build_head
from bloodcell.models.kept_backbones import backbone_of, give, keep_backbone
from bloodcell.training.determinism import make_deterministic


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_backbones, "_kept", {})
    monkeypatch.setattr(kept_backbones, "_unused", set())


def built(*, seed: int = 3, weights: str | None = "smears", stays_frozen: bool = True) -> FeatureExtractor:
    make_deterministic(seed)
    settings = {"name": "MobileNetV2", "input_size": 32, "weights": weights, "taps": ()}
    return backbone_of(**settings, seed=seed, stays_frozen=stays_frozen)


def drawn() -> list[object]:
    """Return random numbers of every generator, and of a head."""
    head = keras.layers.Dense(3)
    head.build((None, 4))
    return [random.random(), np.random.random(), float(tf.random.uniform(())), head.kernel.numpy().tolist()]


def test_a_frozen_backbone_is_built_once_and_what_is_drawn_after_it_is_the_same() -> None:
    first = built(seed=3)
    after_building = drawn()
    assert built(seed=3) is first
    assert drawn() == after_building
    assert built(seed=4) is first
    of_another_seed = drawn()
    kept_backbones._kept.clear()
    assert built(seed=4) is not first
    assert drawn() == of_another_seed != after_building


def test_random_weights_depend_on_the_seed() -> None:
    first = built(seed=3, weights=None)
    assert built(seed=3, weights=None) is first
    assert built(seed=4, weights=None).digest != first.digest


def test_a_backbone_that_is_trained_has_no_other_user() -> None:
    first = built()
    trained = built(stays_frozen=False)
    assert trained.application is not first.application
    before = trained.frozen_digest(None)
    trained.application.weights[0].assign_add(trained.application.weights[0] * 0 + 1)
    assert trained.frozen_digest(None) != before
    assert built() is first


def test_a_backbone_that_was_built_to_check_its_weights_is_trained() -> None:
    make_deterministic(3)
    checked = keep_backbone(name="MobileNetV2", input_size=32, weights="smears", taps=(), seed=3)
    assert built(stays_frozen=False).application is checked.application
    assert built().application is not checked.application


def test_the_backbone_of_a_model_that_a_user_has_is_not_used_again() -> None:
    backbone = built()
    classifier = build_classifier(backbone, build_head(n_classes=2))
    give(classifier)
    for weight in classifier.whole.weights:
        weight.assign(weight * 0)
    assert built().digest == backbone.digest
    assert float(np.abs(built().application.weights[0]).max()) > 0


def test_a_weights_file_that_changed_is_read_again(tmp_path) -> None:
    file = tmp_path / "mine.weights.h5"
    digests = set()
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3)).save_weights(file)
        found = built(weights=str(file))
        assert found is built(weights=str(file))
        digests.add(found.digest)
    assert len(digests) == 2
