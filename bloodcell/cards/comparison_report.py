"""The report of a comparison: a self-contained HTML page, Markdown and JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bloodcell.cards.comparison_errors import Picture, misclassified_sources, predicted_sources
from bloodcell.comparison.comparing import Comparison, cheapest
from bloodcell.comparison.decision import Decision, decide, models_by_rank
from bloodcell.comparison.sentences import format_interval, format_score
from bloodcell.comparison.verdicts import BETTER, EQUIVALENT, INCONCLUSIVE, REVERSED, WORSE
from bloodcell.console.json_output import plain
from bloodcell.evaluation.calibration import calibration_bins, calibration_errors
from bloodcell.evaluation.evidence import barring
from bloodcell.evaluation.metrics import confusion, per_class
from bloodcell.evaluation.scores import Predictions, Score
from bloodcell.files import atomic_write
from bloodcell.plots import svg as charts
from bloodcell.plots.svg import MAX_CLASSES, rows
from bloodcell.templates import render
from bloodcell.wording import plural

N_EXPLORED = 6
"""Most runs of the command that shows every image."""
SIGNS = {BETTER: "▲", WORSE: "▼", EQUIVALENT: "=", INCONCLUSIVE: "·"}
COSTS = {
    "parameters": "parameters",
    "flops": "floating-point operations per image",
    "milliseconds": "milliseconds per image",
}
"""The costs of a run, with their labels."""
CURVES_LABEL = "validation accuracy, %"
CLASS_METRICS = ("recall", "precision", "f1")


def known_costs(measured: Mapping[str, float]) -> dict[str, float]:
    """Return the costs by the keys of `COSTS` that are known from those that a run measured, by their names."""
    speed = measured.get("images_per_second")
    known = {name: measured[name] for name in ("parameters", "flops") if name in measured}
    return known | ({"milliseconds": 1000 / speed} if speed else {})


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """The facts on a run besides its predictions.

    Attributes
    ----------
    configuration
        Its settings by name.
    costs
        Known costs, by the keys of `COSTS`.
    curve
        Pairs of epoch and validation accuracy, in 0..1; may be empty.
    run_ids
        Of its trainings, MLflow's.
    """

    configuration: Mapping[str, str] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    curve: Sequence[tuple[float, float]] = ()
    run_ids: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Report:
    """A comparison with the facts that its report shows; the page has `Comparison.leading` runs, the JSON all.

    Attributes
    ----------
    runs
        Facts by run; some may be missing.
    warnings
        Limitations, a sentence each.
    facts
        The origin of the comparison, by name.
    picture
        Returns a small JPEG of the image with a path; None if there is none.
    """

    title: str
    comparison: Comparison
    runs: Mapping[str, RunFacts] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    picture: Picture = lambda path: None  # noqa: ARG005 - no pictures

    def facts_of(self, run: str) -> RunFacts:
        """Return the facts on a run."""
        return self.runs.get(run, RunFacts())

    @cached_property
    def sources(self) -> dict[str, pd.DataFrame]:
        """Each run's predictions by source, see `predicted_sources`."""
        aligned = self.comparison.aligned
        return {each.name: predicted_sources(aligned, each) for each in aligned.candidates}

    @cached_property
    def models(self) -> list[str]:
        """The models of the page, the best first; a trivial baseline if there is no other."""
        leading = set(self.order)
        return [run for run in models_by_rank(self.comparison) if run in leading] or self.order

    @property
    def misclassified_by_all(self) -> list[str]:
        """The sources that all models misclassify."""
        tables = [self.sources[run] for run in models_by_rank(self.comparison)] or list(self.sources.values())
        wrong = ~np.any([table["correct"].to_numpy() for table in tables], axis=0)
        return [str(each) for each in tables[0].loc[wrong, "source"]]

    @cached_property
    def order(self) -> list[str]:
        """The runs of the page, the best first."""
        leading = set(self.comparison.leading)
        return [run for run in self.comparison.ranking["run"] if run in leading]

    @cached_property
    def decision(self) -> Decision:
        """Which model to use, and what would settle what is open."""
        return decide(self.comparison, costs={COSTS[cost]: self.costs(cost) for cost in COSTS})

    @property
    def cheapest(self) -> dict[str, str | None]:
        """The run of the lowest cost that may be the best, for each of `COSTS`; None if the costs are unknown."""
        return {cost: cheapest(self.comparison, self.costs(cost)) for cost in COSTS}

    @cached_property
    def data(self) -> dict[str, Any]:
        """The content of ``report.json``; undefined numbers are null."""
        comparison = self.comparison
        verdicts = comparison.verdicts.assign(sentence=comparison.sentences)
        data = {
            "title": self.title,
            "summary": list(self.decision.sentences),
            "warnings": list(self.warnings),
            "facts": dict(self.facts),
            "split": comparison.aligned.split,
            "images": comparison.n_images,
            "photographs": int(comparison.aligned.images["source"].nunique()),
            "groups": comparison.n_groups,
            "group_name": comparison.group_name,
            "equivalence": comparison.equivalence,
            "certificate": asdict(comparison.certificate),
            "estimates": comparison.estimates.to_dict("records"),
            "verdicts": verdicts.to_dict("records"),
            "ranking": comparison.ranking.to_dict("records"),
            "not_worse_than_the_best": comparison.not_worse(),
            "cheapest": self.cheapest,
            "wrong_of_all": self.misclassified_by_all,
            "runs": {
                run: {
                    "configuration": dict(each.configuration),
                    "costs": dict(each.costs),
                    "run_ids": list(each.run_ids),
                }
                for run, each in self.runs.items()
            },
        }
        return dict(plain(data))

    def costs(self, cost: str) -> dict[str, float]:
        """Return the known costs of a kind by run."""
        return {run: float(each.costs[cost]) for run, each in self.runs.items() if each.costs.get(cost)}


