import math

import keras
import numpy as np
import pytest
from training import tiny

from bloodcell.training.optimizers import build_optimizer

RATE, STEPS = 0.2, 100


def build(**changes) -> keras.optimizers.Optimizer:
    steps, factors = changes.pop("total_steps", STEPS), changes.pop("factors", None)
    return build_optimizer(tiny.settings(**changes), learning_rate=RATE, total_steps=steps, factors=factors)


def rates(steps: list[int], **changes) -> list[float]:
    """The learning rates of these steps."""
    optimizer, found = build(**changes), []
    for step in steps:
        optimizer.iterations.assign(step)
        found.append(float(optimizer.learning_rate))
    return found


def test_a_constant_learning_rate_is_constant():
    assert rates([0, 50, 99]) == pytest.approx([RATE] * 3)


def test_a_cosine_falls_from_the_learning_rate_to_zero():
    assert rates([0, 50, 100], schedule="cosine") == pytest.approx([RATE, RATE / 2, 0], abs=1e-7)
    quarter = RATE * (1 + math.cos(math.pi / 4)) / 2
    assert rates([25], schedule="cosine") == pytest.approx([quarter])


@pytest.mark.parametrize(("schedule", "end"), [("constant", RATE), ("cosine", 0.0)])
def test_a_warm_up_rises_from_zero_in_its_share_of_the_steps(schedule, end):
    found = rates([0, 5, 10, 20, 100], schedule=schedule, warmup=0.2)
    assert found == pytest.approx([0, RATE / 4, RATE / 2, RATE, end], abs=1e-7)


def test_a_cosine_after_a_warm_up_spends_the_remaining_steps():
    assert rates([60], schedule="cosine", warmup=0.2) == pytest.approx([RATE / 2])


@pytest.mark.parametrize("total_steps", [1, 2])
@pytest.mark.parametrize("warmup", [0.0, 1.0])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_shortest_stage_has_a_finite_learning_rate(schedule, warmup, total_steps):
    found = rates(list(range(total_steps)), schedule=schedule, warmup=warmup, total_steps=total_steps)
    assert all(0 <= rate <= RATE + 1e-6 for rate in found)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adam", keras.optimizers.Adam), ("adamw", keras.optimizers.AdamW), ("sgd", keras.optimizers.SGD)],
)
def test_weight_decay_shrinks_kernels_and_neither_biases_nor_normalisation(name, kind):
    optimizer = build(optimizer=name, weight_decay=0.1)
    assert type(optimizer) is kind
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.DepthwiseConv2D(3), keras.layers.Conv2D(2, 3), keras.layers.Flatten()]
    )
    for layer in (keras.layers.BatchNormalization(), keras.layers.LayerNormalization(), keras.layers.Dense(2)):
        model.add(layer)
    for weight in model.trainable_weights:
        weight.assign(keras.ops.ones_like(weight))
    optimizer.apply([keras.ops.zeros_like(weight) for weight in model.trainable_weights], model.trainable_weights)
    assert {weight.name for weight in model.trainable_weights} == {"kernel", "bias", "gamma", "beta"}
    for weight in model.trainable_weights:
        expected = 1 - RATE * 0.1 if weight.name == "kernel" else 1
        np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-6, err_msg=weight.path)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_without_weight_decay_nothing_shrinks(name):
    optimizer = build(optimizer=name)
    weight = keras.Variable(np.ones(3), name="kernel")
    optimizer.apply([keras.ops.zeros_like(weight)], [weight])
    np.testing.assert_array_equal(weight.numpy(), 1)


def test_momentum_is_that_of_sgd():
    assert build(optimizer="sgd", momentum=0.7).momentum == 0.7


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_factor_scales_a_variables_steps_and_its_weight_decay(name, weight_decay):
    def moved(factors):
        weights = [keras.Variable(np.ones(3), name=f"kernel_{number}") for number in (1, 2)]
        optimizer = build(
            optimizer=name,
            weight_decay=weight_decay,
            momentum=0.9,
            schedule="cosine",
            factors=factors and {weights[1].path: factors},
        )
        before = [1.0, 1.0]
        steps = []
        for gradient in (0.3, -0.1, 2.0):
            for weight in weights:
                weight.assign(np.ones(3))
            optimizer.apply([keras.ops.full((3,), gradient)] * 2, weights)
            steps.append([float(weight.numpy()[0]) - one for weight, one in zip(weights, before, strict=True)])
        return np.array(steps)

    plain, scaled = moved(None), moved(0.25)
    np.testing.assert_allclose(scaled[:, 0], plain[:, 0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(scaled[:, 1], plain[:, 1] * 0.25, rtol=1e-3, atol=1e-6)


def test_factors_work_with_weight_averaging():
    optimizer = build(optimizer="adamw", weight_averaging=0.9, factors={"kernel": 0.5})
    assert optimizer.use_ema
    assert optimizer.ema_momentum == 0.9
