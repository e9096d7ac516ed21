"""Importance of hyperparameters in a search."""

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

MIN_TRIALS = 8
"""Fewer trials are not enough to fit a forest."""

N_SHUFFLES = 20
"""How often each hyperparameter is shuffled."""


def hyperparameter_importance(trials: pd.DataFrame, scores: pd.Series, *, seed: int = 0) -> pd.Series | None:
    """Return the permutation importance of each hyperparameter for the trials' scores.

    Breiman, "Random Forests" (2001), with a forest fitted to all trials: it explains the observed scores, not those of
    other values, and is unreliable with few trials.

    Parameters
    ----------
    trials
        One row for each finished trial, one column for each hyperparameter; missing if it was not active.
    scores
        The objective of each.
    seed
        Seed of the forest and the shuffles.

    Returns
    -------
    Series or None
        For each hyperparameter that varied, its share of the total importance, in [0, 1], the largest first; None with
        fewer than `MIN_TRIALS` trials or scores that are all the same.
    """
    varied = trials.loc[:, [trials[name].astype(str).nunique() > 1 for name in trials]]
    if len(varied) < MIN_TRIALS or varied.empty or scores.nunique() < 2:
        return None
    numbers = [name for name in varied if pd.api.types.is_numeric_dtype(varied[name])]
    ready = varied.copy()
    for name in varied:
        if name in numbers:
            # Positive values, such as learning rates, are compared by ratio.
            positive = (varied[name].dropna() > 0).all()
            ready[name] = (np.log(varied[name]) if positive else varied[name]).fillna(-99.0)
        else:
            ready[name] = varied[name].astype(str)
    others = [name for name in varied if name not in numbers]
    encode = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), others), remainder="passthrough")
    forest = make_pipeline(encode, RandomForestRegressor(300, random_state=seed, n_jobs=1)).fit(ready, scores)
    rng, observed = np.random.default_rng(seed), scores.to_numpy()
    shuffled = [
        ready.assign(**{name: ready[name].to_numpy()[rng.permutation(len(ready))]})
        for name in varied
        for _ in range(N_SHUFFLES)
    ]
    # All at once: calling the forest for each takes a hundred times as long.
    predicted = forest.predict(pd.concat([ready, *shuffled], ignore_index=True)).reshape(-1, len(ready))
    errors = np.square(predicted - observed).mean(axis=1)
    increases = errors[1:].reshape(-1, N_SHUFFLES).mean(axis=1) - errors[0]
    importance = pd.Series(increases.clip(min=0), index=varied.columns)
    total = importance.sum()
    return None if not total > 0 else (importance / total).sort_values(ascending=False)
