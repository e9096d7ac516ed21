import numpy as np
import pandas as pd

from bloodcell.search.importance import MIN_TRIALS, hyperparameter_importance


def trials(n: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    optimizer = rng.choice(["adam", "sgd"], n)
    return pd.DataFrame(
        {
            "rate": 10 ** rng.uniform(-4, -1, n),
            "optimizer": optimizer,
            "momentum": np.where(optimizer == "sgd", rng.uniform(0, 1, n), np.nan),
            "constant": "same",
        }
    )


def test_what_made_the_difference_comes_first_and_shares_sum_to_one():
    table = trials()
    for name, scores in (("rate", np.log10(table["rate"])), ("optimizer", (table["optimizer"] == "adam") * 1.0)):
        found = hyperparameter_importance(table, pd.Series(scores))
        assert found.index[0] == name
        assert found.iloc[0] > 0.7
        assert abs(found.sum() - 1) < 1e-9
        assert "constant" not in found


def test_few_trials_or_equal_scores_give_no_importance():
    table = trials()
    assert hyperparameter_importance(table.head(MIN_TRIALS - 1), table["rate"].head(MIN_TRIALS - 1)) is None
    assert hyperparameter_importance(table, pd.Series(np.ones(len(table)))) is None
