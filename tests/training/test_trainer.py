from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
from training import tiny

from bloodcell.data.pipeline import Samples, evaluation_batches
from bloodcell.data.sampling import source_weights
from bloodcell.errors import UserError
from bloodcell.models.classifier import Classifier
from bloodcell.models.precision import precision
from bloodcell.training.stages import Stage
from bloodcell.training.trainer import Epoch, Trained, predict, predict_orientations, train


@pytest.fixture(autouse=True)
def _seeded() -> None:
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="module")
def data(bccd) -> tiny.Data:
    return tiny.data(bccd)


@pytest.fixture(scope="module")
def unbalanced(data) -> tiny.Data:
    """Ten images of one class, five of another, none of a third, one of the last."""
    counts = {0: 10, 1: 5, 3: 1}
    chosen = np.concatenate([np.flatnonzero(data.train.labels == label)[:count] for label, count in counts.items()])
    files = [data.train.files[index] for index in chosen]
    digests = [data.train.digests[index] for index in chosen]
    return data._replace(train=replace(data.train, files=files, digests=digests, labels=data.train.labels[chosen]))


BOTH = pytest.mark.parametrize("way", ["stored", "on the fly"])
"""Batches of stored features, or of images."""


@pytest.fixture
def way() -> str:
    return "stored"


@pytest.fixture
def fit(data, tmp_path, way):
    """Train a classifier on the images, in place, with stored features or without."""

    def run(
        classifier: Classifier,
        *stages: Stage,
        on: tiny.Data = data,
        listeners=(),
        steps=None,
        solver="gradient",
        l2=0.0,
        **settings,
    ) -> Trained:
        learner = tiny.learner(
            classifier,
            *stages,
            settings=tiny.settings(**settings),
            cache=tiny.cache(classifier, tmp_path / "features") if way == "stored" else None,
            solver=solver,
            l2=l2,
            steps_per_epoch=steps,
        )
        return train(learner, train_samples=on.train, val_samples=on.val, folder=tmp_path, listeners=listeners)

    return run


def probabilities(classifier: Classifier, samples: Samples) -> np.ndarray:
    return predict(tiny.learner(classifier), samples, description="predicting").astype(np.float64)


def cross_entropy(predicted: np.ndarray, samples: Samples, smoothing: float = 0.0) -> np.ndarray:
    """Return the loss of each image."""
    targets = np.eye(4)[samples.labels] * (1 - smoothing) + smoothing / 4
    return -(targets * np.log(predicted)).sum(axis=1)


def val_loss(classifier: Classifier, data: tiny.Data) -> float:
    return float(cross_entropy(probabilities(classifier, data.val), data.val).mean())


def weights(layers) -> dict[str, np.ndarray]:
    return {weight.path: weight.numpy() for layer in layers for weight in layer.weights}


def changed(before: dict[str, np.ndarray], layers) -> set[str]:
    """Return the changed weights, by layer and name."""
    now = weights(layers)
    return {"/".join(path.split("/")[-2:]) for path in before if not np.array_equal(before[path], now[path])}


@BOTH
def test_only_the_head_is_trained_while_the_backbone_is_frozen(fit):
    classifier = tiny.classifier()
    layers = classifier.backbone.application.layers
    before, head = weights(layers), weights(classifier.head.stack)
    fit(classifier, tiny.head(2), weight_decay=0.1)
    assert changed(before, layers) == set()
    assert changed(head, classifier.head.stack) == {"probabilities/kernel", "probabilities/bias"}


@pytest.mark.parametrize(("way", "train_statistics"), [("stored", False), ("on the fly", True)])
def test_a_stage_changes_only_layers_above_its_boundary(fit, train_statistics):
    classifier = tiny.classifier()
    layers = classifier.backbone.application.layers
    before = weights(layers)
    fit(classifier, tiny.tuning(classifier, "block_2", train_statistics=train_statistics), restore_best=False)
    learnt = {"conv/kernel", "conv/bias", "bn/gamma", "bn/beta"}
    learnt |= {"bn/moving_mean", "bn/moving_variance"} if train_statistics else set()
    assert changed(before, layers) == {f"block_{number}_{name}" for number in (2, 3) for name in learnt}


