"""The files that come with bloodcell: the choices of every group of settings, and the named experiments."""

from pathlib import Path
from typing import Any

import yaml

PACKAGE_GLOBAL = "# @package _global_"
"""How a choice begins that has settings of other groups, too."""


def conf_dir() -> Path:
    """Return the folder of the configuration: in the installed package, or next to it in a checkout."""
    return _find("conf")


def experiments_dir() -> Path:
    """Return the folder of the named experiments: in the installed package, or next to it in a checkout."""
    return _find("experiments")


def choices_of(group: str) -> list[str]:
    """Return the names of the choices of a group."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def read_choice(group: str, name: str) -> dict[str, Any]:
    """Return the settings of a choice by group: ``{group: {setting: value}}``.

    What its file takes from another choice by ``defaults`` is not in it; the schema has the same defaults.
    """
    text = (conf_dir() / group / f"{name}.yaml").read_text(encoding="utf-8")
    values: dict[str, Any] = yaml.safe_load(text) or {}
    values.pop("defaults", None)
    return values if text.startswith(PACKAGE_GLOBAL) else {group: values}


def _find(name: str) -> Path:
    package = Path(__file__).resolve().parents[1]
    inside = package / name
    return inside if inside.is_dir() else package.parent / name
