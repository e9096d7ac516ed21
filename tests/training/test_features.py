"""Features are computed once, and again only if an input changed."""

import hashlib
import shutil
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image
from training import tiny

from bloodcell.data.augmentation import Augmentation
from bloodcell.data.pipeline import Samples, view_batches
from bloodcell.errors import UserError
from bloodcell.models.backbones import build_backbone
from bloodcell.models.classifier import build_classifier
from bloodcell.models.heads import build_head
from bloodcell.models.precision import precision
from bloodcell.training import engines, features
from bloodcell.training.feature_store import FeatureStore, StoreFullError
from bloodcell.training.trainer import predict, train

FLIPS = Augmentation(horizontal_flip=True, rotation=90)


@pytest.fixture(scope="module")
def data(bccd) -> tiny.Data:
    return tiny.data(bccd)


@pytest.fixture
def classifier():
    keras.utils.set_random_seed(0)
    return tiny.classifier()


def first(samples: Samples, count: int) -> Samples:
    return replace(samples, files=samples.files[:count], digests=samples.digests[:count], labels=samples.labels[:count])


def test_features_are_the_frozen_layers_output_for_images_and_views(classifier, data, tmp_path):
    cache = tiny.cache(classifier, tmp_path)
    for boundary in (None, 6):
        frozen = classifier.frozen_part(boundary)
        for augmentation, views in ((None, [0]), (FLIPS, [1, 2])):
            found = cache.features(data.val, boundary=boundary, augmentation=augmentation, n_views=len(views))
            for number, view in enumerate(views):
                n = len(data.val)
                (images,) = view_batches(
                    data.val,
                    indices=np.arange(n),
                    views=np.full(n, view),
                    augmentation=augmentation or Augmentation(),
                    seed=features.VIEWS_SEED,
                    batch_size=n,
                ).as_numpy_iterator()
                expected = np.asarray(frozen(images))[:, classifier.used_columns(boundary)]
                np.testing.assert_allclose(found.rows[found.places[:, number]], expected, atol=1e-5)


def test_nothing_is_computed_twice(classifier, data, tmp_path):
    cache = tiny.cache(classifier, tmp_path)
    cache.features(first(data.val, 5), boundary=None)
    cache.features(data.val, boundary=None)
    again = tiny.cache(classifier, tmp_path)
    again.features(data.val, boundary=None)
    again.features(first(data.val, 3), boundary=None)
    assert (cache.n_computed, again.n_computed) == (len(data.val), 0)


def test_more_views_do_not_change_existing_ones(classifier, data, tmp_path):
    cache = tiny.cache(classifier, tmp_path)
    two = cache.features(data.val, boundary=None, augmentation=FLIPS, n_views=2)
    three = cache.features(data.val, boundary=None, augmentation=FLIPS, n_views=3)
    assert cache.n_computed == 3 * len(data.val)
    np.testing.assert_array_equal(three.places[:, :2], two.places)


def test_copies_of_a_file_are_one_image(classifier, data, tmp_path):
    twice = replace(
        data.val,
        files=[*data.val.files] * 2,
        digests=[*data.val.digests] * 2,
        labels=np.concatenate([data.val.labels] * 2),
    )
    cache = tiny.cache(classifier, tmp_path)
    cache.features(twice, boundary=None)
    assert cache.n_computed == len(data.val)


