"""Model cards: what users must know about a model.

The headings are those of Mitchell et al., "Model Cards for Model Reporting", Conference on Fairness, Accountability,
and Transparency 2019. Unknown facts are reported as unknown.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bloodcell.cards.model_card_metrics import (
    HELD_OUT,
    class_rows,
    error_sentences,
    held_out_tables,
    percent,
)
from bloodcell.cards.model_card_training import UNKNOWN, Training, training_facts, training_summary, weights_of
from bloodcell.comparison.run_tags import RunTags
from bloodcell.config.data import BccdData, FolderData, TableData
from bloodcell.data.leaks import SPLIT_NAMES, Leakage
from bloodcell.data.manifest import SPLITS
from bloodcell.evaluation.evidence import LIMITS
from bloodcell.evaluation.selective_prediction import Threshold
from bloodcell.templates import render
from bloodcell.wording import PHOTOGRAPH, counted, listed, plural

ACCURACIES = {
    "accuracy": "by image",
    "photograph_accuracy": "by photograph",
    "group_mean_accuracy": "mean of {groups}",
}
DISPENSABLE_SECTIONS = (
    *("Metrics", "Factors", "Ethical considerations", "Model details", "Training data", "Evaluation data"),
    *("Intended use", "Quantitative analyses", "Caveats and recommendations"),
)
"""The sections in the order in which a short card drops them."""

SOURCES = {
    "bccd": "the Kaggle “Blood Cell Images” set",
    "folder": "folders of images, one for each class",
    "smears": "rendered blood smears: drawn by a program",
}
GROUPS = {
    "recover": (
        "recovered from the pixels: images that match as copies of one photograph are one group. An unrecognised copy "
        "counts as another group"
    ),
    "column": "from a table",
    "pattern": "from the images' paths, by a pattern",
    "folder": "every folder is one group",
    "known": "known, as the images are rendered",
    "none": "unknown: every image counts as a group, so intervals may be far too narrow",
}
SPLIT = {
    "group_holdout": "a share of the training {groups} of each class",
    "group_kfold": "cross-validation by {group}: a model predicts only training {groups} that it was not trained on",
    "random": "a random share of each class's training images, ignoring copies",
    "given": "as the images' folders or table give it, or cross-validation with the folds that they give",
    "notebook": "the first files by name of each class, ignoring copies",
}
METHODS = {
    "soft": "the mean of their probabilities",
    "weighted": "a weighted mean of their probabilities",
    "greedy": "a weighted mean of their probabilities, by greedy selection",
    "stacking": "a logistic regression on their log probabilities",
}


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """The facts on a model's card; None: unknown, or not logged.

    Attributes
    ----------
    name
        Of the registered model; the others are of the run that logged it.
    date
        When the run started, as text in UTC.
    metrics
        By ``<split>/<name>``.
    trainings
        The model's training, or those of an ensemble's members.
    method
        How an ensemble combines its members; empty for a single model.
    classes
        In the order of the outputs.
    predictions
        The run's table; None: not logged.
    manifest
        The run's images; None: not logged.
    leakage
        Leakage in the manifest; None: unknown.
    temperature
        Of the calibrated probabilities.
    thresholds
        The threshold for each maximal risk; None: no guarantee.
    n_threshold_sources
        The number of sources that chose them.
    siblings, study
        The number of runs of its study, and its kind, ``sweep`` or ``search``; 0: none or unknown.
    tested_runs
        The number of runs in the store that were evaluated on this test set.
    test_readings
        How often its search evaluated its best on the test set; None: never or unknown.
    """

    name: str
    run_id: str
    run_name: str
    date: str | None
    metrics: Mapping[str, float]
    tags: RunTags
    trainings: Sequence[Training]
    method: str
    classes: Sequence[str]
    predictions: pd.DataFrame | None
    manifest: pd.DataFrame | None
    leakage: Leakage | None
    temperature: float
    thresholds: Mapping[float, Threshold | None]
    n_threshold_sources: int
    siblings: int
    study: str
    tested_runs: int | None
    test_readings: int | None

    @property
    def group_name(self) -> str:
        """The user's word for a group."""
        return self.tags.group_name


