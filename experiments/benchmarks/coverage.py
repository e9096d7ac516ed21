"""Coverage of intervals, false differences and power of verdicts, if the truth is known.

    uv run python experiments/benchmarks/coverage.py 400 experiments/pictures/coverage.png [PROCESSES]

Simulates predictions, the given number of times for each line. The photographs are those of the Kaggle set's TRAIN (75,
27, 16 and 159 of the four classes, with 33, 92, 155 and 16 images each), or 20 or 40 of each class with 9 to 160 images
each. Intervals are computed by `score_interval`, verdicts by `compare`. 400 simulations take about 20 minutes per line
on one core.

- *Intervals*: how often a 95 % interval contains the true score; also Wilson's interval of the accuracy, which assumes
  independent images. In *a hard class*, the class of few large photographs has an accuracy of 0.5, the others 0.9.
- *False differences*: how often any two of eight equally accurate models (28 pairs) are found to differ; also McNemar's
  exact test, which assumes independent images, corrected for 28 pairs. In one setting the correlation of errors within
  photographs is equal in all models; in another it is high in four models and low in four.
- *Power*: how often a difference is found, for photographs of one image; also McNemar's exact test, valid here.

An image is classified correctly if a normal variate is above zero: the sum of a level, a term of the photograph (with
the given correlation as its share of the variance), and a term of the image. Models share half of both terms. The true
class's probability is a logistic function of three times the variate; the rest is the probability of one other class,
the same for all images of a photograph.

One JSON line has all rates; the plot shows them.
"""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from bloodcell.comparison import compare
from bloodcell.comparison.verdicts import BETTER, WORSE
from bloodcell.console.progress import track
from bloodcell.evaluation.intervals import score_interval
from bloodcell.evaluation.multiple_testing import holm
from bloodcell.evaluation.probabilities import predicted_classes
from bloodcell.evaluation.scores import SCORES, Predictions
from bloodcell.plots.style import BLUE, FAINT, MUTED, ORANGE, SMALL_SIZE, TEXT_SIZE, finish, new_figure, tidy

CLASSES = ("A", "B", "C", "D")
SHAPES = {
    "as TRAIN": ((75, 33), (27, 92), (16, 155), (159, 16)),
    "20 a class": ((20, None),) * 4,
    "40 a class": ((40, None),) * 4,
}
"""Photographs, and images of each, in every class; None: between 9 and 160."""
METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "brier", "auroc")
SEVERAL = 8
HARD = (0.9, 0.9, 0.5, 0.9)
"""The accuracy of each class."""
NAIVE = "images assumed independent"


def drawn(
    rng: np.random.Generator, *, shape: Any, levels: list[Any], correlations: list[float], shared: float = 0.5
) -> tuple[pd.DataFrame, list[NDArray[np.float64]]]:
    """Draw images, and each model's probabilities for them; a model's level is one number, or one for each class."""
    sizes = [
        np.full(n, images) if images else np.exp(rng.uniform(np.log(9), np.log(161), n)).astype(int)
        for n, images in shape
    ]
    images = np.concatenate(sizes)
    photograph = np.repeat(np.arange(images.size), images)
    label = np.repeat(np.arange(len(shape)), [n for n, _ in shape])[photograph]
    table = pd.DataFrame(
        {
            "path": [f"{number:06}" for number in range(photograph.size)],
            "label": np.array(CLASSES)[label],
            "group": [f"{number:05}" for number in photograph],
        }
    )
    both = [rng.standard_normal(images.size), rng.standard_normal(photograph.size)]
    predicted_class = (label + rng.integers(1, 4, images.size)[photograph]) % 4
    rows = np.arange(photograph.size)
    answers = []
    for level, correlation in zip(levels, correlations, strict=True):
        parts = [np.sqrt(shared) * part + np.sqrt(1 - shared) * rng.standard_normal(part.size) for part in both]
        variate = (
            np.broadcast_to(level, len(shape))[label]
            + np.sqrt(correlation) * parts[0][photograph]
            + np.sqrt(1 - correlation) * parts[1]
        )
        right = np.clip(1 / (1 + np.exp(-3 * variate)), 1e-6, 1 - 1e-6)
        probabilities = np.zeros((photograph.size, 4))
        probabilities[rows, label], probabilities[rows, predicted_class] = right, 1 - right
        answers.append(probabilities)
    return table, answers


def with_probabilities(table: pd.DataFrame, probabilities: NDArray[np.float64]) -> pd.DataFrame:
    """Return a table of predictions."""
    columns = [f"p_{name}" for name in CLASSES]
    return pd.concat([table, pd.DataFrame(probabilities, columns=columns)], axis=1)


