"""The style of all figures: colours, fonts, and room for long names.

Figures are made with matplotlib's object interface and leave its global settings alone.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Literal

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Text

# Okabe and Ito, "Color Universal Design", 2008: distinguishable with every kind of colour vision.
BLUE = "#0072B2"
SKY = "#56B4E9"
ORANGE = "#E69F00"
VERMILION = "#D55E00"
INK = "#222222"
MUTED = "#6B6B6B"
FAINT = "#D9D9D9"
PAPER = "#FFFFFF"

# Under black lines on dark bars.
HALO = (withStroke(linewidth=3.0, foreground=PAPER),)

TITLE_SIZE = 12.0
TEXT_SIZE = 9.5
SMALL_SIZE = 8.0
DPI = 150
# In inches.
TITLE_LINE = 0.22
TITLE_MARGIN = 0.1
FOOT_LINE = 0.15

# The other fonts, if installed, have scripts that the first one lacks.
FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans", "Arial Unicode MS", "Microsoft YaHei")
BREAK_AFTER = frozenset(" _-/\\,;:=.+|")


@lru_cache(maxsize=1)
def installed_fonts() -> tuple[str, ...]:
    """Return the fonts of `FONTS` that matplotlib finds on this machine, in order."""
    installed = set(font_manager.get_font_names())
    return tuple(name for name in FONTS if name in installed)


def new_figure(
    *,
    title: str,
    width: float,
    height: float,
    layout: Literal["constrained", "compressed", "none"] = "constrained",
    notes: Sequence[str] = (),
) -> Figure:
    """Return a white figure with a title and notes below.

    Parameters
    ----------
    title
        At the top left, folded to the width.
    width
        In inches.
    height
        Height between title and notes, in inches.
    layout
        Matplotlib's layout engine: "constrained", "compressed" for panels of a fixed shape, or "none" if the caller
        sets all positions.
    notes
        Paragraphs below the panels, folded to the width; not with "none".

    Returns
    -------
    matplotlib.figure.Figure
        Rendered at 150 dots per inch.
    """
    lines = fold(title, inches=width - 2 * TITLE_MARGIN, size=TITLE_SIZE, bold=True)
    foot = "\n".join(fold(note, inches=width - 3 * TITLE_MARGIN, size=SMALL_SIZE) for note in notes)
    total = height + TITLE_LINE * (lines.count("\n") + 1) + TITLE_MARGIN
    total += FOOT_LINE * (foot.count("\n") + 1) if foot else 0
    figure = Figure(figsize=(width, total), dpi=DPI, facecolor=PAPER)
    figure.set_layout_engine(layout)
    FigureCanvasAgg(figure)
    heading = figure.suptitle(
        lines, x=TITLE_MARGIN / width, ha="left", fontsize=TITLE_SIZE, fontweight="bold", color=INK
    )
    if layout == "none":
        heading.set_y(1 - TITLE_MARGIN / total)
    if foot:
        figure.supxlabel(
            foot, fontsize=SMALL_SIZE, color=MUTED, x=TITLE_MARGIN / width, ha="left", multialignment="left"
        )
    return figure


def tidy(axes: Axes, *, grid: str | None = None) -> None:
    """Remove a panel's frame and set the style of its labels; `grid` ("x" or "y") is the axis with faint lines."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(labelsize=TEXT_SIZE, labelcolor=INK, color=MUTED, length=3)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(fontsize=TEXT_SIZE, color=INK)
    axes.set_axisbelow(True)
    if grid == "x":
        axes.xaxis.grid(visible=True, color=FAINT, linewidth=0.7)
    elif grid == "y":
        axes.yaxis.grid(visible=True, color=FAINT, linewidth=0.7)


def annotate(axes: Axes, text: str, point: tuple[float, float], *, offset: tuple[float, float], **style: Any) -> None:
    """Write a small text at an offset in points from a point, by default beside it."""
    usual: dict[str, Any] = {"va": "center", "fontsize": SMALL_SIZE, "color": MUTED}
    axes.annotate(text, point, xytext=offset, textcoords="offset points", **usual | style)


def finish(figure: Figure) -> Figure:
    """Show names literally: no formulas in dollar signs, fonts for all scripts."""
    for text in figure.findobj(Text):
        if isinstance(text, Text):
            text.set_parse_math(False)
            text.set_fontfamily(list(installed_fonts()))
    return figure


@lru_cache(maxsize=4096)
def text_width(text: str, *, size: float, bold: bool = False) -> float:
    """Return the width of a text's widest line in inches, at a font size in points."""
    figure = Figure(dpi=72)
    FigureCanvasAgg(figure)
    artist = figure.text(
        0,
        0,
        text,
        fontsize=size,
        fontweight="bold" if bold else "normal",
        fontfamily=list(installed_fonts()),
        parse_math=False,
    )
    return float(artist.get_window_extent().width) / 72


def widest(texts: Iterable[str], *, size: float, bold: bool = False) -> float:
    """Return the width of the widest text in inches; 0 for none."""
    return max((text_width(text, size=size, bold=bold) for text in texts), default=0.0)


def fold(text: str, *, inches: float, size: float, bold: bool = False) -> str:
    """Break a text into lines of a maximal width in inches.

    Lines end after a space in their second half, else after a separator such as ``_`` or ``=`` there, else anywhere
    except before a combining character.
    """
    lines = []
    for paragraph in text.split("\n"):
        rest = paragraph
        while len(rest) > 1 and text_width(rest, size=size, bold=bold) > inches:
            fits = _longest_prefix(rest, inches=inches, size=size, bold=bold)
            ends = range(fits, fits // 2, -1)
            spaces = [end for end in ends if " " in rest[end - 1 : end + 1]]
            separators = [end for end in ends if rest[end - 1] in BREAK_AFTER]
            end = [*spaces[:1], *separators[:1], fits][0]
            lines.append(rest[:end].rstrip())
            rest = rest[end:].lstrip()
        lines.append(rest)
    return "\n".join(lines)


def shortened(text: str, *, inches: float, size: float) -> str:
    """Return a text in one line of a maximal width in inches; an ellipsis is in the place of what does not fit."""
    if text_width(text, size=size) <= inches:
        return text
    return f"{text[: _longest_prefix(text, inches=inches - text_width('…', size=size), size=size, bold=False)]}…"


def _longest_prefix(text: str, *, inches: float, size: float, bold: bool) -> int:
    """Return how many characters of a text, at least one, fit into a width in inches."""
    low, high = 1, len(text) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(text[:middle], size=size, bold=bold) <= inches:
            low = middle
        else:
            high = middle - 1
    while low > 1 and unicodedata.combining(text[low]):
        low -= 1
    return max(low, 1)


def text_colour_on(colour: tuple[float, float, float, float]) -> str:
    """Return the more legible text colour on an RGBA colour with channels in 0..1.

    By the relative luminance and the contrast ratio of WCAG 2.1: black and white contrast equally at 0.179.
    """
    red, green, blue = (
        channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in colour[:3]
    )
    return INK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else PAPER
