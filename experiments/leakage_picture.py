"""Draw the effect of a leaky split: the README's first picture.

    uv run bloodcell train -m experiment=leakage data=bccd data.root=path/to/blood-cells
    uv run python experiments/leakage_picture.py PATH/TO/leaderboard.csv experiments/pictures/leakage.png

The table is the sweep's ``leaderboard.csv``: in MLflow, an artifact of its parent run.
"""

import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from bloodcell.plots.style import BLUE, INK, MUTED, ORANGE, VERMILION, finish, new_figure, tidy

SPLITS = {"random": "Random split:\ncopies in both", "group_holdout": "Split by\nphotograph"}
SIDES = {"val": ("validation", ORANGE, -0.16), "test": ("test set", BLUE, 0.16)}
TEXT = 15.0


def draw(table: pd.DataFrame) -> Figure:
    """Draw accuracy by image with its 95 % interval, two rows for each split."""
    rows = {name: next(row for _, row in table.iterrows() if name in row["run"]) for name in SPLITS}
    leaky = rows["random"]
    validation, test = (percent(leaky[f"{side}_accuracy"]) for side in SIDES)
    title = f"A random split promises {validation},\nthe test set gives {test}"
    figure = new_figure(title="", width=7.2, height=4.2)
    figure.suptitle(title, x=0.02, ha="left", fontsize=TEXT + 3, fontweight="bold", color=INK)
    axes = figure.add_subplot()
    for place, (name, label) in enumerate(SPLITS.items()):
        axes.text(-0.02, place, label, transform=axes.get_yaxis_transform(), ha="right", va="center", fontsize=TEXT)
        for side, (word, colour, shift) in SIDES.items():
            value, low, high = (rows[name][f"{side}_accuracy{end}"] for end in ("", "_low", "_high"))
            axes.hlines(place + shift, low, high, color=colour, linewidth=4)
            axes.plot(value, place + shift, "o", color=colour, markersize=12)
            axes.text(high + 0.015, place + shift, f"{percent(value)} {word}", va="center", fontsize=TEXT, color=INK)
    baseline = leaky["baseline_accuracy"]
    axes.axvline(baseline, color=VERMILION, linestyle="--", linewidth=1.6)
    axes.text(
        baseline - 0.01, 1.44, f"majority class {percent(baseline)}", ha="right", fontsize=TEXT - 3, color=VERMILION
    )
    axes.set(xlim=(0, 1.12), ylim=(1.55, -0.45), yticks=[], xticks=[0, 0.25, 0.5, 0.75, 1])
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    tidy(axes, grid="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(labelsize=TEXT - 2)
    axes.set_xlabel("Accuracy, with 95 % confidence interval", fontsize=TEXT - 1, color=MUTED)
    return finish(figure)


def percent(share: float) -> str:
    """Write a share as a whole percentage."""
    return f"{100 * share:.0f} %"


if __name__ == "__main__":
    draw(pd.read_csv(Path(sys.argv[1]))).savefig(sys.argv[2])