def answers_of(table: pd.DataFrame, probabilities: NDArray[np.float64]) -> dict[str, Predictions]:
    """Return a model's predictions by image and by photograph."""
    by_image = Predictions(
        labels=pd.Index(CLASSES).get_indexer(table["label"]).astype(np.int64),
        probabilities=probabilities,
        groups=table["group"].astype(int).to_numpy(),
    )
    return {"image": by_image, "group": by_image.by_source()}


def truth_of(shape: Any, *, level: Any, correlation: float) -> dict[tuple[str, str], float]:
    """Return each score, by image and by photograph, on a hundred times as many photographs."""
    rng = np.random.default_rng(1)
    many = [(100 * n, images) for n, images in shape]
    table, (probabilities,) = drawn(rng, shape=many, levels=[level], correlations=[correlation])
    answers = answers_of(table, probabilities)
    return {
        (name, unit): SCORES[name].function(each.labels, each.probabilities)
        for name in METRICS
        for unit, each in answers.items()
    }


def coverage(task: tuple[str, Any, float, int, int]) -> dict[str, float]:
    """Return how often intervals contain the truth."""
    name, accuracy, correlation, repetitions, seed = task
    level = stats.norm.ppf(accuracy)
    truth = truth_of(SHAPES[name], level=level, correlation=correlation)
    rng = np.random.default_rng(seed)
    held = []
    for _ in range(repetitions):
        table, (probabilities,) = drawn(rng, shape=SHAPES[name], levels=[level], correlations=[correlation])
        answers = answers_of(table, probabilities)
        once = {}
        for (metric, unit), value in truth.items():
            interval = score_interval(SCORES[metric], [answers[unit]])
            once[f"{metric} by {unit}"] = interval.low <= value <= interval.high
        right = predicted_classes(probabilities) == answers["image"].labels
        wilson = stats.binomtest(int(right.sum()), right.size).proportion_ci(method="wilson")
        held.append(once | {NAIVE: wilson.low <= truth["accuracy", "image"] <= wilson.high})
    return pd.DataFrame(held).mean().to_dict()


def false_differences(task: tuple[str, float, list[float], int, int]) -> dict[str, float]:
    """Return how often any two of eight equal models are found to differ."""
    name, accuracy, correlations, repetitions, seed = task
    rng = np.random.default_rng(seed)
    ours, naive = [], []
    for _ in range(repetitions):
        levels = [float(stats.norm.ppf(accuracy))] * SEVERAL
        table, answers = drawn(rng, shape=SHAPES[name], levels=levels, correlations=correlations)
        tables = {str(number): with_probabilities(table, each) for number, each in enumerate(answers)}
        verdicts = compare(tables).verdicts
        models = verdicts[verdicts["a"].isin(tables) & verdicts["b"].isin(tables)]
        ours.append(models["verdict"].isin([BETTER, WORSE]).any())
        labels = pd.Index(CLASSES).get_indexer(table["label"])
        right = [each.argmax(axis=1) == labels for each in answers]
        p_values = np.array([mcnemar(one, other) for one, other in combinations(right, 2)])
        naive.append((holm(p_values) < 0.05).any())
    return {"bloodcell": float(np.mean(ours)), NAIVE: float(np.mean(naive))}


def power(task: tuple[float, int, int]) -> dict[str, float]:
    """Return how often a difference between two models is found, on 277 photographs of one image."""
    difference, repetitions, seed = task
    rng = np.random.default_rng(seed)
    shape = tuple((n, 1) for n, _ in SHAPES["as TRAIN"])
    levels = [float(stats.norm.ppf(0.85)), float(stats.norm.ppf(0.85 - difference))]
    ours, exact = [], []
    for _ in range(repetitions):
        table, answers = drawn(rng, shape=shape, levels=levels, correlations=[0.5, 0.5])
        tables = {name: with_probabilities(table, each) for name, each in zip("ab", answers, strict=True)}
        verdicts = compare(tables).verdicts
        ours.append(verdicts["verdict"].iloc[0] in (BETTER, WORSE))
        labels = pd.Index(CLASSES).get_indexer(table["label"])
        exact.append(mcnemar(*(each.argmax(axis=1) == labels for each in answers)) < 0.05)
    return {"bloodcell": float(np.mean(ours)), "McNemar's exact test": float(np.mean(exact))}