def model_card(facts: CardFacts) -> str:
    """Return a model card in Markdown."""
    name = facts.group_name
    tables = {} if facts.predictions is None else held_out_tables(facts.predictions, classes=facts.classes)
    values = {
        "facts": facts,
        "summary": [*metric_lines(facts.metrics, group_name=name), *cautions(facts.tags), *_drawn(facts)],
        "details": _details(facts),
        "trainings": facts.trainings,
        "training_summary": training_summary,
        "weights_of": weights_of,
        "images": _images(facts),
        "data": _data(facts),
        "evaluation": _evaluation(facts),
        "metrics": _metric_rows(facts, accuracies_of(name)),
        "accuracies": [ACCURACIES[each].format(groups=plural(name)) for each in accuracies_of(name)],
        "groups": plural(name),
        "classes": class_rows(tables, classes=facts.classes),
        "splits": [HELD_OUT[split] for split in tables],
        "confidence": _confidence(facts),
        "errors": _errors(facts, tables),
        "provenance": _provenance(facts),
        "ethics": _ethics(facts),
        "unknown": UNKNOWN,
    }
    card = render("bloodcell.cards", "model_card.md.jinja", values)
    return re.sub(r"\n{3,}", "\n\n", card).strip() + "\n"


def shortened(card: str, *, limit: int, whole: str) -> str:
    """Shorten a card to ``limit`` characters by dropping whole sections; ``whole`` is a link to the whole card."""
    if len(card) <= limit:
        return card
    head, *sections = re.split(r"^(?=## )", card, flags=re.MULTILINE)
    for dropped in DISPENSABLE_SECTIONS:
        sections = [section for section in sections if not section.startswith(f"## {dropped}\n")]
        text = f"{head}{''.join(sections)}\n*Shortened. The whole card: {whole}*\n"
        if len(text) <= limit:
            return text
    pointer = f"\n\n*Shortened. The whole card: {whole}*\n"
    return head[: limit - len(pointer)].rsplit("\n", 1)[0] + pointer


def accuracies_of(group_name: str) -> list[str]:
    """Return the accuracies to show; the mean of groups if groups are not sources."""
    return [name for name in ACCURACIES if name != "group_mean_accuracy" or group_name != PHOTOGRAPH]


def metric_lines(metrics: Mapping[str, float], *, group_name: str = PHOTOGRAPH) -> list[str]:
    """Return accuracy, interval and majority class for validation and test."""
    lines = []
    for split, name in HELD_OUT.items():
        if f"{split}/accuracy" not in metrics:
            lines.append(f"{name}: not evaluated")
            continue
        shown = ", ".join(
            f"{_metric(metrics, f'{split}/{each}')} {ACCURACIES[each].format(groups=plural(group_name))}"
            for each in accuracies_of(group_name)
        )
        majority, n_groups = _number(metrics.get(f"{split}/majority_class/accuracy")), _n_groups(metrics, split)
        groups = UNKNOWN if n_groups is None else counted(n_groups, group_name)
        lines.append(f"{name}: accuracy {shown} (95 % intervals, {groups}); the majority class {majority} by image")
    return lines


def _n_groups(metrics: Mapping[str, float], split: str) -> float | None:
    return metrics.get(f"{split}/groups", metrics.get(f"{split}/photographs"))


def cautions(tags: RunTags) -> list[str]:
    """Return what limits a run, a sentence each; may be empty."""
    return [f"Warning, {name}: this run {LIMITS[name].why}." for name in tags.evidence]


def _details(facts: CardFacts) -> list[tuple[str, str]]:
    one = facts.trainings[0] if len(facts.trainings) == 1 and not facts.method else None
    what = (
        training_facts(one)
        if one
        else [("Model", f"an ensemble of {len(facts.trainings)} models: {METHODS.get(facts.method, facts.method)}")]
    )
    return [
        *what,
        ("Input", "a photograph of one stained blood cell: a JPEG or PNG file, or RGB pixels of any size"),
        ("Preprocessing", "part of the model: cropping, resizing, scaling and measuring"),
        ("Output", f"a probability for each of {listed(facts.classes)}"),
    ]


def _images(facts: CardFacts) -> tuple[list[str], list[list[str]]] | None:
    """Return a table of groups and images by class and split; None if unknown."""
    if facts.manifest is None:
        return None
    sides = {split: rows for split in SPLITS if len(rows := facts.manifest[facts.manifest["split"] == split])}

    def counts(rows: pd.DataFrame) -> str:
        return f"{rows['group'].nunique()} ({len(rows)})"

    by_class = [[label, *(counts(side[side["label"] == label]) for side in sides.values())] for label in facts.classes]
    return ["class", *(SPLIT_NAMES[split] for split in sides)], [*by_class, ["all", *map(counts, sides.values())]]


