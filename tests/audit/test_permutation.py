import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, cross_val_predict

from bloodcell.audit.permutation import auroc_within, out_of_fold, p_value, shuffles
from bloodcell.evaluation.ranks import auroc_by_column


def test_shuffles_stay_within_strata_and_are_the_same_for_a_seed():
    strata = np.array(["a", "b", "a", "b", "a"])
    orders = list(shuffles(strata, groups=np.arange(5), values=np.arange(5), n=20, seed=3))
    assert all((strata[order] == strata).all() and sorted(order) == list(range(5)) for order in orders)
    assert np.array_equal(orders, list(shuffles(strata, groups=np.arange(5), values=np.arange(5), n=20, seed=3)))
    assert len({tuple(order) for order in orders}) > 3


def test_shuffles_keep_groups_together():
    groups, splits = np.repeat(np.arange(6), [1, 2, 3, 4, 5, 6]), np.repeat([0, 1, 0, 1, 0, 1], [1, 2, 3, 4, 5, 6])
    for order in shuffles(np.zeros(21), groups=groups, values=splits, n=20, seed=0):
        shuffled = splits[order]
        assert all(len(set(shuffled[groups == group])) == 1 for group in range(6))
        assert shuffled[np.unique(groups, return_index=True)[1]].sum() == 3


def test_values_that_differ_within_groups_are_shuffled_within_groups():
    groups, labels = np.repeat([0, 1], 4), np.array(list("aabbbccc"))
    for order in shuffles(np.zeros(8), groups=groups, values=labels, n=20, seed=0):
        assert (groups[order] == groups).all()
        assert sorted(order) == list(range(8))


def test_a_group_is_scored_by_models_fitted_on_other_groups():
    groups = np.repeat(np.arange(8), 5)
    matrix = out_of_fold(np.random.default_rng(0).normal(size=(40, 3)), groups=groups, folds=4, seed=0)
    assert not matrix[groups[:, None] == groups].any()


def test_a_p_value_counts_the_observation_itself():
    assert p_value(5.0, np.zeros(99)) == 0.01
    assert p_value(0.0, np.zeros(99)) == 1.0


def test_scores_are_those_of_ridge_regression_fitted_on_other_folds():
    rng = np.random.default_rng(0)
    features = rng.normal(3, 2, (40, 60))
    target = rng.integers(0, 2, 40).astype(float)
    scores = out_of_fold(features, groups=np.arange(40), folds=4, seed=1) @ target
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    folds = KFold(4, shuffle=True, random_state=1)
    assert scores == pytest.approx(cross_val_predict(Ridge(alpha=30.0), standard, target, cv=folds))


def test_differences_between_strata_predict_nothing_within_them():
    rng = np.random.default_rng(0)
    strata = rng.integers(0, 3, 120)
    target = rng.random(120) < np.array([0.1, 0.5, 0.9])[strata]
    features = np.column_stack([10.0 * strata, rng.normal(size=(120, 5))])
    shifted = np.column_stack([10.0 * strata, target + rng.normal(size=120)])
    scores = [
        out_of_fold(each, groups=np.arange(120), folds=5, seed=0, strata=strata) @ target.astype(float)
        for each in (features, shifted)
    ]
    assert auroc_within(scores[0], target, strata) == pytest.approx(0.5, abs=0.15)
    assert auroc_within(scores[1], target, strata) > 0.7


def test_p_values_of_noise_are_uniform():
    p_values = []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        features, target = rng.normal(size=(40, 10)), rng.permutation(np.repeat([True, False], [10, 30]))
        matrix = out_of_fold(features, groups=np.arange(40), folds=5, seed=seed)
        orders = shuffles(np.zeros(40), groups=np.arange(40), values=target, n=99, seed=seed)
        shuffled = [
            auroc_by_column(matrix @ target[order][:, None].astype(float), target[order][:, None])[0]
            for order in orders
        ]
        observed = auroc_by_column(matrix @ target[:, None].astype(float), target[:, None])[0]
        p_values.append(p_value(observed, np.array(shuffled)))
    assert np.mean(np.array(p_values) <= 0.1) < 0.18
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.08)
