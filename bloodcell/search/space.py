"""The space of a search: settings and their ranges or choices."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import keras_tuner

from bloodcell.config.search import SpaceEntry

BUDGET = "tuner/epochs"
"""Name of the number of epochs of a trial in keras-tuner's Hyperband."""


def hyperparameters(space: Mapping[str, SpaceEntry]) -> keras_tuner.HyperParameters:
    """Return a space for keras-tuner; values that are not numbers are in the syntax of overrides."""
    parameters = keras_tuner.HyperParameters()
    for key, entry in space.items():
        with ExitStack() as conditions:
            for other, values in entry.when.items():
                conditions.enter_context(parameters.conditional_scope(other, _labels(space[other], values)))
            sampling = "log" if entry.log else "linear"
            if entry.choice is not None:
                parameters.Choice(key, _labels(entry, entry.choice))
            elif entry.int is not None:
                step = None if entry.step is None else int(entry.step)
                parameters.Int(key, *entry.int, step=step or (None if entry.log else 1), sampling=sampling)
            elif entry.float is not None:
                parameters.Float(key, *entry.float, step=entry.step, sampling=sampling)
    return parameters


def overrides_of(chosen: keras_tuner.HyperParameters) -> list[str]:
    """Return the overrides of a trial's active settings."""
    active = {entry.name: entry for entry in chosen.space if chosen.is_active(entry)}
    overrides = [
        # Four digits are enough for a learning rate, and readable.
        f"{key}={override_value(float(f'{value:.4g}') if type(active[key]).__name__ == 'Float' else value)}"
        for key, value in chosen.values.items()
        if key in active
    ]
    if BUDGET in chosen.values:
        overrides.append(f"hyperparameters.epochs={chosen.values[BUDGET]}")
    return overrides


def probes(space: Mapping[str, SpaceEntry]) -> Iterator[list[str]]:
    """Yield as few lists of overrides as possible that include every choice and both ends of every range.

    A setting that depends on others is in a list of its own, with these others.
    """
    values = {key: entry.choice or entry.int or entry.float or () for key, entry in space.items()}
    always = [key for key, entry in space.items() if not entry.when]
    for number in range(max((len(values[key]) for key in always), default=0)):
        yield [f"{key}={override_value(values[key][number % len(values[key])])}" for key in always]
    for key, entry in space.items():
        conditions = [f"{other}={override_value(some[0])}" for other, some in entry.when.items()]
        if conditions:
            yield from ([*conditions, f"{key}={override_value(value)}"] for value in values[key])


def override_value(value: Any) -> str:
    """Return a value in the syntax of overrides."""
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":")) if not isinstance(value, float) else repr(value)


def _labels(entry: SpaceEntry, values: tuple[Any, ...]) -> list[Any]:
    choices = entry.choice or ()
    kinds = {type(value) for value in choices}
    return list(values) if kinds in ({int}, {float}) else [override_value(value) for value in values]
