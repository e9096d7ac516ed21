"""Combining probabilities: weights that help, that count photographs, and figures that are honest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bloodcell.comparison.combination import (
    Mixture,
    Settings,
    Stack,
    cross_fitted,
    fit,
    group_log_loss,
    logarithms,
)
from bloodcell.data.sampling import equal_source_weights
from bloodcell.errors import UserError
from bloodcell.evaluation.folds import group_folds

SETTINGS = Settings(rounds=50, bags=1, l2=1.0, folds=5, seed=0)
FITTED = ("weighted", "greedy", "stacking")
K = 4


def softmax(logits: NDArray) -> NDArray:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def members(*, skills: tuple[float, ...], n_photographs: int = 120, seed: int = 0):
    """Members that know as much of the truth as their skill says, on 1 to 4 images of each photograph."""
    rng = np.random.default_rng(seed)
    of_photographs = rng.integers(0, K, n_photographs)
    images = np.repeat(np.arange(n_photographs), rng.integers(1, 5, n_photographs))
    labels = of_photographs[images]
    truth = np.eye(K)[labels]
    probabilities = np.stack([softmax(skill * truth + rng.normal(size=truth.shape)) for skill in skills])
    return {"probabilities": probabilities, "labels": labels, "groups": np.char.add("g", images.astype(str))}


def loss_of(probabilities: NDArray, known) -> float:
    return group_log_loss(probabilities, labels=known["labels"], groups=known["groups"])


def test_the_soft_vote_is_the_mean():
    known = members(skills=(1.0, 2.0, 0.0))
    mean = known["probabilities"].mean(axis=0)
    np.testing.assert_allclose(fit("soft", **known, settings=SETTINGS).combine(known["probabilities"]), mean)
    np.testing.assert_allclose(cross_fitted("soft", **known, settings=SETTINGS), mean)


@given(skills=st.lists(st.floats(-1, 3), min_size=2, max_size=6), seed=st.integers(0, 2**16))
def test_no_member_could_take_weight_from_another_to_lower_the_loss(skills, seed):
    known = members(skills=tuple(skills), seed=seed, n_photographs=30)
    weights = fit("weighted", **known, settings=SETTINGS).weights
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    # The conditions of Karush, Kuhn and Tucker: the gain of a member is 1, and at most 1 where its weight is 0.
    share = equal_source_weights(known["groups"]) / len(set(known["groups"]))
    of_truth = known["probabilities"][:, np.arange(known["labels"].size), known["labels"]]
    gains = (of_truth / (weights @ of_truth)) @ share
    assert gains.max() <= 1 + 1e-3
    np.testing.assert_allclose(gains[weights > 0.01], 1, atol=1e-3)


def test_greedy_selection_comes_near_the_best_weights_and_never_falls_behind_a_single_member():
    known = members(skills=(1.0, 2.0, 0.5, 1.8))
    chosen = fit("greedy", **known, settings=SETTINGS)
    best = fit("weighted", **known, settings=SETTINGS)
    np.testing.assert_allclose(chosen.weights, best.weights, atol=0.05)
    alone = min(loss_of(each, known) for each in known["probabilities"])
    assert loss_of(chosen.combine(known["probabilities"]), known) <= alone


def test_bags_choose_from_halves_and_are_reproducible():
    known = members(skills=(1.0, 1.0, 1.0, 3.0))
    bagged = Settings(rounds=20, bags=30, l2=1.0, folds=5, seed=3)
    weights = fit("greedy", **known, settings=bagged).weights
    assert weights.sum() == pytest.approx(1)
    assert (weights > 0).sum() > (fit("greedy", **known, settings=SETTINGS).weights > 0.02).sum()
    np.testing.assert_array_equal(weights, fit("greedy", **known, settings=bagged).weights)


def test_stacking_without_evidence_is_the_geometric_mean():
    known = members(skills=(1.0, 2.0))
    stack = fit("stacking", **known, settings=Settings(rounds=1, bags=1, l2=1e9, folds=2, seed=0))
    geometric = softmax(np.log(known["probabilities"]).mean(axis=0))
    np.testing.assert_allclose(stack.combine(known["probabilities"]), geometric, atol=1e-4)
    np.testing.assert_allclose(stack.shares, 0.5, atol=1e-4)


def test_stacking_sees_through_a_member_that_mixes_classes_up():
    known = members(skills=(0.3, 3.0))
    known["probabilities"][1] = known["probabilities"][1][:, [1, 0, 3, 2]]
    honest = {method: cross_fitted(method, **known, settings=SETTINGS) for method in ("weighted", "stacking")}
    assert loss_of(honest["stacking"], known) < 0.7 * loss_of(honest["weighted"], known)


@pytest.mark.parametrize("method", FITTED)
def test_copies_of_an_image_add_nothing(method):
    known = members(skills=(1.0, 1.5, 0.2), n_photographs=40)
    one = np.flatnonzero(known["groups"] == "g7")
    copied = np.concatenate([np.arange(known["labels"].size), np.tile(one, 50)])
    more = {
        "probabilities": known["probabilities"][:, copied],
        "labels": known["labels"][copied],
        "groups": known["groups"][copied],
    }
    shares = [fit(method, **each, settings=SETTINGS).shares for each in (known, more)]
    np.testing.assert_allclose(*shares, atol=1e-3)


def test_weights_fitted_to_noise_are_optimistic_only_on_their_images():
    known = members(skills=(0.0,) * 12, n_photographs=60)
    weak = Settings(rounds=50, bags=1, l2=1e-3, folds=5, seed=0)
    guess = np.log(K)
    inside = fit("stacking", **known, settings=weak).combine(known["probabilities"])
    assert loss_of(inside, known) < 0.8 * guess
    for method in FITTED:
        assert loss_of(cross_fitted(method, **known, settings=weak), known) > guess


@pytest.mark.parametrize("method", FITTED)
def test_the_probability_of_an_image_comes_from_what_never_saw_its_photograph(method):
    known = members(skills=(1.0, 1.5, 0.2), n_photographs=30)
    honest = cross_fitted(method, **known, settings=SETTINGS)
    parts = group_folds(labels=known["labels"], groups=known["groups"], n_folds=5, seed=0)
    for part in parts:
        others = np.setdiff1d(np.arange(known["labels"].size), part)
        fitted = fit(
            method,
            probabilities=known["probabilities"][:, others],
            labels=known["labels"][others],
            groups=known["groups"][others],
            settings=SETTINGS,
        )
        assert not set(known["groups"][part]) & set(known["groups"][others])
        np.testing.assert_allclose(honest[part], fitted.combine(known["probabilities"][:, part]))
    np.testing.assert_allclose(honest.sum(axis=1), 1)


@given(n=st.integers(2, 60), n_folds=st.integers(2, 10), seed=st.integers(0, 1000))
def test_inner_folds_keep_photographs_whole_and_spread_the_classes(n, n_folds, seed):
    known = members(skills=(1.0,), n_photographs=n, seed=seed)
    parts = group_folds(labels=known["labels"], groups=known["groups"], n_folds=n_folds, seed=seed)
    assert len(parts) == min(n, n_folds)
    assert sorted(np.concatenate(parts)) == list(range(known["labels"].size))
    counts = np.array(
        [[len(set(known["groups"][part][known["labels"][part] == label])) for label in range(K)] for part in parts]
    )
    assert counts.sum() == n  # no photograph is in two parts
    assert (np.ptp(counts, axis=0) <= 1).all()


def test_a_class_with_one_photograph_can_be_combined():
    known = members(skills=(1.0, 2.0), n_photographs=20)
    rare = known["groups"] == known["groups"][0]
    known["labels"][known["labels"] == 3] = 0
    known["labels"][rare] = 3
    for method in FITTED:
        assert np.isfinite(cross_fitted(method, **known, settings=SETTINGS)).all()


def test_a_single_photograph_is_refused():
    known = members(skills=(1.0, 2.0), n_photographs=1)
    with pytest.raises(UserError, match="method=soft"):
        cross_fitted("weighted", **known, settings=SETTINGS)


def test_a_certain_and_wrong_member_costs_no_infinity():
    known = members(skills=(1.0, 2.0), n_photographs=20)
    known["probabilities"][0] = np.eye(K)[(known["labels"] + 1) % K]
    for method in FITTED:
        assert np.isfinite(cross_fitted(method, **known, settings=SETTINGS)).all()
    assert fit("weighted", **known, settings=SETTINGS).weights[0] == pytest.approx(0, abs=1e-3)


def test_logarithms_are_concatenated_member_by_member():
    probabilities = members(skills=(1.0, 2.0))["probabilities"]
    features = logarithms(probabilities)
    np.testing.assert_allclose(features[:, :K], np.log(probabilities[0]))
    np.testing.assert_allclose(features[:, K:], np.log(probabilities[1]))
    assert np.isfinite(logarithms(np.zeros((2, 1, K)))).all()


def test_shares_of_a_stack_are_mean_coefficients():
    stack = Stack(kernel=np.vstack([0.75 * np.eye(K), 0.25 * np.eye(K) + 7.0]), bias=np.zeros(K))
    np.testing.assert_allclose(stack.shares, [0.75, 0.25])
    np.testing.assert_allclose(Mixture(weights=np.array([0.2, 0.8])).shares, [0.2, 0.8])
