from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.patches import FancyBboxPatch

from bloodcell.plots.architecture import Block, architecture, format_count

BLOCKS = (
    Block("image", "InputLayer", "224 x 224 x 3", 0, True),
    Block("mobilenetv2 up to block_13", "MobileNetV2", "14 x 14 x 96", 559_808, False),
    Block("mobilenetv2 from block_13", "MobileNetV2", "7 x 7 x 1280", 1_698_176, True),
    Block("probabilities", "Dense, softmax", "4", 5_124, True),
)


def boxes_of(figure):
    return [patch for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]


def test_every_block_is_a_box_with_its_name_kind_shape_and_parameters(texts_of, check_legible):
    figure = architecture(BLOCKS, title="MobileNetV2, fine-tuned")
    assert len(boxes_of(figure)) == 4
    texts = texts_of(figure)
    for expected in ("mobilenetv2 up to block_13", "Dense, softmax", "7 x 7 x 1280", "1.70 M parameters"):
        assert expected in texts
    assert "MobileNetV2, fine-tuned" in texts
    check_legible(figure)


def test_the_first_block_is_at_the_top_and_boxes_do_not_touch():
    extents = [box.get_window_extent() for box in boxes_of(architecture(BLOCKS, title="Model"))]
    assert all(above.y0 > below.y1 for above, below in pairwise(extents))


def test_frozen_trained_and_empty_blocks_are_drawn_differently():
    image, frozen, trained, last = boxes_of(architecture(BLOCKS, title="Model"))
    assert len({box.get_facecolor() for box in (image, frozen, trained)}) == 3
    assert trained.get_facecolor() == last.get_facecolor()
    # Without colours too.
    assert frozen.get_linestyle() != trained.get_linestyle()


def test_the_legend_has_the_numbers_of_trained_and_frozen_parameters(texts_of):
    texts = texts_of(architecture(BLOCKS, title="Model"))
    assert "Trained: 1.70 M parameters" in texts
    assert "Frozen: 560 k parameters" in texts


def test_long_names_stay_in_their_boxes(check_legible, texts_of):
    name = "блок_" + "with_a_very_long_name_" * 4
    blocks = [Block(name, "Functional of a kind that takes its time " * 2, "(None, " * 12, 1, True)] * 3
    figure = architecture(blocks, title="A title that is longer than the drawing is wide " * 2)
    check_legible(figure)
    assert name in texts_of(figure)
    figure.canvas.draw()
    box = boxes_of(figure)[0].get_window_extent()
    for text in figure.axes[0].texts[:4]:
        extent = text.get_window_extent()
        assert box.x0 < extent.x0
        assert extent.x1 < box.x1
        assert box.y0 < extent.y0
        assert extent.y1 < box.y1


def test_a_single_block_can_be_drawn(check_legible):
    check_legible(architecture(BLOCKS[-1:], title="Head"))


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (950, "950"),
        (999, "999"),
        (1000, "1.00 k"),
        (12_345, "12.3 k"),
        (99_960, "100 k"),
        (999_499, "999 k"),
        (999_950, "1.00 M"),
        (2_257_984, "2.26 M"),
        (138_357_544, "138 M"),
        (1_020_000_000, "1.02 B"),
    ],
)
def test_counts_have_three_digits_and_a_unit(count, text):
    assert format_count(count) == text


@given(st.integers(1000, 10**12 - 10**10))
def test_a_formatted_count_is_within_half_a_percent(count):
    number, unit = format_count(count).split()
    assert float(number) * {"k": 1e3, "M": 1e6, "B": 1e9}[unit] == pytest.approx(count, rel=0.005)
    assert 1 <= float(number) < 1000
