"""Findings: the results of an audit's checks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bloodcell.plots.images import captioned

Severity = Literal["error", "warning", "note", "clear"]
Numbers = dict[str, float | int | str]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note", "clear")
"""The worst first. A check that passed is ``clear``."""

SIGNIFICANCE = 0.01
"""Largest p-value that a finding reports as a difference."""

ReadImage = Callable[[str], NDArray[np.uint8]]
"""Return the pixels of an image by its path in the manifest: RGB, shape (height, width, 3), uint8."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure and its caption, which is also its alternative text."""

    name: str
    figure: Figure
    caption: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check.

    Attributes
    ----------
    code
        Stable, for machines: ``shared-photographs``.
    severity
        ``error``: every metric on this set is wrong; ``warning``: metrics may be wrong; ``note``: information;
        ``clear``: the check passed.
    what, numbers, advice
        What was found, in one or two sentences; the numbers behind it, by name; what to do, empty if nothing.
    rows, pictures
        The images concerned, one row each, all with the same keys; figures that show the finding.
    """

    code: str
    severity: Severity
    what: str
    numbers: Mapping[str, float | int | str] = field(default_factory=dict)
    advice: str = ""
    rows: Sequence[Mapping[str, Any]] = ()
    pictures: Sequence[Picture] = ()


def passed(code: str, what: str, numbers: Numbers | None = None) -> Finding:
    """Return the finding of a check that passed."""
    return Finding(code=code, severity="clear", what=what, numbers=numbers or {})


def gallery_picture(
    name: str, paths: Sequence[str], *, read: ReadImage, labels: Sequence[str], title: str, note: str
) -> Picture:
    """Show images, four in a row, each with its label; the caption is the title with a note."""
    figure = captioned([read(path) for path in paths], captions=list(labels), title=title)
    return Picture(name=name, figure=figure, caption=f"{title}{note}")


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as dictionaries."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
