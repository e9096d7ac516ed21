"""The configuration of a training from keyword arguments, for notebooks and scripts."""

import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import TypeAdapter, ValidationError

from bloodcell.config.conf_files import choices_of, read_choice
from bloodcell.config.messages import no_such_setting, validation_message
from bloodcell.config.parameters import as_plain
from bloodcell.config.training import HyperparametersConfig, TrainConfig
from bloodcell.errors import UserError
from bloodcell.models.applications import applications

SETTINGS = tuple(entry.name for entry in fields(TrainConfig))
HYPERPARAMETERS = tuple(entry.name for entry in fields(HyperparametersConfig))
MISSING = "???"
"""Placeholder in a file of settings for a value that the user must give."""
TAGS = {"data": "source", "split": "name", "finetune": "name", "features": "name"}
"""The setting that selects the schema of a group."""


def train_config(**settings: Any) -> TrainConfig:
    """Return the configuration of a training; settings that are not given have the defaults of the command line.

    Parameters
    ----------
    **settings
        The fields of `TrainConfig`. A group of settings is the name of a choice (``head="dense"``), a dictionary of the
        settings that differ from the defaults (``split={"fraction": 0.3}``), or the dataclass of `bloodcell.config`.
        ``backbone`` may be any class of ``keras.applications``. Hyperparameters may be given without their group:
        ``epochs=3, learning_rate=3e-4``.

    Raises
    ------
    UserError
        If a setting is unknown, missing, of the wrong type or out of range.

    Examples
    --------
    >>> config = train_config(backbone="xception", split={"name": "group_kfold", "folds": 3}, epochs=2)
    >>> config.backbone.name, config.split.folds, config.hyperparameters.epochs
    ('Xception', 3, 2)
    """
    chosen: dict[str, Any] = {}
    given: dict[str, Any] = {}
    for name, value in settings.items():
        if name in SETTINGS and isinstance(value, str) and is_dataclass(_default(name)):
            _merge(chosen, _choice(name, value))
        elif name in SETTINGS:
            _merge(given, {name: value})
        elif name in HYPERPARAMETERS:
            _merge(given, {"hyperparameters": {name: value}})
        else:
            raise UserError(no_such_setting(name, "train", [*SETTINGS, *HYPERPARAMETERS]))
    values = _with_text(_merge(chosen, given))
    for group, tag in TAGS.items():
        if isinstance(values.get(group), Mapping):
            values[group] = {tag: getattr(_default(group), tag)} | values[group]
    try:
        config: TrainConfig = TypeAdapter(TrainConfig).validate_python(values)
    except ValidationError as error:
        raise UserError(validation_message(error, "train", _merge(as_plain(TrainConfig()), values))) from error
    return config


def _default(group: str) -> Any:
    return getattr(TrainConfig(), group)


def _choice(group: str, name: str) -> dict[str, Any]:
    """Return the settings of a choice by group."""
    names = choices_of(group)
    if name.lower() in names:
        return read_choice(group, name.lower())
    if group == "backbone" and name.lower() in [known.lower() for known in applications()]:
        return {group: read_choice(group, "application")[group] | {"name": name}}
    near = get_close_matches(name.lower(), names, n=1)
    advice = f"; did you mean {near[0]}?" if near else ""
    more = "; a folder of images: data={'source': 'folder', 'train_dir': FOLDER}" if group == "data" else ""
    raise UserError(f"{group}={name}: no such choice{advice} (choices: {', '.join(names)}{more})")


def _merge(values: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Merge values into nested dictionaries, and return them."""
    for name, value in more.items():
        inside = values.get(name)
        if isinstance(inside, dict) and isinstance(value, Mapping):
            _merge(inside, value)
        else:
            values[name] = dict(value) if isinstance(value, Mapping) else value
    return values


def _with_text(value: Any) -> Any:
    """Return nested values with paths as text and lists as tuples, without placeholders."""
    if isinstance(value, Mapping):
        return {name: _with_text(entry) for name, entry in value.items() if entry != MISSING}
    if isinstance(value, list | tuple):
        return tuple(_with_text(entry) for entry in value)
    return os.fspath(value) if isinstance(value, os.PathLike) else value