def _data(facts: CardFacts) -> list[tuple[str, str]]:
    training = facts.trainings[0] if facts.trainings else None
    data = training.config.data if training and training.config else None
    match data:
        case BccdData():
            place = f", folder {Path(data.root).name}"
        case FolderData():
            place = f", folder {Path(data.train_dir).name}"
        case TableData():
            place = f", table {Path(data.table).name}"
        case _:
            place = ""
    groups = [GROUPS.get(each, each) for each in facts.tags.groups.split(", ")] if facts.tags.groups else [UNKNOWN]
    rows = [
        ("Source", f"{SOURCES[data.source]}{place}" if data else UNKNOWN),
        ("Digest of images, labels, groups and split", facts.tags.data_digest or UNKNOWN),
        ("Groups", ", and ".join(groups)),
    ]
    reasons = {}
    if training is not None:
        reasons = {
            "are unreadable": training.n_unreadable,
            "were excluded by a list": training.n_excluded,
            "have a copy in another split": training.n_left_out,
        }
    if left := [f"{number} {why}" for why, number in reasons.items() if number]:
        rows.append(("Excluded images", "; ".join(left)))
    return rows


def _evaluation(facts: CardFacts) -> list[tuple[str, str]]:
    config = facts.trainings[0].config if facts.trainings else None
    split = config.split.name if config else ""
    folder = config is not None and isinstance(config.data, FolderData) and config.data.val_dir is not None
    given = folder and facts.manifest is not None and "val" in set(facts.manifest["split"])
    name = facts.group_name
    described = SPLIT.get(split, split).format(group=name, groups=plural(name))
    validation = "a folder of its own" if given else described
    if facts.tags.fold is not None:
        validation = f"fold {facts.tags.fold} of a cross-validation by {name}"
    elif split == "group_kfold":
        validation += ". The metrics are of the models of its folds, not of this model"
        if facts.method not in ("", "soft"):
            validation += f"; ensemble weights are evaluated on {plural(name)} that they were not fitted to"
    return [
        ("Validation", validation),
        ("Leakage between splits", _leaks(facts)),
        ("Chosen on validation", _chosen(facts)),
        ("Use of the test set", _test_use(facts)),
    ]


def _leaks(facts: CardFacts) -> str:
    match facts.tags.leaky:
        case "true":
            return f"Yes. {(facts.leakage and facts.leakage.sentence) or 'Metrics may be inflated.'}"
        case "false":
            return "None: the splits share no photograph, group or file"
        case "unknown":
            why = (facts.leakage and facts.leakage.sentence) or "Groups are unknown."
            return f"Unknown. {why} Metrics may be inflated."
        case _:
            return UNKNOWN


def _chosen(facts: CardFacts) -> str:
    stopped = any(each.config is not None and each.config.stops_by_validation for each in facts.trainings)
    chosen = ["the number of epochs"] if stopped else []
    if facts.method not in ("", "soft"):
        chosen.append("the members' weights")
    chosen += ["the temperature", "the confidence thresholds"]
    sentence = f"{listed(chosen)}. This makes validation metrics slightly optimistic" if stopped else listed(chosen)
    if facts.siblings > 1:
        sentence += (
            f". The run is one of {facts.siblings} of a {facts.study}; if it was selected on validation, its "
            "validation metrics are optimistic"
        )
    return sentence


def _test_use(facts: CardFacts) -> str:
    if "test/accuracy" not in facts.metrics:
        return "not used by this run"
    sentence = "once by this run, after training; it chose nothing"
    if facts.tested_runs is not None and facts.tested_runs > 1:
        sentence += (
            f". When this card was written, at least {facts.tested_runs} runs in the store had been evaluated on "
            "the same test images; the best of them has optimistic test metrics"
        )
    if facts.test_readings is not None:
        times = "once" if facts.test_readings == 1 else f"{facts.test_readings} times"
        sentence += f". Its search evaluated on it {times}"
    return sentence


def _metric_rows(facts: CardFacts, accuracies: Sequence[str]) -> list[list[str]]:
    """Return accuracies, those of the majority class, and groups for each split."""
    rows = []
    for split, name in HELD_OUT.items():
        if f"{split}/accuracy" not in facts.metrics:
            continue
        n_groups = _n_groups(facts.metrics, split)
        rows.append(
            [
                f"{name}{facts.leakage.mark(split) if facts.leakage else ''}",
                *(_metric(facts.metrics, f"{split}/{each}") for each in accuracies),
                " / ".join(_number(facts.metrics.get(f"{split}/majority_class/{each}")) for each in accuracies),
                UNKNOWN if n_groups is None else f"{n_groups:.0f}",
            ]
        )
    return rows


