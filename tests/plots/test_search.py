import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from bloodcell.plots.search import parallel_coordinates


def trials() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "hyperparameters.learning_rate": [1e-5, 1e-2, 1e-3, 1e-4],
            "backbone.name": [
                "xception",
                "mobilenetv2",
                "a name that is longer than the gap between two axes",
                "xception",
            ],
            "head.hidden_units": [64.0, np.nan, 128.0, 32.0],
            "head.standardise": [True, False, True, True],
            "head.dropout": [0.2] * 4,
        }
    )


def drawn(scores: list[float]) -> Figure:
    return parallel_coordinates(trials(), pd.Series(scores), objective="val_accuracy")


def test_a_colour_bar_has_the_scores_range_and_says_what_is_better(check_legible):
    figure = drawn([0.5, 0.7, 0.6, 0.8])
    _, bar = figure.axes
    assert bar.get_xlim() == pytest.approx((0.5, 0.8))
    assert "val_accuracy" in bar.get_xlabel()
    assert "higher" in bar.get_xlabel()
    check_legible(figure)


def test_no_line_is_seen_through_a_label():
    figure = drawn([0.5, 0.7, 0.6, 0.8])
    axes = figure.axes[0]
    highest_line = max(line.get_zorder() for line in axes.get_lines())
    assert {"True", "False", "xception", "not used", "0.2", "1e-05", "0.01"} <= {text.get_text() for text in axes.texts}
    for text in axes.texts:
        assert text.get_zorder() > highest_line
        assert text.get_bbox_patch().get_facecolor() == (1, 1, 1, 1)


def test_a_trial_without_a_hyperparameter_goes_through_not_used():
    axes = drawn([0.5, 0.7, 0.6, 0.8]).axes[0]
    (not_used,) = [text for text in axes.texts if text.get_text() == "not used"]
    place, level = not_used.xy
    assert [line.get_xdata()[level] == place for line in axes.get_lines()[:4]].count(True) == 1


def test_trials_of_one_score_have_no_colour_bar(check_legible):
    figure = drawn([0.5] * 4)
    assert len(figure.axes) == 1
    check_legible(figure)