def write_report(report: Report, folder: Path) -> None:
    """Write the report as HTML, Markdown, JSON and CSV tables into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    values = _values(report)
    for name, text in (
        ("report.html", render("bloodcell.cards", "comparison_report.html.jinja", values)),
        ("report.md", render("bloodcell.cards", "comparison_report.md.jinja", values)),
        ("report.json", json.dumps(report.data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"),
        ("estimates.csv", report.comparison.estimates.to_csv(index=False)),
        ("verdicts.csv", report.comparison.verdicts.to_csv(index=False)),
    ):
        with atomic_write(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")


def _explore_command(report: Report) -> str:
    """Return the command that shows every image of the first runs; empty if all are files."""
    ids = [run_id for run in report.order for run_id in report.facts_of(run).run_ids[:1]]
    return f"bloodcell explore runs=[{','.join(ids[:N_EXPLORED])}]" if ids else ""


def _values(report: Report) -> dict[str, Any]:
    """Return the values of the templates."""
    comparison = report.comparison
    order = report.order
    numbers = {run: number for number, run in enumerate(order)}
    predictions = {
        candidate.name: comparison.aligned.predictions(candidate)[0]
        for candidate in comparison.aligned.candidates
        if candidate.name in numbers
    }
    curves = {run: report.facts_of(run).curve for run in order if len(report.facts_of(run).curve) > 1}
    return {
        "report": report,
        "explore": _explore_command(report),
        "decision": report.decision,
        "models": report.models,
        "comparison": comparison,
        "score": comparison.scores[0],
        "headings": list(comparison.units.values()),
        "groups": plural(comparison.group_name),
        "group": comparison.group_name,
        "swatches": {run: charts.swatch(numbers[run]) for run in order},
        "board": _board(report),
        "estimates": _estimates(report),
        "matrices": [(score, _matrix(report, score)) for score in comparison.scores],
        "sentences": _sentences(report),
        "signs": SIGNS,
        "cost_charts": [chart for cost in COSTS if (chart := _cost_chart(report, cost, numbers=numbers)) is not None],
        "curves": charts.curves_chart(curves, numbers=numbers, label=CURVES_LABEL) if curves else None,
        "curve_runs": list(curves),
        "confusions": _confusions(predictions, order=order, classes=comparison.aligned.classes),
        "calibrations": [_calibration(predictions[run], run=run) for run in order],
        "class_metrics": CLASS_METRICS,
        "per_class": _per_class(predictions, order=order, classes=comparison.aligned.classes),
        "misclassified": misclassified_sources(report.sources, models=report.models, picture=report.picture),
        "disagreement": _disagreement(report),
        "differences": _differences(report, order),
        "runs": {run: report.facts_of(run) for run in order},
    }


def _board(report: Report) -> list[dict[str, Any]]:
    """Return the rows of the leaderboard, the best first."""
    comparison = report.comparison
    score = comparison.scores[0]
    by = comparison.estimates_of(score)
    trivial = comparison.aligned.trivial
    baseline = float(by["image"]["value"][comparison.aligned.baseline])
    scale = _scale(by["image"][by["image"].index.isin(report.models)], baseline=baseline)
    lines = []
    shown = comparison.ranking[comparison.ranking["run"].isin(report.order)]
    for rank, each in enumerate(rows(shown), 1):
        image, *others = (table.loc[each.run] for table in by.values())
        lines.append(
            {
                "rank": rank,
                "run": each.run,
                "value": image["value"],
                "by_image": format_interval(image, score),
                "others": [(other["value"], format_interval(other, score)) for other in others],
                "bar": charts.interval_bar(
                    image["value"],
                    image["low"],
                    image["high"],
                    scale=scale,
                    baseline=baseline,
                    label=f"{each.run}: {format_interval(image, score)}",
                ),
                "standing": _standing(each, trivial),
                "barred": each.barred,
                "evidence": each.evidence,
                "costs": {cost: report.facts_of(each.run).costs.get(cost) for cost in COSTS},
            }
        )
    unit = "%" if score.is_share else score.label
    lines[-1]["axis"] = charts.axis_bar(scale, unit=unit, times=100 if score.is_share else 1)
    return lines


def _standing(row: Any, trivial: Sequence[str]) -> str:
    if row.barred:
        return barring(row.evidence)
    return "may be the best" if row.can_be_best else "baseline" if row.run in trivial else "not the best"


def _scale(table: pd.DataFrame, *, baseline: float) -> charts.Scale:
    low, high = (float(np.nanmin([table["low"].min(), baseline])), float(np.nanmax([table["high"].max(), baseline])))
    if not math.isfinite(low) or not math.isfinite(high) or low == high:
        low, high = 0.0, 1.0
    margin = 0.03 * (high - low)
    return charts.Scale(low=low - margin, high=high + margin, start=6, end=234)


def _estimates(report: Report) -> list[tuple[str, list[tuple[float, str]]]]:
    """Return each run's scores by image: the value, and the text with its interval."""
    comparison = report.comparison
    by_image = [(score, comparison.estimates_of(score)["image"].to_dict("index")) for score in comparison.scores]
    return [
        (run, [(table[run]["value"], format_interval(table[run], score)) for score, table in by_image])
        for run in report.order
    ]


