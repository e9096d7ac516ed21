import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bloodcell.evaluation.ranks import auroc_by_column


def test_auroc_is_that_of_scikit_learn_with_ties():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 5, (30, 2)).astype(float)
    positive = rng.random((30, 2)) < 0.4
    expected = [roc_auc_score(positive[:, column], scores[:, column]) for column in (0, 1)]
    assert auroc_by_column(scores, positive) == pytest.approx(expected)


def test_auroc_is_undefined_without_positives_or_without_negatives():
    scores = np.random.default_rng(0).random((4, 2))
    assert np.isnan(auroc_by_column(scores, np.tile([True, False], (4, 1)))).all()
