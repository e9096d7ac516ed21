import io

import numpy as np
import pytest
from rich.color import Color
from rich.console import Console
from rich.style import Style

from bloodcell.console.colours import BAR, RIGHT, WRONG
from bloodcell.console.confusion import MAX_CLASSES, confusion_on_terminal

FOUR = np.array([[50, 25, 0, 25], [0, 90, 10, 0], [0, 0, 0, 0], [1, 0, 0, 999]])
NAMES = ("EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL")
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def drawn(matrix, classes, *, width=80, color_system=None) -> str:
    written = io.StringIO()
    terminal = color_system is not None
    console = Console(file=written, width=width, force_terminal=terminal, color_system=color_system, no_color=False)
    console.print(confusion_on_terminal(matrix, classes=classes, name="Validation", width=width))
    return written.getvalue()


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip().startswith(NAMES)][1:]


def test_without_colours_a_matrix_reads_as_shares_of_rows_and_counts():
    text = drawn(FOUR, NAMES)
    assert "\x1b" not in text
    assert rows(text) == [
        ["EOSINOPHIL", "50%", "50", "25%", "25", "·", "25%", "25"],
        ["LYMPHOCYTE", "·", "90%", "90", "10%", "10", "·"],
        ["MONOCYTE", "–", "–", "–", "–"],
        ["NEUTROPHIL", "<1%", "1", "·", "·", "100%", "999"],
    ]


def test_bars_are_as_long_as_the_shares_blue_where_right_and_red_where_wrong():
    columns = confusion_on_terminal(FOUR, classes=NAMES, name="Validation", width=80).columns[1:]
    bars = [[(span.style, span.end) for span in cell.spans] for cell in columns[1].cells]
    assert bars == [[(WRONG, 2)], [(RIGHT, 9)], [], []]
    assert "\x1b[" in drawn(FOUR, NAMES, color_system="256")


def test_names_that_do_not_fit_are_numbered_and_counts_left_out():
    classes = [f"a cell with the name {letter}" for letter in "abcdefgh"]
    text = drawn(np.diag(range(100, 900, 100)), classes)
    assert max(map(len, text.splitlines())) <= 80
    assert "1 a cell with the name a" in text
    assert "100%" in text
    assert "800" not in text


def test_of_many_classes_the_most_frequent_confusions_are_listed():
    k = MAX_CLASSES + 1
    matrix = np.diag([10] * k)
    matrix[3, 5], matrix[1, 0] = 30, 2
    lines = drawn(matrix, [f"class {number}" for number in range(k)]).splitlines()
    rows_ = [line for line in lines if line.startswith("│")]
    assert [[cell.strip() for cell in line.split("│")[1:5]] for line in rows_] == [
        ["class 3", "class 5", "30", "75%"],
        ["class 1", "class 0", "2", "17%"],
    ]
    assert "no image was misclassified" in drawn(np.diag([10] * k), [str(number) for number in range(k)])


def luminance(colour) -> float:
    """WCAG 2.2's relative luminance of 0..255 red, green and blue."""
    shares = [value / 255 for value in colour]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(one, other) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("name", [RIGHT, WRONG])
def test_text_on_a_coloured_background_is_legible_on_black_and_on_white(name):
    style = Style.parse(name)
    text, ground = (colour.get_truecolor() for colour in (style.color, style.bgcolor))
    assert contrast(text, ground) >= 4.5
    assert min(contrast(ground, BLACK), contrast(ground, WHITE)) >= 3


@pytest.mark.parametrize("name", [RIGHT, WRONG])
def test_coloured_text_does_not_depend_on_the_terminals_theme(name):
    style = Style.parse(name)
    assert min(style.color.number, style.bgcolor.number) >= 16


def test_a_progress_bar_is_visible_on_black_and_on_white():
    bar = Color.parse(BAR).get_truecolor()
    assert min(contrast(bar, BLACK), contrast(bar, WHITE)) >= 3
