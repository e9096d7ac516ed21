"""The trials of a search: configurations, objective, best trial, table."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import keras_tuner
import pandas as pd
from keras_tuner.engine.trial import Trial

from bloodcell.config.composition import VariedConfig
from bloodcell.config.search import SearchConfig
from bloodcell.config.training import TrainConfig
from bloodcell.errors import UserError
from bloodcell.evaluation.outcome import Outcome
from bloodcell.search.folder import trial_number
from bloodcell.search.space import overrides_of, probes


@dataclass(frozen=True)
class Composer:
    """Composes the configuration of a trial: the overrides of the search, then those of the trial."""

    overrides: tuple[str, ...]

    def __call__(self, overrides: Sequence[str]) -> SearchConfig:
        """Return the configuration of a trial.

        Raises
        ------
        UserError
            If it is not valid.
        """
        composed: SearchConfig = self._varied.with_overrides(overrides)
        return composed

    @cached_property
    def _varied(self) -> VariedConfig:
        return VariedConfig("search", self.overrides)


def for_training(config: SearchConfig) -> TrainConfig:
    """Return the configuration of training in a search's configuration."""
    return TrainConfig(**{entry.name: getattr(config, entry.name) for entry in fields(TrainConfig)})


def check_space(config: SearchConfig, compose: Composer) -> None:
    """Compose a configuration with every choice and both ends of every range.

    Raises
    ------
    UserError
        If one is not valid.
    """
    for key in config.tuner.space:
        if key.partition(".")[0] in ("tuner", "tracking"):
            raise UserError(f"tuner.space: {key} is not a setting of a training")
    for overrides in probes(config.tuner.space):
        try:
            compose(overrides)
        except UserError as error:
            raise UserError(f"tuner.space: {error}") from error


def objective_of(outcome: Outcome, objective: str) -> float:
    """Return the objective of a trial, such as ``val/accuracy``; in a cross-validation its mean over the folds."""
    name = objective.partition("/")[2]
    values = [each.val.metrics[name] for each in outcome.folds or (outcome,)]
    return sum(values) / len(values)


def best_trial(oracle: keras_tuner.Oracle) -> Trial | None:
    """Return the best finished trial, the first of equally good ones; None if no trial has finished."""
    finished = [trial for _, trial in _in_order(oracle) if trial.status == "COMPLETED"]
    sign = -1 if oracle.objective.direction == "min" else 1
    return max(finished, key=lambda trial: sign * trial.score, default=None)


def trials_table(oracle: keras_tuner.Oracle) -> pd.DataFrame:
    """Return a row for each trial: ``trial, status, score, overrides``, and its active hyperparameters by name."""
    rows = []
    for name, trial in _in_order(oracle):
        chosen = trial.hyperparameters
        active = {entry.name for entry in chosen.space if chosen.is_active(entry)}
        values = {key: value for key, value in chosen.values.items() if key in active}
        known = {
            "trial": trial_number(name),
            "status": str(trial.status),
            "score": trial.score,
            "overrides": overrides_of(chosen),
        }
        rows.append(known | values)
    table = pd.DataFrame(rows)
    if len(table):
        table["score"] = pd.to_numeric(table["score"])
    return table


def _in_order(oracle: keras_tuner.Oracle) -> list[tuple[str, Trial]]:
    """Return the trials by number; in an extended search, names differ in length."""
    return sorted(oracle.trials.items(), key=lambda item: int(item[0]))
