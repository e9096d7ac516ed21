import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from bloodcell.audit.permutation import auroc, holm, out_of_fold, p_value, shuffles


def test_shuffles_stay_within_strata_and_are_the_same_for_a_seed():
    strata = np.array(["a", "b", "a", "b", "a"])
    orders = list(shuffles(strata, n=20, seed=3))
    assert all((strata[order] == strata).all() and sorted(order) == list(range(5)) for order in orders)
    assert np.array_equal(orders, list(shuffles(strata, n=20, seed=3)))
    assert len({tuple(order) for order in orders}) > 3


def test_a_p_value_counts_the_observation_itself():
    assert p_value(5.0, np.zeros(99)) == 0.01
    assert p_value(0.0, np.zeros(99)) == 1.0


def test_holm_multiplies_the_smallest_most_and_keeps_the_order():
    assert holm(np.array([0.03, 0.01, 0.04])) == pytest.approx([0.06, 0.03, 0.06])


def test_scores_are_those_of_ridge_regression_fitted_on_other_folds():
    rng = np.random.default_rng(0)
    features = rng.normal(3, 2, (40, 60))
    labels = np.repeat(["a", "b"], 20)
    target = (labels == "a").astype(float)
    scores = out_of_fold(features, labels, folds=4, seed=1) @ target
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    folds = StratifiedKFold(4, shuffle=True, random_state=1).split(standard, labels)
    assert scores == pytest.approx(cross_val_predict(Ridge(alpha=30.0), standard, target, cv=folds))


def test_auroc_is_that_of_scikit_learn_ties_too():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 5, (30, 2)).astype(float)
    targets = rng.random((30, 2)) < 0.4
    expected = [roc_auc_score(targets[:, column], scores[:, column]) for column in (0, 1)]
    assert auroc(scores, targets) == pytest.approx(expected)
