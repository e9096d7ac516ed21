"""The space of a search: which settings it chooses, and from what."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import keras_tuner

from bloodcell.config.search import SpaceEntry

BUDGET = "tuner/epochs"
"""How keras-tuner's Hyperband says for how many epochs a trial is trained."""


def hyperparameters(space: Mapping[str, SpaceEntry]) -> keras_tuner.HyperParameters:
    """Return a space as keras-tuner has it: values that are no numbers as they are written in an override."""
    made = keras_tuner.HyperParameters()
    for key, entry in space.items():
        with ExitStack() as conditions:
            for other, values in entry.when.items():
                conditions.enter_context(made.conditional_scope(other, _labels(space[other], values)))
            sampling = "log" if entry.log else "linear"
            if entry.choice is not None:
                made.Choice(key, _labels(entry, entry.choice))
            elif entry.int is not None:
                step = None if entry.step is None else int(entry.step)
                made.Int(key, *entry.int, step=step or (None if entry.log else 1), sampling=sampling)
            elif entry.float is not None:
                made.Float(key, *entry.float, step=entry.step, sampling=sampling)
    return made


def overrides_of(chosen: keras_tuner.HyperParameters) -> list[str]:
    """Return the overrides that give a trial its values, only of the settings that are active in it."""
    active = {entry.name: entry for entry in chosen.space if chosen.is_active(entry)}
    made = [
        # Four digits are enough of a learning rate, and can be read.
        f"{key}={written(float(f'{value:.4g}') if type(active[key]).__name__ == 'Float' else value)}"
        for key, value in chosen.values.items()
        if key in active
    ]
    return [*made, f"hyperparameters.epochs={chosen.values[BUDGET]}"] if BUDGET in chosen.values else made


def probes(space: Mapping[str, SpaceEntry]) -> Iterator[list[str]]:
    """Yield overrides, as few as possible, that try every choice and the ends of every range.

    Settings that depend on others are tried by themselves, with what they depend on.
    """
    values = {key: entry.choice or entry.int or entry.float or () for key, entry in space.items()}
    always = [key for key, entry in space.items() if not entry.when]
    for number in range(max((len(values[key]) for key in always), default=0)):
        yield [f"{key}={written(values[key][number % len(values[key])])}" for key in always]
    for key, entry in space.items():
        conditions = [f"{other}={written(some[0])}" for other, some in entry.when.items()]
        if conditions:
            yield from ([*conditions, f"{key}={written(value)}"] for value in values[key])


def written(value: Any) -> str:
    """Return a value as one writes it in an override."""
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":")) if not isinstance(value, float) else repr(value)


def _labels(entry: SpaceEntry, values: tuple[Any, ...]) -> list[Any]:
    choices = entry.choice or ()
    kinds = {type(value) for value in choices}
    return list(values) if kinds in ({int}, {float}) else [written(value) for value in values]
