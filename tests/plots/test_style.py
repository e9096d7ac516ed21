import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import colormaps

from bloodcell.plots.style import fold, text_colour_on, text_width


@settings(max_examples=40)
@given(st.text(alphabet="abc XYZ_-=,.жß", max_size=60), st.floats(0.3, 3))
def test_a_folded_text_fits_and_loses_only_spaces(text, inches):
    folded = fold(text, inches=inches, size=9)
    assert all(text_width(line, size=9) <= inches for line in folded.split("\n"))
    assert folded.replace("\n", "").replace(" ", "") == text.replace(" ", "")


def test_a_text_that_fits_stays_on_one_line():
    assert fold("EOSINOPHIL", inches=2, size=9) == "EOSINOPHIL"


def test_a_run_name_is_broken_at_its_separators():
    assert fold("learning_rate=0.001,dropout=0.3", inches=1.7, size=9) == "learning_rate=0.001,\ndropout=0.3"


def test_a_width_below_one_character_still_keeps_the_text():
    assert fold("abc", inches=0.01, size=9) == "a\nb\nc"


def test_dollar_signs_are_measured_literally():
    assert text_width("$x^2$", size=9) == pytest.approx(
        sum(text_width(character, size=9) for character in "$x^2$"), rel=0.2
    )


def test_text_contrasts_with_every_shade_of_a_colour_map():
    def luminance(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    ink = {"#222222": luminance([0x22 / 255] * 3), "#FFFFFF": 1.0}
    for share in range(101):
        shade = tuple(colormaps["Blues"](share / 100))
        dark, light = sorted([luminance(shade), ink[text_colour_on(shade)]])
        assert (light + 0.05) / (dark + 0.05) > 3.4