def test_the_learning_curve_continues_over_the_stages(fit):
    classifier = tiny.classifier()
    trained = fit(classifier, tiny.head(2), tiny.tuning(classifier, epochs=2, learning_rate=1e-3))
    history = trained.history
    assert list(history) == list(Epoch.__dataclass_fields__)
    assert history["epoch"].tolist() == [0, 1, 2, 3]
    assert history["stage"].tolist() == ["head", "head", "from block_3", "from block_3"]
    assert history["learning_rate"].tolist() == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3])
    assert history["best"].tolist() == (history["val_loss"] == history["val_loss"].cummin()).tolist()
    assert history["val_accuracy"].between(0, 1).all()
    assert history.notna().all(axis=None)


def test_training_learns(fit):
    classifier = tiny.classifier()
    history = fit(classifier, tiny.tuning(classifier, "block_1", epochs=12, train_statistics=True)).history
    assert history["train_accuracy"].iloc[-1] > history["train_accuracy"].iloc[0] + 0.2
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0] - 0.2


@pytest.mark.parametrize("restore_best", [True, False])
def test_a_training_ends_with_the_best_weights_if_configured(fit, data, restore_best):
    classifier = tiny.classifier()
    ruin = replace(tiny.head(), name="ruin", learning_rate=10.0)
    trained = fit(classifier, tiny.head(2), ruin, restore_best=restore_best)
    losses = trained.history["val_loss"]
    assert trained.best_epoch == losses.idxmin() < 2
    assert losses[2] > losses.min() + 0.1
    expected = losses.min() if restore_best else losses[2]
    assert val_loss(classifier, data) == pytest.approx(expected, rel=1e-4)


def test_a_stage_begins_with_the_best_weights_so_far(fit):
    classifier = tiny.classifier()
    ruin, rest = replace(tiny.head(), learning_rate=10.0), replace(tiny.head(), learning_rate=tiny.NOTHING)
    losses = fit(classifier, tiny.head(2), ruin, rest).history["val_loss"]
    assert losses[3] == pytest.approx(losses[:2].min(), rel=1e-4)


def test_the_best_epoch_can_be_by_accuracy(fit, data):
    classifier = tiny.classifier()
    trained = fit(classifier, tiny.head(4, learning_rate=0.1), monitor="val_accuracy")
    best = trained.history["val_accuracy"].idxmax()
    assert trained.best_epoch == best
    right = probabilities(classifier, data.val).argmax(axis=1) == data.val.labels
    assert right.mean() == pytest.approx(trained.history["val_accuracy"][best])


def test_patience_is_counted_within_each_stage(fit):
    classifier = tiny.classifier()
    stages = [tiny.head(9, tiny.NOTHING), tiny.tuning(classifier, epochs=9, learning_rate=tiny.NOTHING)]
    history = fit(classifier, *stages, patience=2, optimizer="sgd").history
    assert history["stage"].value_counts().to_dict() == {"head": 3, "from block_3": 3}


def test_without_patience_every_epoch_is_trained(fit):
    assert len(fit(tiny.classifier(), tiny.head(5, tiny.NOTHING), optimizer="sgd").history) == 5


def test_label_smoothing_smooths_the_targets(fit, data):
    classifier = tiny.classifier()
    row = fit(classifier, tiny.head(1, tiny.NOTHING), optimizer="sgd", label_smoothing=0.2).history.iloc[0]
    for samples, loss in ((data.train, row["train_loss"]), (data.val, row["val_loss"])):
        predicted = probabilities(classifier, samples)
        assert loss == pytest.approx(cross_entropy(predicted, samples, smoothing=0.2).mean(), rel=1e-4)


