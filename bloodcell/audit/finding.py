"""What an audit says: findings, each with its evidence and what to do about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure

Severity = Literal["error", "warning", "note", "clear"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note", "clear")
"""The worst first. What was looked for and not found is ``clear``."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure, and what it shows for those who cannot see it."""

    name: str
    figure: Figure
    shows: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked for.

    Attributes
    ----------
    code
        Stable, for machines: ``shared-photographs``.
    severity
        ``error`` makes every figure on this set wrong, ``warning`` may, a ``note`` is good to know, and ``clear``
        says that nothing was found.
    what
        One sentence.
    numbers
        What the sentence rests on, by name.
    advice
        What to do, in one sentence; empty where there is nothing to do.
    rows
        What it is about, one by one, such as an image's path and why it is named: each with the same names of numbers
        and texts; empty where that says nothing.
    pictures
        What there is to see.
    """

    code: str
    severity: Severity
    what: str
    numbers: Mapping[str, float | int | str] = field(default_factory=dict)
    advice: str = ""
    rows: Sequence[Mapping[str, Any]] = ()
    pictures: Sequence[Picture] = ()


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows one by one."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