def _matrix(report: Report, score: Score) -> list[tuple[str, list[dict[str, str] | None]]]:
    """Return the matrix of verdicts: a row and a column per run, the best first."""
    comparison, order = report.comparison, report.order
    verdicts = comparison.verdicts[comparison.verdicts["metric"] == score.name]
    verdicts = verdicts[verdicts["a"].isin(order) & verdicts["b"].isin(order)]
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows(verdicts):
        defined = math.isfinite(row.difference)
        for a, b, verdict, sign in ((row.a, row.b, row.verdict, 1), (row.b, row.a, REVERSED[row.verdict], -1)):
            difference = format_score(sign * row.difference, score, signed=True) if defined else ""
            sentence = comparison.sentences[row.Index]
            cells[a, b] = {"verdict": verdict, "difference": difference, "sentence": sentence}
    return [(a, [cells.get((a, b)) for b in order]) for a in order]


def _sentences(report: Report) -> list[str]:
    """Return the sentence of each pair by the first metric."""
    comparison = report.comparison
    first, shown = comparison.scores[0].name, set(report.order)
    return [
        sentence
        for row, sentence in zip(rows(comparison.verdicts), comparison.sentences, strict=True)
        if row.metric == first and {row.a, row.b} <= shown
    ]


def _cost_chart(report: Report, cost: str, *, numbers: Mapping[str, int]) -> Any:
    """Return a chart of the first score against a cost; None for fewer than two runs."""
    comparison = report.comparison
    score = comparison.scores[0]
    table = comparison.ranking[["run", "value", "low", "high"]].replace([np.inf, -np.inf], np.nan).dropna()
    table = table[table["run"].isin(numbers)]
    table = table.assign(cost=table["run"].map(report.costs(cost)), number=table["run"].map(numbers)).dropna()
    if len(table) < 2:
        return None
    better = 1 if score.greater_is_better else -1
    table = table.assign(goodness=better * table["value"]).sort_values(["cost", "goodness"], ascending=[True, False])
    best_so_far = table["goodness"].cummax()
    table["front"] = (table["goodness"] == best_so_far) & ~best_so_far.duplicated()
    name = score.label + (", %" if score.is_share else "")
    return charts.cost_chart(table, cost=COSTS[cost], score=name, times=100 if score.is_share else 1)