def _confidence(facts: CardFacts) -> list[str]:
    direction = "lowers" if facts.temperature > 1 else "raises"
    sentences = [
        f"Probabilities are calibrated with the temperature {facts.temperature:.2f}, fitted to validation; it "
        f"{direction} the model's confidence.",
        f"Expected calibration error: {_before_and_after(facts, 'ece') or UNKNOWN}.",
    ]
    if by_chance := _before_and_after(facts, "ece_by_chance"):
        sentences.append(f"Expected by chance for a perfectly calibrated model: {by_chance}.")
    if debiased := _before_and_after(facts, "calibration_error"):
        sentences.append(f"Debiased calibration error: {debiased}.")
    if facts.tags.leaky == "false" or (facts.leakage and not facts.leakage.mark("val")):
        sentences += [
            _guarantee(max_error, threshold, groups=counted(facts.n_threshold_sources, facts.group_name))
            for max_error, threshold in facts.thresholds.items()
        ]
        sentences.append(
            "Each guarantee holds separately, and only for new photographs from the same distribution. Without "
            "max_error the model always predicts."
        )
    else:
        sentences.append(
            "No maximal error is guaranteed, because the split "
            f"{'leaks' if facts.tags.leaky == 'true' else 'may leak'}."
        )
    return sentences


def _before_and_after(facts: CardFacts, metric: str) -> str:
    """Return a metric before and after calibration by split; empty if unknown."""
    return "; ".join(
        f"{name} {_number(facts.metrics[f'{split}/{metric}'])} before, "
        f"{_number(facts.metrics.get(f'calibrated/{split}/{metric}'))} after"
        for split, name in HELD_OUT.items()
        if f"{split}/{metric}" in facts.metrics
    )


def _guarantee(max_error: float, threshold: Threshold | None, *, groups: str) -> str:
    if threshold is None:
        return (
            f"max_error={max_error:g}: an error of at most {percent(max_error)} cannot be guaranteed, because {groups} "
            "of validation are too few, or too many of them are misclassified."
        )
    return (
        f"max_error={max_error:g}: with 95 % confidence the error is at most {percent(max_error)} if the model "
        f"predicts only from a probability of {threshold.value:.3f} on. Of {groups} of validation, one image each, it "
        f"then predicts {threshold.covered}, {threshold.wrong} of them wrong."
    )


def _errors(facts: CardFacts, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    sentences = [f"Confused classes: {UNKNOWN}."]
    if tables:
        sentences = error_sentences(tables, classes=facts.classes, group_name=facts.group_name)
    if facts.manifest is not None:
        labels = facts.manifest.groupby("source")["label"].nunique()
        if several := int((labels > 1).sum()):
            sentences.append(f"Inconsistent labels: {counted(several, PHOTOGRAPH)} with images of several classes.")
    return sentences


def _provenance(facts: CardFacts) -> list[tuple[str, str]]:
    tags = facts.tags
    dirty = {True: ", with uncommitted changes", False: ", no uncommitted changes", None: ""}[tags.git_dirty]
    versions = ", ".join(f"{name} {value}" for name, value in sorted(tags.versions.items()))
    seed = UNKNOWN if tags.seed is None else str(tags.seed)
    if len(facts.trainings) == 1 and (config := facts.trainings[0].config) is not None:
        seed += f"; of the split {getattr(config.split, 'seed', UNKNOWN)}"
    return [
        ("Run", f"{facts.run_name} ({facts.run_id})"),
        ("Date", facts.date or UNKNOWN),
        ("Code", f"{tags.git_commit or UNKNOWN}{dirty}"),
        ("Packages", versions or UNKNOWN),
        ("Seed", seed),
    ]


def _drawn(facts: CardFacts) -> list[str]:
    if {each.config.data.source if each.config else "" for each in facts.trainings} != {"smears"}:
        return []
    return ["Warning: the images are rendered by a program; the accuracy on real cells is unknown."]


def _ethics(facts: CardFacts) -> list[str]:
    if drawn := _drawn(facts):
        return drawn
    return [
        "The licences of the images and of the initial weights are not logged with the run. Check them before you "
        "share the model.",
        "Age, sex, origin and disease of the people are unknown, so differences in accuracy between groups of people "
        "are unknown.",
    ]


def _metric(metrics: Mapping[str, float], name: str) -> str:
    if name not in metrics:
        return UNKNOWN
    if not {f"{name}_low", f"{name}_high"} <= set(metrics):
        return f"{metrics[name]:.3f} (interval {UNKNOWN})"
    return f"{metrics[name]:.3f} ({metrics[f'{name}_low']:.3f} to {metrics[f'{name}_high']:.3f})"


def _number(value: Any) -> str:
    return UNKNOWN if value is None else f"{value:.3f}"
