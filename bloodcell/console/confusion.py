"""A confusion matrix on the terminal.

Each cell has a bar as long as its share of the row, blue on the diagonal and red elsewhere. Lengths read on dark and on
light backgrounds; shades do not. See `bloodcell.console.colours`.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bloodcell.console.colours import RIGHT, WRONG

MAX_CLASSES = 12
"""With more classes, the most frequent confusions are listed instead."""
N_PAIRS = 10
LABEL_WIDTH = 24


def confusion_on_terminal(
    matrix: npt.NDArray[np.integer], *, classes: Sequence[str], name: str, width: int
) -> RenderableType:
    """Return a confusion matrix, row % and counts, or with many classes the most frequent confusions.

    Parameters
    ----------
    matrix
        Shape (k, k), counts at least 0: rows are true classes, columns predicted ones.
    classes
        The k class names.
    name
        The split of the images, for example ``Validation``.
    width
        Characters in a line. If names or counts do not fit, names are replaced by numbers and counts left out.
    """
    counts = np.asarray(matrix)
    numbers = [str(number) for number in range(1, len(classes) + 1)]
    numbered = [f"{number} {label}" for number, label in zip(numbers, classes, strict=True)]
    if len(classes) <= MAX_CLASSES:
        for labels, headings, with_counts in (
            (classes, classes, True),
            (numbered, numbers, True),
            (numbered, numbers, False),
        ):
            cells = _cells(counts, with_counts=with_counts)
            widths = [max(len(heading), len(cells[0][0])) for heading in headings]
            label_width = min(max(map(len, labels)), LABEL_WIDTH)
            if label_width + 2 + sum(column + 2 for column in widths) <= width:
                title = f"{name}: confusion matrix (row %{', images' * with_counts})"
                return _matrix(counts, cells, labels=labels, headings=headings, widths=widths, title=title)
    return _pairs(counts, classes=classes, name=name)


def most_confused(matrix: npt.NDArray[np.integer], *, most: int) -> list[tuple[int, int]]:
    """Return the true and the predicted class of the most frequent confusions, the most frequent first.

    Parameters
    ----------
    matrix
        Shape (k, k), counts: rows are true classes, columns predicted ones.
    most
        The largest number of pairs.
    """
    wrong = np.where(np.eye(len(matrix), dtype=bool), 0, matrix)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [(int(row), int(column)) for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True)]
    return [pair for pair in pairs if wrong[pair]]


def _shares(counts: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), dtype=np.float64)


def _cells(counts: npt.NDArray[np.integer], *, with_counts: bool) -> list[list[str]]:
    """Return the texts of the cells, all of one length."""
    digits = len(f"{counts.max():,}")
    texts = []
    for row, shares in zip(counts, _shares(counts), strict=True):
        nothing = "·" if row.sum() else "–"
        percents = [_percent(share) if count else nothing for count, share in zip(row, shares, strict=True)]
        numbers = [f" {f'{count:,}' if count else '':>{digits}}" if with_counts else "" for count in row]
        texts.append([f"{percent:>4}{number}" for percent, number in zip(percents, numbers, strict=True)])
    return texts


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.005 else "<1%"


def _matrix(
    counts: npt.NDArray[np.integer],
    cells: Sequence[Sequence[str]],
    *,
    labels: Sequence[str],
    headings: Sequence[str],
    widths: Sequence[int],
    title: str,
) -> Table:
    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True, max_width=LABEL_WIDTH, overflow="ellipsis")
    for heading, column in zip(headings, widths, strict=True):
        table.add_column(escape(heading), justify="right", no_wrap=True, width=column)
    shares = _shares(counts)
    for row, label in enumerate(labels):
        drawn = []
        for column, width in enumerate(widths):
            text = Text(cells[row][column].rjust(width))
            text.stylize(RIGHT if row == column else WRONG, 0, round(width * shares[row, column]))
            drawn.append(text)
        table.add_row(Text(label), *drawn)
    return table


def _pairs(counts: npt.NDArray[np.integer], *, classes: Sequence[str], name: str) -> RenderableType:
    """List the most frequent confusions, the most frequent first."""
    pairs = most_confused(counts, most=N_PAIRS)
    if not pairs:
        return Text(f"{name}: no image was misclassified.")
    table = Table(title=escape(f"{name}: most frequent confusions"), title_justify="left")
    table.add_column("true class", overflow="fold")
    table.add_column("predicted class", overflow="fold")
    for heading in ("images", "% of class"):
        table.add_column(heading, justify="right", no_wrap=True)
    shares = _shares(counts)
    for row, column in pairs:
        table.add_row(
            Text(classes[row]), Text(classes[column]), f"{counts[row, column]:,}", _percent(shares[row, column])
        )
    left = int(np.count_nonzero(counts) - np.count_nonzero(counts.diagonal())) - len(pairs)
    if left:
        table.caption = f"and {left} less frequent confusions"
        table.caption_justify = "left"
    return table
