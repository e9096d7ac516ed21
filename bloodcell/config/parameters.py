"""A configuration as plain values: nested as in a file, or flat as the parameters of a run."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from bloodcell.errors import redact


def as_plain(config: Any) -> Any:
    """Return a configuration as dictionaries, lists and plain values, with credentials hidden."""
    if is_dataclass(config):
        return {entry.name: as_plain(getattr(config, entry.name)) for entry in fields(config)}
    if isinstance(config, tuple):
        return [as_plain(entry) for entry in config]
    if isinstance(config, Mapping):
        return {name: as_plain(entry) for name, entry in config.items()}
    return redact(config) if isinstance(config, str) else config


def parameters_of(config: Any) -> dict[str, Any]:
    """Return a configuration's values by their dotted names, with credentials hidden.

    A list of plain values stays one value; the entries of a list of settings are numbered. ``tracking`` and ``resume``
    are left out: they do not change a run's result.
    """
    values = as_plain(config)
    for name in ("tracking", "resume"):
        values.pop(name, None)
    return dict(_leaves("", values))


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        yield name, value
        return
    for key, entry in value.items():
        yield from _leaves(f"{name}.{key}" if name else str(key), entry)
