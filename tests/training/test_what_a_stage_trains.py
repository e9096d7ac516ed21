import keras
import numpy as np
import pytest
from keras.layers import BatchNormalization

from bloodcell.composition import compose_config
from bloodcell.data.augmentation import Augmentation
from bloodcell.data.pipeline import Samples
from bloodcell.data.sources import load_bccd
from bloodcell.data.splits import notebook_split
from bloodcell.models.backbones import build_backbone
from bloodcell.models.blocks import boundary_at_block
from bloodcell.models.classifier import build_classifier
from bloodcell.training.determinism import make_deterministic
from bloodcell.training.stages import Stage
from bloodcell.training.trainer import predict, train

N_CLASSES = 4


@pytest.fixture(scope="module")
def samples(bccd):
    images = load_bccd(root=bccd, on_bad_image="error")
    manifest = notebook_split(images.manifest, fraction=0.2)

    def of(split):
        rows = manifest[manifest["split"] == split]
        return Samples(
            files=images.files(rows),
            labels=images.class_indices(rows),
            n_classes=N_CLASSES,
            input_size=32,
            interpolation="bilinear",
        )

    return {split: of(split) for split in ("train", "val")}


@pytest.fixture
def classifier():
    make_deterministic(0)
    backbone = build_backbone(name="MobileNetV2", input_size=32, weights=None)
    return build_classifier(
        backbone=backbone,
        pooling="both",
        hidden_units=(8,),
        dropout=0.1,
        n_classes=N_CLASSES,
        interpolation="bilinear",
    )


def settings(*overrides):
    return compose_config("train", ["data.root=x", "hyperparameters.batch_size=16", *overrides]).hyperparameters


def fit(classifier, samples, stages, folder, *overrides, **arguments):
    return train(
        classifier,
        train_samples=samples["train"],
        val_samples=samples["val"],
        augmentation=Augmentation(horizontal_flip=True),
        stages=stages,
        settings=settings(*overrides),
        folder=folder,
        **arguments,
    )


def weights_of(layers):
    return [[np.array(weight) for weight in layer.weights] for layer in layers]


def changed(layers, before):
    return [
        any((np.array(weight) != old).any() for weight, old in zip(layer.weights, olds, strict=True))
        for layer, olds in zip(layers, before, strict=True)
    ]


HEAD = Stage(name="head", boundary=None, epochs=1, learning_rate=1e-2)


def test_the_head_stage_changes_the_head_and_nothing_of_the_backbone(classifier, samples, tmp_path):
    layers = classifier.backbone.application.layers
    before, head = weights_of(layers), weights_of(classifier.stack)
    fit(classifier, samples, [HEAD], tmp_path, "hyperparameters.early_stopping.restore_best=false")
    assert not any(changed(layers, before))
    assert any(changed(classifier.stack, head))


def test_a_stage_changes_what_is_above_its_boundary_and_no_statistics(classifier, samples, tmp_path):
    layers = classifier.backbone.application.layers
    boundary = boundary_at_block(classifier.backbone.application, "block_15")
    tune = Stage(name="tune", boundary=boundary, epochs=1, learning_rate=1e-2)
    norms = [layer for layer in layers if isinstance(layer, BatchNormalization)]
    before, statistics = weights_of(layers), [np.array(norm.moving_mean) for norm in norms]
    fit(classifier, samples, [tune], tmp_path, "hyperparameters.early_stopping.restore_best=false")
    assert not any(changed(layers[:boundary], before[:boundary]))
    assert any(changed(layers[boundary:], before[boundary:]))
    for norm, mean in zip(norms, statistics, strict=True):
        np.testing.assert_array_equal(np.array(norm.moving_mean), mean)


def test_a_stage_that_says_so_learns_statistics_above_its_boundary_only(classifier, samples, tmp_path):
    layers = classifier.backbone.application.layers
    boundary = boundary_at_block(classifier.backbone.application, "block_15")
    tune = Stage(name="tune", boundary=boundary, epochs=1, learning_rate=1e-3, train_statistics=True)
    means = {layer.name: np.array(layer.moving_mean) for layer in layers if isinstance(layer, BatchNormalization)}
    fit(classifier, samples, [tune], tmp_path, "hyperparameters.early_stopping.restore_best=false")
    above = {layer.name for layer in layers[boundary:]}
    moved = {name for name, mean in means.items() if (np.array(_layer(layers, name).moving_mean) != mean).any()}
    assert moved
    assert moved <= above


def test_a_training_ends_with_the_weights_of_its_best_epoch_over_all_stages(classifier, samples, tmp_path):
    stages = [HEAD, Stage(name="again", boundary=None, epochs=2, learning_rate=1.0)]
    heard = []
    trained = fit(classifier, samples, stages, tmp_path, listeners=[heard.append])
    history = trained.history
    assert history["epoch"].tolist() == [0, 1, 2]
    assert history["stage"].tolist() == ["head", "again", "again"]
    assert [epoch.epoch for epoch in heard] == [0, 1, 2]
    assert trained.best_epoch == history["val_loss"].idxmin()
    probabilities = predict(classifier.core, samples["val"], batch_size=16, description="checking")
    losses = -np.log(probabilities[np.arange(len(probabilities)), samples["val"].labels])
    assert losses.mean() == pytest.approx(history["val_loss"].min(), abs=1e-4)
    best = classifier.core.get_weights()
    classifier.core.load_weights(tmp_path / "last.weights.h5")
    classifier.core.load_weights(tmp_path / "best.weights.h5")
    for kept, loaded in zip(best, classifier.core.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, loaded)


def test_a_stage_stops_early_by_its_own_patience(classifier, samples, tmp_path):
    hopeless = Stage(name="hopeless", boundary=None, epochs=8, learning_rate=5.0)
    patience = "hyperparameters.early_stopping.patience=1"
    trained = fit(classifier, samples, [HEAD, hopeless], tmp_path, "hyperparameters.optimizer=sgd", patience)
    assert len(trained.history) < 9


def test_mixed_precision_puts_out_single_precision(samples, tmp_path):
    from bloodcell.models.precision import precision

    make_deterministic(0)
    with precision(mixed=True):
        backbone = build_backbone(name="MobileNetV2", input_size=32, weights=None)
        mixed = build_classifier(
            backbone=backbone,
            pooling="average",
            hidden_units=(),
            dropout=0.0,
            n_classes=N_CLASSES,
            interpolation="bilinear",
        )
    assert keras.config.dtype_policy().name == "float32"
    fit(mixed, samples, [HEAD], tmp_path)
    probabilities = predict(mixed.core, samples["val"], batch_size=16, description="checking")
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def _layer(layers, name):
    return next(layer for layer in layers if layer.name == name)