@BOTH
def test_balanced_classes_have_equal_weight(fit, unbalanced):
    classifier = tiny.classifier()
    row = fit(
        classifier, tiny.head(1, tiny.NOTHING), optimizer="sgd", on=unbalanced, class_weights="balanced"
    ).history.iloc[0]
    losses = cross_entropy(probabilities(classifier, unbalanced.train), unbalanced.train)
    by_class = [losses[unbalanced.train.labels == label].mean() for label in (0, 1, 3)]
    assert row["train_loss"] == pytest.approx(np.mean(by_class), rel=1e-4)
    assert row["val_loss"] == pytest.approx(val_loss(classifier, unbalanced), rel=1e-4)


@BOTH
def test_an_epoch_can_be_limited_to_a_number_of_steps(fit):
    # A cosine halves the learning rate in the middle of the steps: after one of two, and after three of six.
    cut = fit(tiny.classifier(), tiny.head(2), steps=1, schedule="cosine").history["learning_rate"]
    assert cut.tolist() == pytest.approx([1e-2, 5e-3])
    full = fit(tiny.classifier(), tiny.head(2), steps=99, schedule="cosine").history["learning_rate"]
    assert full.tolist() == pytest.approx([1e-2 * (1 + np.cos(np.pi * step / 6)) / 2 for step in (2, 5)])


def test_checkpoints_have_the_best_and_the_last_epochs_weights(fit, data, tmp_path):
    classifier = tiny.classifier()
    trained = fit(classifier, tiny.head(2), replace(tiny.head(), learning_rate=10.0), restore_best=False)
    other = tiny.classifier()
    other.backbone.application.set_weights(classifier.backbone.application.get_weights())
    losses = trained.history["val_loss"]
    for name, expected in (("best", losses.min()), ("last", losses.iloc[-1])):
        other.trained_part(None).load_weights(tmp_path / f"{name}.weights.h5")
        assert val_loss(other, data) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("steps", [None, 1])  # after one step only the validation loss uses the new weights
def test_a_loss_that_is_not_finite_is_an_error_with_the_learning_rate(fit, steps):
    with pytest.raises(UserError, match=r"^hyperparameters.learning_rate: .*stage head.* 1e\+38; lower it$") as caught:
        fit(tiny.classifier(), tiny.head(2, 1e38), optimizer="sgd", steps=steps)
    assert "\n" not in str(caught.value)


def test_listeners_are_called_once_per_epoch_in_order(fit):
    heard: list[tuple[str, Epoch]] = []
    listeners = [lambda epoch: heard.append(("first", epoch)), lambda epoch: heard.append(("second", epoch))]
    trained = fit(tiny.classifier(), tiny.head(2), tiny.head(1), listeners=listeners)
    assert [(who, epoch.epoch) for who, epoch in heard] == [
        (who, number) for number in range(3) for who in ("first", "second")
    ]
    pd.testing.assert_frame_equal(pd.DataFrame([epoch for who, epoch in heard if who == "first"]), trained.history)


@pytest.mark.parametrize("way", ["on the fly"])
def test_mixed_precision_trains_and_its_probabilities_are_in_single_precision(fit, data):
    with precision(mixed=True):
        classifier = tiny.classifier(dropout=0.1)
    assert classifier.backbone.application.layers[1].compute_dtype in ("bfloat16", "float16")
    tuned = tiny.tuning(classifier, "block_1", epochs=8, train_statistics=True)
    losses = fit(classifier, tiny.head(2), tuned).history["train_loss"]
    assert losses.iloc[-1] < losses.iloc[0]
    assert {weight.dtype for weight in classifier.core.trainable_weights} == {"float32"}
    predicted = predict(tiny.learner(classifier), data.val, description="predicting")
    assert predicted.dtype == np.float32
    np.testing.assert_allclose(predicted.sum(axis=1), 1, atol=1e-6)


def test_predictions_are_in_the_order_of_all_images(data):
    classifier = tiny.classifier()
    predicted = predict(
        tiny.learner(classifier, settings=tiny.settings(batch_size=7)), data.val, description="predicting"
    )
    one_by_one = [np.asarray(classifier.core(images)) for images, _ in evaluation_batches(data.val, batch_size=1)]
    np.testing.assert_allclose(predicted, np.concatenate(one_by_one), atol=1e-5)
    assert predicted.shape == (20, 4)


