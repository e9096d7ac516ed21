"""The included configuration files: the choices of every group of settings, and the named experiments."""

from pathlib import Path
from typing import Any

import yaml

PACKAGE_GLOBAL = "# @package _global_"
"""First line of a choice with settings of several groups."""


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
    """Return the settings of a choice by group: ``{group: {setting: value}}``."""
    values, is_global = _read(f"{group}/{name}")
    return values if is_global else {group: values}


def _read(name: str) -> tuple[dict[str, Any], bool]:
    """Return the values of a file, with those of its ``defaults``, and whether they are of several groups."""
    text = (conf_dir() / f"{name}.yaml").read_text(encoding="utf-8")
    own: dict[str, Any] = yaml.safe_load(text) or {}
    values: dict[str, Any] = {}
    for entry in own.pop("defaults", []):
        base = entry.removesuffix("@_here_")
        if base != "_self_":
            values |= _read(base[1:] if base.startswith("/") else f"{name.rpartition('/')[0]}/{base}")[0]
    return values | own, text.startswith(PACKAGE_GLOBAL)


def _find(name: str) -> Path:
    package = Path(__file__).resolve().parents[1]
    inside = package / name
    return inside if inside.is_dir() else package.parent / name