def _confusions(
    predictions: Mapping[str, Predictions], *, order: Sequence[str], classes: Sequence[str]
) -> list[dict[str, Any]]:
    """Return each run's confusion matrix (row %), and its difference from the first; none of too many classes."""
    if len(classes) > MAX_CLASSES:
        return []
    counts = {
        run: confusion(labels=predictions[run].labels, probabilities=predictions[run].probabilities, classes=classes)
        for run in order
    }
    shares = {run: 100 * each / np.maximum(each.sum(axis=1, keepdims=True), 1) for run, each in counts.items()}
    first = shares[order[0]]
    return [
        {
            "run": run,
            "shares": shares[run].round().astype(int).tolist(),
            "difference": (shares[run] - first).round(1).tolist(),
        }
        for run in order
    ]


def _calibration(predictions: Predictions, *, run: str) -> dict[str, Any]:
    bins = calibration_bins(labels=predictions.labels, probabilities=predictions.probabilities)
    errors = calibration_errors(
        labels=predictions.labels, probabilities=predictions.probabilities, groups=predictions.groups
    )
    text = f"{100 * errors.expected:.1f} ({100 * errors.by_chance:.1f}), {100 * errors.debiased:.1f}"
    return {"run": run, "chart": charts.calibration_chart(bins, run=run, errors=errors), "errors": text}


def _per_class(
    predictions: Mapping[str, Predictions], *, order: Sequence[str], classes: Sequence[str]
) -> dict[str, list[tuple[str, list[float]]]]:
    """Return each metric by class: a row per run."""
    tables = {
        run: per_class(labels=predictions[run].labels, probabilities=predictions[run].probabilities, classes=classes)
        for run in order
    }
    return {metric: [(run, table[metric].tolist()) for run, table in tables.items()] for metric in CLASS_METRICS}


def _disagreement(report: Report) -> dict[str, Any] | None:
    """Return how many sources the two best models, or a model and a baseline, classify correctly."""
    ranked = [*report.models, *report.comparison.aligned.trivial]
    if len(ranked) < 2:
        return None
    one, other = (report.sources[run]["correct"].to_numpy() for run in ranked[:2])
    both, neither = int((one & other).sum()), int((~one & ~other).sum())
    return {"a": ranked[0], "b": ranked[1], "all": one.size, "both": both, "neither": neither}


def _differences(report: Report, order: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return the settings in which runs differ, with each run's value."""
    names = dict.fromkeys(name for run in order for name in report.facts_of(run).configuration)
    values = {name: [report.facts_of(run).configuration.get(name, "–") for run in order] for name in names}
    described = [bool(report.facts_of(run).configuration) for run in order]
    return [(name, row) for name, row in values.items() if len(set(compress(row, described))) > 1]
