import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

from bloodcell.training.solver import moments, solve_linear

RNG = np.random.default_rng(0)
N, WIDTH = 120, 6


def data(n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping classes."""
    labels = np.arange(N) % n_classes
    features = RNG.normal(size=(N, WIDTH)) + np.eye(WIDTH)[labels % WIDTH]
    return features.astype(np.float32), labels


def gradient(
    features: np.ndarray,
    labels: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray,
    l2: float,
    weights: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradient of Keras's loss of a head, in double precision."""
    keras.utils.clear_session()
    layer = keras.layers.Dense(
        kernel.shape[1],
        activation="softmax",
        kernel_regularizer=keras.regularizers.L2(l2) if l2 else None,
        dtype="float64",
    )
    model = keras.Sequential([keras.Input((features.shape[1],), dtype="float64"), layer])
    layer.set_weights([kernel, bias])
    loss = keras.losses.CategoricalCrossentropy(dtype="float64")
    with tf.GradientTape() as tape:
        targets = tf.one_hot(labels, kernel.shape[1], dtype=tf.float64)
        value = loss(targets, model(features.astype(np.float64)), sample_weight=weights) + sum(model.losses)
    return tuple(np.asarray(part) for part in tape.gradient(value, [layer.kernel, layer.bias]))


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("l2", [0.0, 0.01, 0.3])
@pytest.mark.parametrize("weighed", [False, True])
def test_the_solution_minimises_keras_loss(n_classes, l2, weighed):
    features, labels = data(n_classes)
    weights = np.where(labels == 0, 2.0, 0.5) if weighed else None
    if weights is not None:
        weights = weights / weights.mean()
    kernel, bias = solve_linear(features, labels, n_classes=n_classes, l2=l2, weights=weights)
    assert kernel.shape == (WIDTH, n_classes)
    assert bias.shape == (n_classes,)
    assert kernel.dtype == bias.dtype == np.float32
    for part in gradient(features, labels, kernel, bias, l2, weights):
        assert np.abs(part).max() < 3e-4


@pytest.mark.parametrize("n_classes", [2, 4])
def test_probabilities_are_those_of_scikit_learn(n_classes):
    features, labels = data(n_classes)
    kernel, bias = solve_linear(features, labels, n_classes=n_classes, l2=0.05)
    # With two classes scikit-learn has one weight vector w; here it is -w/2 and w/2, with half the sum of squares.
    expected = LogisticRegression(C=1 / ((1 if n_classes == 2 else 2) * 0.05 * N)).fit(features, labels)
    logits = features @ kernel + bias
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected.predict_proba(features), atol=5e-3)


def test_a_class_without_images_is_never_predicted_and_changes_nothing_for_the_others():
    features, labels = data(3)
    kernel, bias = solve_linear(features, labels, n_classes=3, l2=0.01)
    shifted = np.array([0, 2, 3])[labels]
    wide_kernel, wide_bias = solve_linear(features, shifted, n_classes=5, l2=0.01)
    np.testing.assert_allclose(wide_kernel[:, [0, 2, 3]], kernel)
    np.testing.assert_allclose(wide_bias[[0, 2, 3]], bias)
    logits = features @ wide_kernel + wide_bias
    assert set(logits.argmax(axis=1)) <= {0, 2, 3}
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    assert (probabilities[:, [1, 4]] < 1e-20).all()
    assert np.isfinite(wide_bias).all()


def test_a_single_class_is_always_predicted():
    kernel, bias = solve_linear(np.ones((5, 2), np.float32), np.full(5, 1), n_classes=3, l2=0.01)
    assert not kernel.any()
    assert bias.argmax() == 1


def test_an_image_with_weight_two_counts_twice():
    features, labels = data(3)
    twice = np.where(np.arange(N) < 20, 2.0, 1.0)
    repeated = np.repeat(np.arange(N), twice.astype(int))
    one = solve_linear(features, labels, n_classes=3, l2=0.01, weights=twice)
    other = solve_linear(features[repeated], labels[repeated], n_classes=3, l2=0.01)
    for part, expected in zip(one, other, strict=True):
        np.testing.assert_allclose(part, expected, atol=0.01)


def test_uninformative_features_give_the_class_frequencies():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    kernel, bias = solve_linear(np.zeros((100, 1), np.float32), labels, n_classes=3, l2=0.06)
    shares = np.exp(bias) / np.exp(bias).sum()
    np.testing.assert_allclose(shares, [0.6, 0.3, 0.1], atol=2e-3)
    assert not kernel.any()


def test_separable_classes_give_no_warning():
    features, labels = data(3)
    features[np.arange(N), labels] += 30
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kernel, bias = solve_linear(features, labels, n_classes=3, l2=0.0)
    assert ((features @ kernel + bias).argmax(axis=1) == labels).all()


def test_moments_are_exact_also_for_large_values():
    features = (RNG.normal(size=(5000, 3)) * [1, 2, 0] + [10_000, -3, 7]).astype(np.float32)
    mean, variance = moments(features)
    np.testing.assert_allclose(mean, features.astype(np.float64).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(variance, features.astype(np.float64).var(axis=0), rtol=1e-5)
    assert variance[2] == 0
