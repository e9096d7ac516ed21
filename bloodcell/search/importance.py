"""How much each hyperparameter mattered in a search."""

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import permutation_importance
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

FEWEST = 8
"""Trials below which a forest knows nothing."""


def hyperparameter_importance(trials: pd.DataFrame, scores: pd.Series, *, seed: int = 0) -> pd.Series | None:
    """Return how much worse a random forest predicts the trials' scores with a hyperparameter's values shuffled.

    Permutation importance (Breiman 2001), of a forest fitted to all trials: it says what explains the scores that were
    seen, not what would explain others, and with few trials it says little.

    Parameters
    ----------
    trials
        One row for each finished trial, one column for each hyperparameter; missing where it was not active.
    scores
        The objective of each.

    Returns
    -------
    Series or None
        For each hyperparameter that varied its share of all importance, in [0, 1], the largest first; None with fewer
        than `FEWEST` trials or scores that are all the same.
    """
    varied = trials.loc[:, [trials[name].astype(str).nunique() > 1 for name in trials]]
    if len(varied) < FEWEST or varied.empty or scores.nunique() < 2:
        return None
    numbers = [name for name in varied if pd.api.types.is_numeric_dtype(varied[name])]
    ready = varied.copy()
    for name in varied:
        if name in numbers:
            # Learning rates and the like count by their ratio.
            positive = (varied[name].dropna() > 0).all()
            ready[name] = (np.log(varied[name]) if positive else varied[name]).fillna(-99.0)
        else:
            ready[name] = varied[name].astype(str)
    others = [name for name in varied if name not in numbers]
    encode = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), others), remainder="passthrough")
    forest = make_pipeline(encode, RandomForestRegressor(300, random_state=seed, n_jobs=1)).fit(ready, scores)
    shuffled = permutation_importance(forest, ready, scores, n_repeats=20, random_state=seed)
    importance = pd.Series(shuffled.importances_mean.clip(min=0), index=varied.columns)
    total = importance.sum()
    return None if not total > 0 else (importance / total).sort_values(ascending=False)