def test_every_input_is_in_the_key(data, tmp_path, monkeypatch):
    keras.utils.set_random_seed(0)
    backbone = tiny.backbone()
    samples = first(data.val, 2)
    asked = {"boundary": 6, "augmentation": FLIPS, "n_views": 1}

    def computed(model=None, on=samples, **changes) -> int:
        ours = {name: changes.pop(name) for name in list(changes) if name in ("engine", "dtype")}
        cache = tiny.cache(model or classify(), tmp_path, **ours)
        cache.features(on, **asked | changes)
        return cache.n_computed

    def classify(**head):
        return build_classifier(backbone, build_head(n_classes=4, **head))

    assert computed() == 2
    # Layers above the boundary, and the head, change nothing.
    assert computed(classify(pooling="both", hidden_units=(8,))) == 0
    layer = backbone.application.get_layer("block_3_conv")
    layer.set_weights([weight + 1 for weight in layer.get_weights()])
    assert computed() == 0

    changed = tmp_path / "changed.png"
    Image.open(samples.files[0]).transpose(Image.Transpose.ROTATE_90).save(changed)
    digest = hashlib.sha256(changed.read_bytes()).hexdigest()
    assert computed(on=replace(samples, files=[changed, samples.files[1]], digests=[digest, samples.digests[1]])) == 1
    assert computed(n_views=2) == 2
    assert computed(augmentation=replace(FLIPS, rotation=91.0)) == 2
    assert computed(augmentation=None) == 2
    assert computed(on=replace(samples, interpolation="nearest")) == 2
    assert computed(boundary=7) == 2
    assert computed(boundary=None) == 2
    assert computed(dtype="float16") == 2
    assert computed(engine="openvino") == 2
    for module, constant in ((features, "AUGMENTATION_VERSION"), (features, "DECODER_VERSION")):
        with monkeypatch.context() as patch:
            patch.setattr(module, constant, 99)
            assert computed() == 2
    with monkeypatch.context() as patch:
        for package in ("none", "keras", "tensorflow", "pillow", "openvino"):
            for module in (features, engines.importlib.metadata):
                patch.setattr(module, "version", lambda name, package=package: "99" if name == package else "1")
            assert computed(engine="openvino") == 2, package
        assert computed(engine="openvino") == 0
    with precision(mixed=True):
        mixed = tiny.classifier()
    mixed.backbone.application.set_weights(backbone.application.get_weights())
    assert computed(mixed) == 2
    below = backbone.application.get_layer("block_1_conv")
    below.set_weights([weight + 1 for weight in below.get_weights()])
    assert computed() == 2
    assert computed() == 0


def test_the_layer_is_in_the_key_also_if_weights_are_equal(data, tmp_path):
    whole, computed = tiny.backbone(), []
    for name in ("block_3_bn", "block_3_relu"):
        output = whole.application.get_layer(name).output
        tapped = replace(whole, application=keras.Model(whole.application.input, output, name="tiny"))
        cache = tiny.cache(build_classifier(tapped, build_head(n_classes=4)), tmp_path)
        cache.features(first(data.val, 2), boundary=None)
        computed.append(cache.n_computed)
    assert computed == [2, 2]


def test_backbones_and_sizes_have_different_keys(data, tmp_path):
    names = set()
    for name, size in (("MobileNetV2", 32), ("MobileNetV2", 48), ("MobileNet", 32)):
        backbone = build_backbone(name=name, input_size=size, weights=None)
        model = build_classifier(backbone, build_head(n_classes=4))
        cache = tiny.cache(model, tmp_path)
        cache.features(replace(first(data.val, 1), input_size=size), boundary=None)
        assert cache.n_computed == 1
        names |= {use.name for use in cache._store.usage()}
    assert len(names) == 3


def test_damaged_features_are_computed_again(classifier, data, tmp_path):
    tiny.cache(classifier, tmp_path).features(data.val, boundary=None)
    (rows,) = tmp_path.glob("*/rows")
    content = bytearray(rows.read_bytes())
    content[5] ^= 1
    rows.write_bytes(content[:-3])
    cache = tiny.cache(classifier, tmp_path)
    found = cache.features(data.val, boundary=None)
    assert cache.n_computed == 2
    fresh = tiny.cache(classifier, tmp_path / "fresh").features(data.val, boundary=None)
    np.testing.assert_allclose(found.rows[found.places[:, 0]], fresh.rows[fresh.places[:, 0]], atol=1e-6)


@pytest.mark.parametrize("boundary", [None, 6])
def test_openvino_computes_what_keras_computes(classifier, data, tmp_path, boundary):
    found = [
        tiny.cache(classifier, tmp_path, engine=engine).features(data.val, boundary=boundary)
        for engine in ("tensorflow", "openvino")
    ]
    np.testing.assert_allclose(*(one.rows[one.places[:, 0]] for one in found), atol=1e-4)


def wrong(self, images):
    return np.full((len(images), 32), 1.0, np.float32)