@pytest.fixture(scope="module")
def copied(data) -> tiny.Data:
    """One class with a photograph of ten images; two others with photographs of one image, seven in total."""
    counts = {0: 10, 1: 5, 3: 2}
    chosen = np.concatenate([np.flatnonzero(data.train.labels == label)[:count] for label, count in counts.items()])
    files = [data.train.files[index] for index in chosen]
    digests = [data.train.digests[index] for index in chosen]
    groups = np.array([0] * 10 + list(range(1, 8)))
    labels = data.train.labels[chosen]
    return data._replace(train=replace(data.train, files=files, digests=digests, labels=labels, sources=groups))


@pytest.mark.parametrize(("way", "class_weights"), [("stored", "balanced"), ("on the fly", "none")])
def test_sampling_by_photographs_gives_classes_equal_weight(fit, copied, class_weights):
    classifier = tiny.classifier()
    head = classifier.head.stack[-1]
    head.kernel.assign(head.kernel * 10)  # otherwise all images' losses are nearly equal
    stage = tiny.head(20, tiny.NOTHING)
    history = fit(
        classifier, stage, optimizer="sgd", on=copied, sampling="photographs", class_weights=class_weights
    ).history
    losses = cross_entropy(probabilities(classifier, copied.train), copied.train)
    expected = np.average(losses, weights=source_weights(copied.train.labels, copied.train.sources))
    assert history["train_loss"].mean() == pytest.approx(expected, rel=0.01)
    assert losses.mean() != pytest.approx(expected, rel=0.02)


def test_a_solved_head_weights_photographs_as_sampling_does(copied, tmp_path):
    """Weights and repeated images give the same head."""
    often = source_weights(copied.train.labels, copied.train.sources) * 30 / 17
    expanded = np.repeat(np.arange(17), np.round(often).astype(int))
    np.testing.assert_allclose(often, np.round(often))
    files, digests = [copied.train.files[i] for i in expanded], [copied.train.digests[i] for i in expanded]
    labels = copied.train.labels[expanded]
    repeated = replace(copied.train, files=files, digests=digests, labels=labels, sources=None)
    found = []
    for number, (samples, sampling) in enumerate([(copied.train, "photographs"), (repeated, "images")]):
        keras.utils.set_random_seed(0)
        classifier = tiny.classifier(standardise=True)
        learner = tiny.learner(
            classifier,
            settings=tiny.settings(sampling=sampling),
            cache=tiny.cache(classifier, tmp_path / "features"),
            solver="lbfgs",
            l2=0.01,
        )
        train(learner, train_samples=samples, val_samples=copied.val, folder=tmp_path / str(number))
        found.append(probabilities(classifier, copied.val))
    np.testing.assert_allclose(found[0], found[1], atol=2e-3)


@BOTH
def test_mixup_is_reproducible_and_changes_the_training(fit):
    def loss(**settings) -> float:
        keras.utils.set_random_seed(0)
        return fit(tiny.classifier(), tiny.head(2), **settings).history["train_loss"].iloc[-1]

    mixed = loss(mixup=0.5)
    assert mixed == loss(mixup=0.5)
    assert mixed != pytest.approx(loss(), rel=1e-5)


def test_cutmix_works_on_the_fly(data, tmp_path):
    learner = tiny.learner(tiny.classifier(), tiny.head(2), settings=tiny.settings(cutmix=1.0))
    trained = train(learner, train_samples=data.train, val_samples=data.val, folder=tmp_path)
    assert trained.history["train_loss"].notna().all()


@pytest.mark.parametrize("restore_best", [True, False])
def test_averaged_weights_are_validated_saved_and_final(fit, data, tmp_path, restore_best):
    classifier = tiny.classifier()
    history = fit(
        classifier, tiny.head(3, 0.3), weight_averaging=0.8, restore_best=restore_best, optimizer="sgd"
    ).history
    expected = history["val_loss"].min() if restore_best else history["val_loss"].iloc[-1]
    assert val_loss(classifier, data) == pytest.approx(expected, rel=1e-4)
    classifier.trained_part(None).load_weights(tmp_path / "last.weights.h5")
    assert val_loss(classifier, data) == pytest.approx(history["val_loss"].iloc[-1], rel=1e-4)
    keras.utils.set_random_seed(0)
    plain = fit(tiny.classifier(), tiny.head(3, 0.3), restore_best=restore_best, optimizer="sgd").history
    assert history["val_loss"].tolist() != pytest.approx(plain["val_loss"].tolist(), rel=1e-5)


