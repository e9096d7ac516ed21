"""Colours of the terminal, readable on dark and on light backgrounds.

Themes change the first 16 colours: yellow and cyan fade on white, blue on black. So text has the theme's colour, at
most bold or dim. Other colours are of the palette's 240 that themes do not change: text on a coloured background has
both colours set, and a background or line without text has a contrast of at least 3 with black and with white (WCAG
2.2, 1.4.11). Every colour repeats what words or numbers say.
"""

from rich.theme import Theme

RIGHT = "bold color(231) on color(26)"
"""White on blue, for correct classifications."""
WRONG = "color(231) on color(160)"
"""White on red, for misclassifications."""
BAR = "color(33)"
SEVERITIES = {"error": WRONG, "warning": "bold", "note": "", "clear": "dim"}
"""Styles of an audit's findings by severity."""
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
