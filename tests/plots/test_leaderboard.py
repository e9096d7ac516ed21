import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from bloodcell.plots.drawing import save_figure
from bloodcell.plots.leaderboard import leaderboard_plot

LONG_RUN = "mobilenetv2_lr=0.001,dropout=0.3,augmentation=strong,μ=1,x=2"
NOTE = "* Copies of one photograph can be in training and validation."


def board() -> pd.DataFrame:
    """Three runs: one with all metrics, one without a test set, one without intervals and photographs."""
    table = pd.DataFrame(
        {
            "run": [f"{LONG_RUN} *", "xception", "$resnet$"],
            "can_win": [False, True, True],
            "baseline_accuracy": [0.25, 0.25, 0.31],
            "baseline_photograph_accuracy": [0.68, 0.68, 0.68],
            "val_accuracy": [0.93, 0.9, 0.5],
            "test_accuracy": [0.62, np.nan, 0.2],
        }
    )
    for split in ("val", "test"):
        accuracy = table[f"{split}_accuracy"]
        table[f"{split}_photograph_accuracy"] = accuracy + 0.02
        for name, width in ((f"{split}_accuracy", 0.05), (f"{split}_photograph_accuracy", 0.1)):
            table[f"{name}_low"] = table[name] - width
            table[f"{name}_high"] = (table[name] + width).clip(upper=1)
    table.loc[2, [name for name in table if name.endswith(("_low", "_high")) or "photograph" in name]] = np.nan
    return table


def segments(figure: Figure) -> list[list[float]]:
    """Return the ends of all horizontal lines of a figure's panel, from left to right."""
    (axes,) = figure.axes
    lines = [artist for artist in axes.collections if isinstance(artist, LineCollection)]
    # An unknown interval is a segment without points.
    ends = [np.asarray(segment) for artist in lines for segment in artist.get_segments() if len(segment)]
    return sorted(end[:, 0].round(3).tolist() for end in ends if end[0, 1] == end[1, 1])


def dots(figure: Figure) -> list[float]:
    (axes,) = figure.axes
    return [float(line.get_xdata()[0]) for line in axes.get_lines() if len(line.get_xdata()) == 1]


def test_every_accuracy_is_a_dot_with_its_interval_in_the_order_of_the_table():
    figure = leaderboard_plot(board())
    (axes,) = figure.axes
    names = [text.get_text().replace("\n", "") for text in axes.texts if text.get_fontweight() == "bold"]
    assert names == [f"{LONG_RUN} *", "xception", "$resnet$"]
    drawn = [dot for dot in dots(figure) if not np.isnan(dot)]
    assert drawn == pytest.approx([0.93, 0.95, 0.62, 0.64, 0.9, 0.92, 0.5, 0.2])
    assert segments(figure) == [[0.54, 0.74], [0.57, 0.67], [0.82, 1.0], [0.85, 0.95], [0.85, 1.0], [0.88, 0.98]]


def test_the_numbers_are_next_to_the_dots(texts_of, check_legible):
    figure = leaderboard_plot(board(), notes=[NOTE])
    texts = texts_of(figure)
    assert any(text.startswith(NOTE[:30]) for text in texts)
    assert {"By image", "Validation", "93.0% (88% to 98%)", "95.0% (85% to 100%)"} <= set(texts)
    assert "50.0% (interval unknown)" in texts
    assert "not evaluated" in texts
    check_legible(figure)


def test_runs_without_photographs_have_no_column_for_them(texts_of, check_legible):
    figure = leaderboard_plot(board().iloc[2:])
    assert "By photograph" not in texts_of(figure)
    assert dots(figure) == [0.5, 0.2]
    check_legible(figure)


def test_the_baselines_of_each_run_are_lines_through_its_lines():
    (axes,) = leaderboard_plot(board()).axes
    drawn = [
        artist
        for artist in axes.collections
        if isinstance(artist, LineCollection) and artist.get_linestyle()[0][1] is not None
    ]
    # An unknown baseline is a segment without points.
    by_image, by_source = ([np.asarray(end) for end in lines.get_segments() if len(end)] for lines in drawn)
    assert [end[:, 0].tolist() for end in by_image] == [[0.25, 0.25], [0.25, 0.25], [0.31, 0.31]]
    assert [end[:, 0].tolist() for end in by_source] == [[0.68, 0.68]] * 2
    middles = [line.get_ydata()[0] for line in axes.get_lines()]
    assert all(any(end[0, 1] < middle < end[1, 1] for end in by_image) for middle in middles)


def test_one_run_and_many_runs_are_legible(check_legible):
    check_legible(leaderboard_plot(board().iloc[:1]))
    check_legible(leaderboard_plot(pd.concat([board()] * 4, ignore_index=True), notes=[NOTE, NOTE * 5]))


def rivals(*intervals: tuple[float, float]) -> pd.DataFrame:
    """Return runs whose accuracy is the middle of their interval in validation."""
    table = pd.concat([board().iloc[[1]]] * len(intervals), ignore_index=True)
    table["run"] = [f"run {number}" for number in range(len(intervals))]
    table["val_accuracy_low"], table["val_accuracy_high"] = zip(*intervals, strict=True)
    table["val_accuracy"] = table[["val_accuracy_low", "val_accuracy_high"]].mean(axis="columns")
    return table


def test_the_title_names_the_run_that_leads_or_says_how_many_may():
    def title(table: pd.DataFrame) -> str:
        return " ".join(leaderboard_plot(table).texts[0].get_text().split())

    assert title(rivals((0.5, 0.6), (0.8, 0.842), (0.7, 0.79))) == "run 1 leads by 7.6 points in validation"
    assert title(rivals((0.5, 0.6), (0.8, 0.84), (0.7, 0.81))).startswith("No clear winner among 2 of 3 runs")
    # The best run cannot win.
    leaky = rivals((0.9, 0.95), (0.8, 0.84), (0.7, 0.79)).assign(can_win=[False, True, True])
    assert title(leaky) == "run 1 leads by 7.5 points in validation"
    assert title(leaky.assign(can_win=False)) == "No run can win"


def test_an_interval_from_0_to_100_percent_is_not_drawn_and_decides_nothing(texts_of, check_legible):
    figure = leaderboard_plot(rivals((0.9, 0.95), (0.0, 1.0)).assign(test_accuracy=np.nan))
    assert [0.0, 1.0] not in segments(figure)
    texts = texts_of(figure)
    assert "50.0% (interval unknown)" in texts
    assert any(text.startswith("No clear winner among 2 of 2 runs") for text in texts)
    check_legible(figure)


def test_the_smallest_text_has_eight_pixels_on_a_telephone():
    figure = leaderboard_plot(board(), notes=[NOTE])
    figure.canvas.draw()
    smallest = min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text())
    assert smallest / 72 * 390 / figure.get_size_inches()[0] >= 8


def test_a_saved_leaderboard_is_a_small_png(tmp_path):
    save_figure(leaderboard_plot(board()), tmp_path, "leaderboard")
    path = tmp_path / "plots" / "leaderboard.png"
    with Image.open(path) as picture:
        assert picture.format == "PNG"
    assert path.stat().st_size < 150_000
