"""Heads that are solved, and the frozen layers before them, use the training images only."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from scipy.special import softmax
from sklearn.decomposition import PCA
from training import tiny

from bloodcell.errors import UserError
from bloodcell.models.classifier import build_classifier
from bloodcell.models.heads import build_head
from bloodcell.training.closed_form import closed_form
from bloodcell.training.heads import fit_frozen_layers, solve_head
from bloodcell.training.learner import Learner
from bloodcell.training.projection import principal_components
from bloodcell.training.stage_data import StageFeatures, head_rows


@pytest.fixture(scope="module")
def data(bccd) -> tiny.Data:
    found = tiny.data(bccd)
    return found._replace(train=replace(found.train, groups=np.arange(len(found.train)) // 3))


@pytest.fixture(scope="module")
def backbone():
    keras.utils.set_random_seed(0)
    return tiny.backbone()


def solved(backbone, data: tiny.Data, **changes) -> tuple[Learner, dict[str, float]]:
    head = build_head(n_classes=4, standardise=True, projection=changes.pop("projection", None))
    settings = tiny.settings(class_weights=changes.pop("class_weights", "none"))
    learner = tiny.learner(build_classifier(backbone, head), settings=settings, **changes)
    nothing = StageFeatures(training=None, validation=None, description="")
    fit_frozen_layers(learner, None, data.train)
    return learner, solve_head(learner, nothing, data.train, data.val)


def rows_of(learner: Learner, samples) -> np.ndarray:
    return head_rows(learner.classifier, None, samples, batch_size=16)[0]


@pytest.mark.parametrize(("solver", "l2"), [("ridge", "auto"), ("ridge", 0.3), ("lda", "auto")])
def test_a_head_in_closed_form_predicts_by_its_solution_and_never_sees_validation(backbone, data, solver, l2):
    learner, metrics = solved(backbone, data, solver=solver, l2=l2, class_weights="balanced")
    head, labels = learner.classifier.head, data.train.labels
    rows = head.projected(rows_of(learner, data.train))
    weights = (40 / (4 * np.bincount(labels)))[labels]
    prepared = closed_form(rows, labels, method=solver, n_classes=4, weights=weights)
    kernel = head.stack[-1].kernel.numpy().astype(np.float64)
    found = [prepared.solve(each).kernel for each in (prepared.strengths if l2 == "auto" else [l2])]
    scales = [(each * kernel).sum() / (each**2).sum() for each in found]
    off = [np.abs(scale * each - kernel).max() for scale, each in zip(scales, found, strict=True)]
    assert min(off) < 1e-5 * np.abs(kernel).max()
    assert scales[int(np.argmin(off))] > 0
    predicted = softmax(head.projected(rows_of(learner, data.val)) @ kernel + head.stack[-1].bias.numpy(), axis=1)
    images = np.arange(20)
    assert metrics["val_accuracy"] == (predicted.argmax(axis=1) == data.val.labels).mean()
    assert metrics["val_loss"] == pytest.approx(-np.log(predicted[images, data.val.labels]).mean(), rel=1e-4)
    others = data._replace(val=replace(data.val, labels=(data.val.labels + 1) % 4))
    again, _ = solved(backbone, others, solver=solver, l2=l2, class_weights="balanced")
    np.testing.assert_array_equal(again.classifier.head.stack[-1].kernel, head.stack[-1].kernel)


def test_a_strength_cannot_be_chosen_from_one_group(backbone, data):
    one = data._replace(train=replace(data.train, groups=np.zeros(40, np.int64)))
    with pytest.raises(UserError, match=r"head\.l2=auto"):
        solved(backbone, one, solver="ridge", l2="auto")
    solved(backbone, one, solver="ridge", l2=0.1)


def test_the_projection_is_that_of_the_training_images_in_numpy_and_in_keras(backbone, data):
    learner, _ = solved(backbone, data, solver="lbfgs", l2=0.1, projection=5)
    head = learner.classifier.head
    train, val = (rows_of(learner, each) for each in data)
    fitted = PCA(5, svd_solver="full").fit(head.scaled(train))
    signs = np.sign((fitted.components_ * head.projection.kernel.numpy().T).sum(axis=1))
    expected = fitted.transform(head.scaled(val)) * signs
    np.testing.assert_allclose(head.projected(val), expected, atol=1e-4)
    np.testing.assert_allclose(head.classify(val), head.classify_projected(head.projected(val)), atol=1e-5)
    assert head.stack[-1].kernel.shape == (5, 4)
    before = [each.numpy() for each in head.projection.weights]
    part = learner.classifier.trained_part(None)
    assert {each.path for each in part.trainable_variables} == {each.path for each in head.stack[-1].weights}
    part.compile("sgd", "categorical_crossentropy")
    part.fit(train, np.eye(4)[data.train.labels], verbose=0)
    for one, other in zip(before, head.projection.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    whole = keras.models.clone_model(learner.classifier.core)
    assert sum(layer.name == "projection" for layer in whole.layers) == 1


@pytest.mark.parametrize(("n", "width"), [(40, 6), (20, 50)])
def test_components_are_the_same_for_the_same_images_in_any_order(n, width):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n, width)).astype(np.float32) * np.linspace(1, 5, width, dtype=np.float32)
    kernel, bias = principal_components(rows, 4)
    order = rng.permutation(n)
    again, _ = principal_components(rows[order], 4)
    np.testing.assert_allclose(again, kernel, atol=1e-5)
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(4), atol=1e-5)
    projected = rows @ kernel + bias
    np.testing.assert_allclose(projected.mean(axis=0), 0, atol=1e-4)
    assert (np.diff(projected.var(axis=0)) < 0).all()
    assert (kernel[np.abs(kernel).argmax(axis=0), np.arange(4)] > 0).all()
    counts = 1 + np.arange(n) % 3
    weighted, _ = principal_components(rows, 4, weights=counts.astype(float))
    np.testing.assert_allclose(weighted, principal_components(np.repeat(rows, counts, axis=0), 4)[0], atol=1e-4)


@pytest.mark.parametrize(("n_components", "limit"), [(7, 6), (25, 6)])
def test_more_components_than_features_are_refused(n_components, limit):
    with pytest.raises(UserError, match=rf"head\.projection={n_components}: .*at most {limit}$"):
        principal_components(np.zeros((40, 6), np.float32), n_components)
    with pytest.raises(UserError, match=r"at most 4$"):
        principal_components(np.zeros((5, 6), np.float32), 5)
