import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection

from bloodcell.plots.ensemble import ensemble_plot

LONG = "1: backbone=mobilenetv2, crop=nucleus, head=probe, features.views=4, $x$"


def standings() -> pd.DataFrame:
    rows = [("0: backbone=morphology", 0.62, 0.5, 0.6), (LONG, -0.05, 0.61, 0.8), ("ensemble", np.nan, 0.66, 0.83)]
    table = pd.DataFrame(rows, columns=["name", "weight", "accuracy", "photograph_accuracy"])
    for name, width in (("accuracy", 0.05), ("photograph_accuracy", 0.1)):
        table[f"{name}_low"], table[f"{name}_high"] = table[name] - width, table[name] + width
    return table


def drawn():
    return ensemble_plot(standings(), baseline=0.25, photograph_baseline=0.57, notes=["A note."])


def test_every_accuracy_is_drawn_with_its_interval():
    accuracies = drawn().axes[0]
    dots = [float(line.get_xdata()[0]) for line in accuracies.get_lines() if len(line.get_xdata()) == 1]
    assert dots == pytest.approx([0.5, 0.6, 0.61, 0.8, 0.66, 0.83])
    ends = [
        segment[:, 0].round(3).tolist()
        for artist in accuracies.collections
        if isinstance(artist, LineCollection)
        for segment in artist.get_segments()
    ]
    assert ends == [[0.45, 0.55], [0.5, 0.7], [0.56, 0.66], [0.7, 0.9], [0.61, 0.71], [0.73, 0.93]]
    baselines = [line.get_xdata()[0] for line in accuracies.get_lines() if len(line.get_xdata()) == 2]
    assert baselines == [0.25, 0.57]


def test_every_members_weight_is_a_bar_and_the_ensemble_has_none():
    weights = drawn().axes[-1]
    assert [bar.get_width() for bar in weights.patches] == pytest.approx([0.62, -0.05])


def test_all_texts_are_legible(texts_of, check_legible):
    figure = drawn()
    texts = " ".join(texts_of(figure)).replace("\n", " ")
    for text in ("0: backbone=morphology", "66.0% (61% to 71%)", "83.0% (73% to 93%)", "0.62", "-0.05", "A note."):
        assert text in texts
    check_legible(figure)
