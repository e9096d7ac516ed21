import keras
import numpy as np
import pytest

from bloodcell.models.heads import Head, build_head
from bloodcell.models.precision import precision

FEATURE_MAPS = np.random.default_rng(0).normal(size=(3, 2, 2, 5)).astype(np.float32)


def head(**changes) -> Head:
    return build_head(**{"pooling": "average", "hidden_units": (), "dropout": 0.0, "n_classes": 4} | changes)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("average", FEATURE_MAPS.mean(axis=(1, 2))),
        ("max", FEATURE_MAPS.max(axis=(1, 2))),
        ("both", np.hstack([FEATURE_MAPS.mean(axis=(1, 2)), FEATURE_MAPS.max(axis=(1, 2))])),
    ],
)
def test_pooling_takes_the_average_the_maximum_or_both(pooling, expected):
    np.testing.assert_allclose(head(pooling=pooling).pool([FEATURE_MAPS]), expected, atol=1e-6)


@pytest.mark.parametrize("pooling", ["average", "max", "both"])
def test_features_pooled_both_ways_serve_every_pooling(pooling):
    made = head(pooling=pooling, hidden_units=(8,))
    used = np.asarray(made.pool_both([FEATURE_MAPS]))[:, made.used_columns(FEATURE_MAPS.shape[-1])]
    np.testing.assert_allclose(made.classify(used), made([FEATURE_MAPS]), atol=1e-6)


@pytest.mark.parametrize(
    ("pooling", "expected"), [("average", [0.0, 1.0]), ("max", [0.0, 1.0]), ("both", [0.0, 1.0, 0.0, 1.0])]
)
def test_several_maps_are_pooled_each_at_its_own_size(pooling, expected):
    maps = [np.zeros((1, 4, 4, 1), np.float32), np.ones((1, 2, 2, 1), np.float32)]
    made = head(pooling=pooling)
    np.testing.assert_allclose(made.pool(maps), [expected])
    np.testing.assert_allclose(np.asarray(made.pool_both(maps))[:, made.used_columns(2)], [expected])


def test_extra_features_follow_the_pooled_features():
    made = head()
    probabilities = made([FEATURE_MAPS], extra_features=np.ones((3, 2), np.float32))
    kernel, bias = made.stack[-1].get_weights()
    features = np.hstack([FEATURE_MAPS.mean(axis=(1, 2)), np.ones((3, 2))])
    logits = features @ kernel + bias
    np.testing.assert_allclose(probabilities, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), atol=1e-6)


def test_features_are_standardised_by_the_given_statistics_also_in_training():
    made = head(standardise=True)
    model = keras.Sequential([keras.Input((2,)), made.standardise])
    made.standardise.moving_mean.assign([1.0, 2.0])
    made.standardise.moving_variance.assign([4.0, 9.0])
    features = np.array([[3.0, 8.0], [5.0, -1.0]], np.float32)
    np.testing.assert_allclose(model(features, training=True), [[1.0, 2.0], [2.0, -1.0]], atol=1e-5)
    np.testing.assert_allclose(made.standardise.moving_mean, [1.0, 2.0])


def test_l2_is_a_part_of_the_loss():
    made = head(hidden_units=(3,), l2=0.5)
    made([FEATURE_MAPS])
    squares = sum(float(np.square(layer.kernel).sum()) for layer in made.stack)
    assert float(sum(loss for layer in made.stack for loss in layer.losses)) == pytest.approx(0.5 * squares, rel=1e-5)


def test_a_head_without_hidden_layers_is_linear():
    stack = head().stack
    (probabilities,) = stack
    assert probabilities.units == 4
    assert probabilities.activation is keras.activations.softmax


def test_hidden_layers_come_in_order_with_dropout_before_each_dense_layer():
    stack = head(hidden_units=(8, 6), dropout=0.3).stack
    assert [type(layer).__name__ for layer in stack] == ["Dropout", "Dense"] * 3
    assert [layer.units for layer in stack[1::2]] == [8, 6, 4]
    assert [layer.rate for layer in stack[::2]] == [0.3] * 3
    assert [layer.activation.__name__ for layer in stack[1::2]] == ["relu", "relu", "softmax"]


def test_without_dropout_there_are_no_dropout_layers():
    stack = head(hidden_units=(8,)).stack
    assert [type(layer).__name__ for layer in stack] == ["Dense", "Dense"]


def test_probabilities_are_in_single_precision_with_every_policy():
    with precision(mixed=True):
        made = head(hidden_units=(64,))
        stack, tensor = made.stack, made.pool([keras.ops.convert_to_tensor(100 * FEATURE_MAPS)])
        hidden = stack[0](tensor)
        probabilities = stack[1](hidden)
    assert keras.backend.standardize_dtype(hidden.dtype) in ("bfloat16", "float16")
    assert keras.backend.standardize_dtype(probabilities.dtype) == "float32"
    np.testing.assert_allclose(np.asarray(probabilities).sum(axis=1), 1, atol=1e-6)


def test_precision_applies_inside_its_block_only():
    before = keras.config.dtype_policy().name
    with pytest.raises(RuntimeError, match="stop"), precision(mixed=True):  # noqa: PT012
        assert keras.config.dtype_policy().name.startswith("mixed")
        raise RuntimeError("stop")
    assert keras.config.dtype_policy().name == before == "float32"
