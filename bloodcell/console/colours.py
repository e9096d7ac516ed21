"""The terminal's colours, which have to read on a dark and on a light ground, as nobody knows which it is.

A terminal's theme gives its first sixteen colours any shade: yellow and cyan fade on white, blue on black, and "bright
white" is a light grey in some light themes. So text is the theme's own, at most bold or dim. Where colour says
something it is one of the palette's other 240, which themes leave alone: text on a coloured ground has both set, and a
ground or a line without text has a contrast of at least 3 with black and with white (WCAG 2.2, 1.4.11). No colour says
anything that is not said in words or numbers too: without colours nothing is missing.
"""

from rich.theme import Theme

RIGHT = "bold color(231) on color(26)"
"""White on blue, for what is right."""
WRONG = "color(231) on color(160)"
"""White on red, for what is wrong."""
BAR = "color(33)"
SEVERITIES = {"error": WRONG, "warning": "bold", "note": "", "clear": "dim"}
"""Of an audit's findings."""
THEME = Theme(
    {
        "bar.back": "dim",
        "bar.complete": BAR,
        "bar.finished": BAR,
        "bar.pulse": BAR,
        "progress.download": "none",
        "progress.remaining": "none",
    }
)
"""For Rich's progress bars."""
