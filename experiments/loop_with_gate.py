"""A program that edits a model in a loop, with and without the gate, drawn on fresh photographs.

    uv run python experiments/loop_with_gate.py experiments/pictures/loop.png

The model is a small network on measures of rendered cells. Each edit changes one thing of it at random: a measure that
it sees, its width, its regularisation, or its step. Without the gate, an edit is kept if validation is better. With the
gate, it is kept if the gate says so, which may ask for more seeds first. What was kept is scored on fresh photographs
that no loop sees.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator, PercentFormatter
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bloodcell.cells.nucleus_features import N_NUMBERS, nucleus_features
from bloodcell.comparison import Gate
from bloodcell.console.progress import track
from bloodcell.plots.style import BLUE, VERMILION, finish, new_figure, tidy
from bloodcell.smears import CLASSES, render_photograph

N_TRAINING, N_VALIDATION, N_FRESH = 240, 120, 2000
N_EDITS, N_LOOPS, N_SCORED, MAX_SEEDS = 100, 6, 5, 16


def edited(config: dict, rng: np.random.Generator) -> dict:
    """Change one thing of a configuration at random."""
    match rng.integers(4):
        case 0:
            return {**config, "seen": config["seen"] ^ (np.arange(N_NUMBERS) == rng.integers(N_NUMBERS))}
        case 1:
            return {**config, "width": int(rng.integers(2, 40))}
        case 2:
            return {**config, "l2": float(10 ** rng.uniform(-4, 1))}
        case _:
            return {**config, "step": float(10 ** rng.uniform(-3, -1.3))}


def trained(config: dict, seed: int, cells: dict) -> MLPClassifier:
    """Train a configuration once."""
    network = MLPClassifier(
        config["width"], alpha=config["l2"], learning_rate_init=config["step"], max_iter=60, random_state=seed
    )
    numbers, labels = cells["training"]
    return make_pipeline(StandardScaler(), network).fit(numbers[:, config["seen"]], labels)


def table(model: MLPClassifier, config: dict, numbers: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Return the predictions of rendered cells, each a photograph of its own."""
    rows = pd.DataFrame({"path": [f"{number:05}" for number in range(len(labels))], "label": labels})
    probabilities = model.predict_proba(numbers[:, config["seen"]])
    return rows.assign(
        group=rows["path"], **{f"p_{name}": each for name, each in zip(CLASSES, probabilities.T, strict=True)}
    )


def accuracy(tables: list[pd.DataFrame]) -> float:
    """Return the mean accuracy of several trainings."""
    chances = [f"p_{name}" for name in CLASSES]
    right = [each[chances].to_numpy().argmax(axis=1) == each["label"].map(CLASSES.index) for each in tables]
    return float(np.mean(right))


def loop(cells: dict, *, seed: int, gated: bool) -> Iterator[tuple[float, float]]:
    """Edit a configuration again and again; yield its accuracy on validation and on fresh photographs each time."""
    rng, gate, seeds = np.random.default_rng(seed), Gate(":memory:", max_trainings=MAX_SEEDS), iter(range(10**6))
    kept = {"seen": np.ones(N_NUMBERS, bool), "width": 24, "l2": 0.1, "step": 0.02}

    def runs(config: dict, n: int) -> list[pd.DataFrame]:
        own = [trained(config, 10**6 * seed + next(seeds), cells) for _ in range(n)]
        return [table(each, config, *cells["validation"]) for each in own]

    def fresh() -> float:
        own = [trained(kept, number, cells) for number in range(N_SCORED)]
        return accuracy([table(each, kept, *cells["fresh"]) for each in own])

    incumbent, scored = runs(kept, 1), fresh()
    for _ in range(N_EDITS):
        config = edited(kept, rng)
        candidate = runs(config, 1)
        if gated:
            answer = gate.ask(incumbent=incumbent, candidate=candidate)
            while answer.more_trainings:
                candidate += runs(config, answer.more_trainings)
                incumbent += runs(kept, answer.more_incumbent_trainings)
                answer = gate.ask(incumbent=incumbent, candidate=candidate)
            better = answer.verdict == "keep"
        else:
            better = accuracy(candidate) > accuracy(incumbent)
        if better:
            kept, incumbent = config, candidate
            scored = fresh()
        yield accuracy(incumbent), scored


def draw(found: dict[str, np.ndarray]) -> Figure:
    """Draw the mean over loops of what validation promises and of what fresh photographs give, edit by edit."""
    figure = new_figure(title="What 100 random edits of a small network are worth", width=8.4, height=4.4)
    axes = figure.add_subplot()
    ends = []
    for (rule, values), colour in zip(found.items(), (VERMILION, BLUE), strict=True):
        for side, (word, style) in enumerate((("validation", "--"), ("fresh photographs", "-"))):
            mean = values[:, :, side].mean(axis=0)
            axes.plot(np.arange(1, N_EDITS + 1), mean, style, color=colour, linewidth=2)
            ends.append((mean[-1], f"{rule}: {word} {100 * mean[-1]:.1f} %", colour))
    place, gap = -np.inf, 0.06 * np.ptp(axes.get_ylim())
    for end, text, colour in sorted(ends):  # from below, so that no text covers another
        place = max(end, place + gap)
        axes.text(N_EDITS + 2, place, text, va="center", color=colour)
    axes.set_xlabel("edits tried")
    axes.set_ylabel("accuracy")
    axes.yaxis.set_major_locator(MultipleLocator(0.01))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlim(0, N_EDITS)
    tidy(axes, grid="y")
    return finish(figure)


def main(path: str) -> None:
    """Render the cells, run the loops, and draw them."""
    cells, first = {}, 0
    for part, n in (("training", N_TRAINING), ("validation", N_VALIDATION), ("fresh", N_FRESH)):
        names = [CLASSES[number % len(CLASSES)] for number in range(n)]
        shown = track(enumerate(names, start=first), f"rendering {part}", total=n)
        images = (render_photograph(name, slide=number % 12, seed=number).image for number, name in shown)
        cells[part] = nucleus_features(images).numbers, np.array(names)
        first += n
    found = {}
    for rule, gated in (("better on validation", False), ("gate", True)):
        loops = track(range(N_LOOPS), rule, total=N_LOOPS)
        found[rule] = np.array([list(loop(cells, seed=seed, gated=gated)) for seed in loops])
        print(rule, "starts and ends at", found[rule][:, [0, -1]].mean(axis=0).round(4).tolist())
    draw(found).savefig(Path(path), dpi=120)


if __name__ == "__main__":
    main(sys.argv[1])