def test_averaging_does_not_change_how_weights_are_trained(fit):
    losses = []
    for momentum in (0.0, 0.9):
        keras.utils.set_random_seed(0)
        losses.append(fit(tiny.classifier(), tiny.head(3), weight_averaging=momentum).history["train_loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_lower_blocks_learn_more_slowly(fit):
    """One step of Adam changes every weight by its learning rate."""
    classifier = tiny.classifier()
    kernels = {layer.name: layer.kernel for layer in classifier.backbone.application.layers if hasattr(layer, "kernel")}
    kernels["head"] = classifier.head.stack[-1].kernel
    before = {name: kernel.numpy() for name, kernel in kernels.items()}
    stage = replace(tiny.tuning(classifier, "block_1", learning_rate=1e-3), learning_rate_decay=0.1)
    fit(classifier, stage, steps=1, restore_best=False)
    moved = {name: np.abs(kernel.numpy() - before[name]).max() for name, kernel in kernels.items()}
    expected = {"head": 1e-3, "block_3_conv": 1e-3, "block_2_conv": 1e-4, "block_1_conv": 1e-5}
    assert moved == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("boundary", ["head", "block_2"])
def test_orientations_are_predicted_equally_from_the_store_and_on_the_fly(data, tmp_path, boundary):
    classifier = tiny.classifier()
    stage = tiny.head() if boundary == "head" else tiny.tuning(classifier, boundary)
    stored, flown = (
        predict_orientations(
            tiny.learner(classifier, stage, cache=cache), data.val, n_orientations=8, description="predicting"
        )
        for cache in (tiny.cache(classifier, tmp_path), None)
    )
    assert stored.shape == (8, 20, 4)
    np.testing.assert_allclose(stored, flown, atol=1e-5)
    ((images, _),) = evaluation_batches(data.val, batch_size=20)
    mirrored = np.asarray(classifier.core(images[:, :, ::-1]))
    np.testing.assert_allclose(stored[1], mirrored, atol=1e-5)
    assert np.abs(stored[1] - stored[0]).max() > 1e-4


@pytest.mark.parametrize(("solver", "l2"), [("gradient", 0.0), ("lbfgs", 0.01)])
def test_validation_can_count_each_photograph_once(fit, data, solver, l2):
    groups = np.minimum(np.arange(20), 8)  # the last photograph has twelve images
    grouped = data._replace(val=replace(data.val, sources=groups))
    classifier = tiny.classifier()
    settings = {"counts": "photographs", "class_weights": "balanced", "solver": solver, "l2": l2}
    row = fit(classifier, tiny.head(), on=grouped, **settings).history.iloc[-1]
    penalty = l2 * float(np.square(classifier.head.stack[-1].kernel).sum())
    predicted = probabilities(classifier, data.val)
    losses, right = cross_entropy(predicted, data.val), predicted.argmax(axis=1) == data.val.labels
    weights = 1 / np.bincount(groups)[groups]
    assert row["val_loss"] - penalty == pytest.approx(np.average(losses, weights=weights), rel=1e-4)
    assert row["val_accuracy"] == pytest.approx(np.average(right, weights=weights), rel=1e-4)
    assert row["val_loss"] - penalty != pytest.approx(losses.mean(), rel=1e-5)


def test_a_head_on_projected_features_is_trained_on_what_its_model_computes(fit, data):
    classifier = tiny.classifier(standardise=True, projection=5)
    history = fit(classifier, tiny.head(6, 0.05)).history
    assert val_loss(classifier, data) == pytest.approx(history["val_loss"].min(), rel=1e-4)
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0] - 0.05