def test_an_engine_that_differs_is_refused_with_the_difference(classifier, data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(engines._OpenVino, "__call__", wrong)
    with pytest.raises(UserError, match=r"features\.engine=openvino: openvino \S+ differs from Keras by \d.*0\.01"):
        tiny.cache(classifier, tmp_path, engine="openvino").features(data.val, boundary=None)
    cache = tiny.cache(classifier, tmp_path, engine="auto")
    cache.features(data.val, boundary=None)
    assert cache.engine.startswith("tensorflow")
    assert "as features.engine=auto now does" in capsys.readouterr().err


def test_features_that_half_precision_cannot_hold_are_refused(classifier, data, tmp_path):
    layer = classifier.backbone.application.get_layer("block_3_bn")
    layer.gamma.assign(1e8 * np.ones(16))
    with pytest.raises(UserError, match=r"features\.dtype=float16: .* too large"):
        tiny.cache(classifier, tmp_path, dtype="float16").features(data.val, boundary=None)


def test_without_room_features_are_computed_on_the_fly_and_a_note_says_so(classifier, data, tmp_path, capsys):
    cache = tiny.cache(classifier, tmp_path / "features", max_bytes=1000)
    with pytest.raises(StoreFullError):
        cache.features(data.val, boundary=None)
    learner = tiny.learner(classifier, cache=cache)
    trained = train(learner, train_samples=data.train, val_samples=data.val, folder=tmp_path)
    assert "head: features are not stored" in capsys.readouterr().err
    assert trained.inputs["head"].startswith("on the fly (they would take 0.0 GB of 0.0 GB")
    assert predict(learner, data.val, description="predicting").shape == (20, 4)


class Busy(FeatureStore):
    """A store to which another process adds after each removal."""

    def make_room(self, n_bytes, *, for_table):
        super().make_room(n_bytes, for_table=for_table)
        if n_bytes:
            self.other()


def test_two_processes_that_add_at_once_keep_the_limit_when_one_has_ended(classifier, data, tmp_path):
    tiny.cache(classifier, tmp_path / "one").features(data.val, boundary=None)
    (one,) = FeatureStore(tmp_path / "one").usage()
    limit = 1.5 * one.n_bytes
    cache = tiny.cache(classifier, tmp_path / "both")
    cache._store = Busy(tmp_path / "both", max_bytes=limit)
    other = tiny.cache(classifier, tmp_path / "both", dtype="float16", max_bytes=limit)
    cache._store.other = lambda: other.features(data.val, boundary=None)
    assert len(cache.features(data.val, boundary=None).places) == len(data.val)
    assert other.n_computed == cache.n_computed == len(data.val)
    assert len(cache._store.usage()) == 2  # both are in use
    cache._store.other = other = None
    (own,) = (use for use in cache._store.usage() if use.recipe["dtype"] == "float32")
    cache._store.make_room(0, for_table=SimpleNamespace(name=own.name))
    assert cache._store.usage() == [own]
    assert own.n_bytes <= limit


def test_a_stage_that_trains_all_layers_is_on_the_fly(classifier, data, tmp_path):
    cache = tiny.cache(classifier, tmp_path / "features")
    stages = [tiny.head(), tiny.tuning(classifier, "block_2"), tiny.tuning(classifier, "block_1")]
    learner = tiny.learner(classifier, *stages, augmentation=FLIPS, cache=cache, n_views=2)
    trained = train(learner, train_samples=data.train, val_samples=data.val, folder=tmp_path)
    stored = f"stored ({cache.engine}, 2 views of each image)"
    assert trained.inputs == {"head": stored, "from block_2": stored, "from block_1": "on the fly"}
    shutil.rmtree(tmp_path / "features")
    assert predict(learner, data.val, description="predicting").shape == (20, 4)


def test_stored_and_on_the_fly_are_equal_without_augmentation(data, tmp_path):
    found = []
    for kind in ("stored", "on the fly"):
        keras.utils.set_random_seed(0)
        model = tiny.classifier()
        learner = tiny.learner(
            model,
            tiny.head(3),
            tiny.tuning(model, "block_2", epochs=2),
            settings=tiny.settings(batch_size=40, restore_best=False),  # one batch: the order has no effect
            cache=tiny.cache(model, tmp_path / "features") if kind == "stored" else None,
        )
        train(learner, train_samples=data.train, val_samples=data.val, folder=tmp_path)
        found.append(predict(learner, data.val, description="predicting"))
    np.testing.assert_allclose(*found, atol=1e-4)


def test_an_image_that_changed_after_its_digest_is_not_stored(classifier, data, tmp_path):
    changed = tmp_path / "changed.png"
    Image.open(data.val.files[0]).transpose(Image.Transpose.ROTATE_90).save(changed)
    samples = replace(first(data.val, 2), files=[changed, data.val.files[1]])
    cache = tiny.cache(classifier, tmp_path)
    with pytest.raises(UserError, match=r"changed\.png: "):
        cache.features(samples, boundary=None)
    assert cache.n_computed == 0