def mcnemar(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Return McNemar's exact p-value of two models' correct predictions."""
    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    return float(stats.binomtest(only_one, only_one + only_other).pvalue) if only_one + only_other else 1.0


def tasks(repetitions: int) -> Iterator[tuple[str, Any, Any]]:
    """Yield the measurements: name, function and argument."""
    for name in SHAPES:
        for accuracy, correlation in ((0.6, 0.5), (0.85, 0.2), (0.85, 0.5), (0.85, 0.8), (0.95, 0.5)):
            line = f"{name}, accuracy {accuracy}, correlation {correlation}"
            yield f"coverage: {line}", coverage, (name, accuracy, correlation, repetitions, 2)
        if name == "as TRAIN":
            for correlation in (0.2, 0.8):
                line = f"{name}, a hard class, correlation {correlation}"
                yield f"coverage: {line}", coverage, (name, HARD, correlation, repetitions, 2)
        for kind, correlations in (("alike", [0.5] * SEVERAL), ("much and little", [0.8, 0.1] * (SEVERAL // 2))):
            line = f"{name}, accuracy 0.85, {kind}"
            yield f"false: {line}", false_differences, (name, 0.85, correlations, repetitions, 3)
    for difference in (0.0, 0.02, 0.04, 0.06, 0.08):
        yield f"power: {difference}", power, (difference, repetitions, 4)


def picture(rates: dict[str, dict[str, float]], repetitions: int, to: Path) -> None:
    """Draw all rates."""
    covered = {name.partition(": ")[2]: each for name, each in rates.items() if name.startswith("coverage")}
    false = {name.partition(": ")[2]: each for name, each in rates.items() if name.startswith("false")}
    found = {float(name.partition(": ")[2]): each for name, each in rates.items() if name.startswith("power")}
    figure = new_figure(
        title="How often intervals and verdicts are right",
        width=11.5,
        height=5.6,
        notes=[
            f"{repetitions} simulations a line, of four classes and photographs of 9 to 160 images; dots are the "
            "scores by image and by photograph. Orange: the usual methods, which assume independent images."
        ],
    )
    grid = figure.add_gridspec(2, 2, width_ratios=[1.25, 1], height_ratios=[1, 1])
    intervals, differences, powers = (figure.add_subplot(grid[part]) for part in ((slice(None), 0), (0, 1), (1, 1)))
    for place, each in enumerate(covered.values()):
        values = [rate for name, rate in each.items() if name != NAIVE]
        intervals.plot(values, [place] * len(values), "o", color=BLUE, alpha=0.45, markersize=5, markeredgewidth=0)
        intervals.plot(each[NAIVE], place, "D", color=ORANGE, markersize=5)
    intervals.axvspan(0.93, 0.97, color=FAINT, alpha=0.6, linewidth=0)
    intervals.axvline(0.95, color=MUTED, linewidth=0.8)
    intervals.set_yticks(range(len(covered)), list(covered), fontsize=SMALL_SIZE)
    intervals.invert_yaxis()
    intervals.set_xlim(0, 1.02)
    intervals.set_title("How often a 95 % interval contains the truth", loc="left", fontsize=TEXT_SIZE)
    for place, each in enumerate(false.values()):
        differences.barh(place - 0.18, each["bloodcell"], 0.32, color=BLUE)
        differences.barh(place + 0.18, each[NAIVE], 0.32, color=ORANGE)
    differences.axvline(0.05, color=MUTED, linewidth=0.8)
    names = [name.replace(", accuracy 0.85", "") for name in false]
    differences.set_yticks(range(len(false)), names, fontsize=SMALL_SIZE)
    differences.invert_yaxis()
    differences.set_xlim(0, 1)
    differences.set_title("How often eight equal models are found to differ", loc="left", fontsize=TEXT_SIZE)
    points = 100 * np.array(list(found))
    for name, colour, style in (("McNemar's exact test", ORANGE, "--"), ("bloodcell", BLUE, "-")):
        powers.plot(points, [each[name] for each in found.values()], style, color=colour, marker="o", label=name)
    powers.set_ylim(0, 1)
    powers.set_xlabel("true difference in points", fontsize=SMALL_SIZE)
    powers.legend(fontsize=SMALL_SIZE, frameon=False)
    powers.set_title("How often a difference is found, one image each", loc="left", fontsize=TEXT_SIZE)
    for axes, lines in ((intervals, "x"), (differences, "x"), (powers, "y")):
        tidy(axes, grid=lines)
        axes.tick_params(labelsize=SMALL_SIZE)
    finish(figure).savefig(to)


def main(repetitions: int, to: Path, processes: int | None = None) -> None:
    """Measure everything, print the line and draw the plot."""
    names, functions, arguments = zip(*tasks(repetitions), strict=True)
    with ProcessPoolExecutor(max_workers=processes) as pool:
        running = [pool.submit(function, argument) for function, argument in zip(functions, arguments, strict=True)]
        under_way = track(zip(names, running, strict=True), "simulating", total=len(names))
        rates = {name: each.result() for name, each in under_way}
    print(json.dumps(rates))
    picture(rates, repetitions, to)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
