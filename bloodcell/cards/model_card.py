"""What has to be said of a model before anybody uses it: its card.

The headings are those of Mitchell et al., "Model Cards for Model Reporting", Conference on Fairness, Accountability,
and Transparency 2019. What is not known is said to be so, and never guessed.
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
    failures,
    held_out_tables,
    percent,
)
from bloodcell.cards.model_card_training import NOT_KEPT, Training, made_in_short, made_of, weights_of
from bloodcell.comparison.run_tags import RunTags
from bloodcell.config.data import BccdData, FolderData
from bloodcell.data.leaks import SPLIT_NAMES, Leakage
from bloodcell.data.manifest import SPLITS
from bloodcell.evaluation.selective_prediction import Threshold
from bloodcell.templates import render
from bloodcell.wording import PHOTOGRAPH, counted, listed, plural

ACCURACIES = {
    "accuracy": "by image",
    "photograph_accuracy": "by photograph",
    "group_mean_accuracy": "mean of {groups}",
}
DROPPED = (
    *("Metrics", "Factors", "Ethical considerations", "Model details", "Training data", "Evaluation data"),
    *("Intended use", "Quantitative analyses", "Caveats and recommendations"),
)
"""The sections in the order in which they are left out where there is no room."""

SOURCES = {
    "bccd": "the Kaggle “Blood Cell Images” set",
    "folder": "folders of images, one for each class",
    "smears": "rendered blood smears: drawn by a program, of no patient",
}
GROUPS = {
    "recover": (
        "found in the pixels: images that match as copies of one photograph are one. A copy that was not recognised "
        "counts as a photograph of its own"
    ),
    "column": "taken from a table that was given",
    "pattern": "taken from the images' paths, by the pattern that was given",
    "folder": "every folder was taken for one group",
    "known": "known from how the images were made",
    "none": "not looked for: every image counts as a photograph of its own, so that intervals may be far too narrow",
}
SPLIT = {
    "group_holdout": "a share of each class's training {groups}, whole",
    "group_kfold": "cross-validation: every training {group}, whole, by a model that was not trained on it",
    "random": "a share of each class's training images, file by file",
    "notebook": "the first files by name of each class, file by file",
}
METHODS = {
    "soft": "the mean of their probabilities",
    "weighted": "a weighted mean of their probabilities",
    "greedy": "a weighted mean of their probabilities, chosen one by one",
    "stacking": "a logistic regression on top of their probabilities",
}


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """All that a model's card is written from.

    Attributes
    ----------
    name
        Of the registered model.
    run_id, run_name
        Of the run that keeps it.
    date
        When the run started, in UTC, for people; None: not known.
    metrics, tags
        Of the run; metrics by ``<split>/<name>``.
    trainings
        The training that it came from, or those of an ensemble's members.
    method
        How an ensemble combines its members; empty of a single model.
    classes
        In the order of its outputs.
    predictions
        The run's table; None: not kept.
    manifest
        The run's images; None: not kept.
    leak
        What can be said of leaks from the manifest; None: not kept.
    temperature
        At which the model's probabilities are given out.
    thresholds
        By the share of errors that is allowed, from what probability on it then answers; None where that cannot be
        promised.
    photographs_of_threshold
        On how many photographs these were found.
    siblings, study
        How many runs it was one of, and of what: ``sweep`` or ``search``; 0 where of none, or where it is not known.
    tested_runs
        How many runs in the store were measured on the test set of this very split; None: not known.
    test_readings
        How often a search has read the test set for its best; None: it is of no search that did, or it is not known.
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
    leak: Leakage | None
    temperature: float
    thresholds: Mapping[float, Threshold | None]
    photographs_of_threshold: int
    siblings: int
    study: str
    tested_runs: int | None
    test_readings: int | None

    @property
    def group_name(self) -> str:
        """What a group is called."""
        return self.tags.group_name


def model_card(facts: CardFacts) -> str:
    """Return a model's card, in Markdown."""
    name = facts.group_name
    tables = {} if facts.predictions is None else held_out_tables(facts.predictions, classes=facts.classes)
    values = {
        "facts": facts,
        "short": [*figures_in_short(facts.metrics, group_name=name), *cautions(facts.tags), *_drawn(facts)],
        "details": _details(facts),
        "trainings": facts.trainings,
        "made_of": made_in_short,
        "weights_of": weights_of,
        "images": _images(facts),
        "data": _data(facts),
        "evaluation": _evaluation(facts),
        "figures": _figures(facts, accuracies_of(name)),
        "accuracies": [ACCURACIES[each].format(groups=plural(name)) for each in accuracies_of(name)],
        "groups": plural(name),
        "classes": class_rows(tables, classes=facts.classes),
        "splits": [HELD_OUT[split] for split in tables],
        "confidence": _confidence(facts),
        "failures": _failures(facts, tables),
        "provenance": _provenance(facts),
        "terms": _terms(facts),
        "not_kept": NOT_KEPT,
    }
    card = render("bloodcell.cards", "model_card.md.jinja", values)
    return re.sub(r"\n{3,}", "\n\n", card).strip() + "\n"


def shortened(card: str, *, limit: int, whole: str) -> str:
    """Return a card that has at most some characters: whole sections are left out, those that matter least first.

    Parameters
    ----------
    card
        As `model_card` returns it.
    limit
        The characters that there is room for.
    whole
        Where the whole card is, in Markdown.
    """
    if len(card) <= limit:
        return card
    head, *sections = re.split(r"^(?=## )", card, flags=re.MULTILINE)
    for dropped in DROPPED:
        sections = [section for section in sections if not section.startswith(f"## {dropped}\n")]
        text = f"{head}{''.join(sections)}\n*Shortened. The whole card: {whole}*\n"
        if len(text) <= limit:
            return text
    pointer = f"\n\n*Shortened. The whole card: {whole}*\n"
    return head[: limit - len(pointer)].rsplit("\n", 1)[0] + pointer


def accuracies_of(group_name: str) -> list[str]:
    """Return the accuracies that are shown: the mean of groups only if groups are more than photographs."""
    return [name for name in ACCURACIES if name != "group_mean_accuracy" or group_name != PHOTOGRAPH]


def figures_in_short(metrics: Mapping[str, float], *, group_name: str = PHOTOGRAPH) -> list[str]:
    """Return a line for validation and one for test: accuracy with its interval, beside the majority class."""
    lines = []
    for split, name in HELD_OUT.items():
        if f"{split}/accuracy" not in metrics:
            lines.append(f"{name}: not measured")
            continue
        shown = ", ".join(
            f"{_figure(metrics, f'{split}/{each}')} {ACCURACIES[each].format(groups=plural(group_name))}"
            for each in accuracies_of(group_name)
        )
        majority = _number(metrics.get(f"baseline/{split}/accuracy"))
        lines.append(
            f"{name}: accuracy {shown} (95 % intervals, {_groups_in(metrics, split, group_name)}); the majority class "
            f"{majority} by image"
        )
    return lines


def _groups_in(metrics: Mapping[str, float], split: str, group_name: str) -> str:
    number = metrics.get(f"{split}/groups", metrics.get(f"{split}/photographs"))
    return NOT_KEPT if number is None else counted(number, group_name)


def cautions(tags: RunTags) -> list[str]:
    """Return what a reader of a run's figures has to know first; nothing where there is no such thing."""
    lines = []
    match tags.leaky:
        case "true":
            lines.append("Careful: its split leaks, so that its figures may say too much.")
        case "unknown":
            lines.append("Careful: groups were not looked for, so that nobody knows if its split leaks.")
    if tags.debug:
        lines.append("Careful: it was made small on purpose (debug), to try something out.")
    return lines


def _details(facts: CardFacts) -> list[tuple[str, str]]:
    one = facts.trainings[0] if len(facts.trainings) == 1 and not facts.method else None
    made = (
        made_of(one)
        if one
        else [("What it is", f"{len(facts.trainings)} models together: {METHODS.get(facts.method, facts.method)}")]
    )
    return [
        *made,
        ("Takes", "a photograph with one stained blood cell, as a JPEG or PNG file, or as raw RGB of any size"),
        ("Does itself", "cropping, resizing, scaling of values, measuring: images are given as they are"),
        ("Gives", f"a probability for each of {listed(facts.classes)}"),
    ]


def _images(facts: CardFacts) -> tuple[list[str], list[list[str]]] | None:
    """Return a table of images and photographs by class and side: its headings and rows; None where it is not kept."""
    if facts.manifest is None:
        return None
    there = [split for split in SPLITS if (facts.manifest["split"] == split).any()]
    rows = []
    for label in facts.classes:
        rows.append([label, *(_amount(_of(facts.manifest, split=split, label=label)) for split in there)])
    rows.append(["all", *(_amount(_of(facts.manifest, split=split)) for split in there)])
    return ["class", *(SPLIT_NAMES[split] for split in there)], rows


def _of(manifest: pd.DataFrame, *, split: str, label: str | None = None) -> pd.DataFrame:
    chosen = manifest["split"] == split
    return manifest[chosen if label is None else chosen & (manifest["label"] == label)]


def _amount(rows: pd.DataFrame) -> str:
    return f"{rows['group'].nunique()} ({len(rows)})"


def _data(facts: CardFacts) -> list[tuple[str, str]]:
    training = facts.trainings[0] if facts.trainings else None
    data = training.config.data if training and training.config else None
    match data:
        case BccdData():
            place = f", from a folder named {Path(data.root).name}"
        case FolderData():
            place = f", from a folder named {Path(data.train_dir).name}"
        case _:
            place = ""
    groups = [GROUPS.get(each, each) for each in facts.tags.groups.split(", ")] if facts.tags.groups else [NOT_KEPT]
    rows = [
        ("Source", f"{SOURCES[data.source]}{place}" if data else NOT_KEPT),
        ("Digest of images, labels, groups and split", facts.tags.data_digest or NOT_KEPT),
        ("How groups were found", ", and ".join(groups)),
    ]
    unreadable, left_out = (training.n_unreadable, training.n_left_out) if training else (0, 0)
    reasons = ((unreadable, "cannot be read"), (left_out, "have a copy on another side"))
    if left := [f"{number} {why}" for number, why in reasons if number]:
        rows.append(("Images left out", "; ".join(left)))
    return rows


def _evaluation(facts: CardFacts) -> list[tuple[str, str]]:
    config = facts.trainings[0].config if facts.trainings else None
    split = config.split.name if config else ""
    folder = config is not None and isinstance(config.data, FolderData) and config.data.val_dir is not None
    given = folder and facts.manifest is not None and "val" in set(facts.manifest["split"])
    name = facts.group_name
    taken = SPLIT.get(split, NOT_KEPT).format(group=name, groups=plural(name))
    validation = "a folder that was given" if given else taken
    if facts.tags.fold is not None:
        validation = f"fold {facts.tags.fold} of a cross-validation by whole {plural(name)}"
    elif split == "group_kfold":
        validation += ". The figures are of models made the same way, not of this one"
        if facts.method not in ("", "soft"):
            validation += f"; weights are fitted to other {plural(name)} than they are measured on"
    return [
        ("Validation", validation),
        ("Is a photograph or group on two sides", _leaks(facts)),
        ("What validation chose", _chosen(facts)),
        ("How often the test set was looked at", _looked_at(facts)),
    ]


def _leaks(facts: CardFacts) -> str:
    match facts.tags.leaky:
        case "true":
            return f"Yes. {(facts.leak and facts.leak.sentence) or 'Figures may say too much.'}"
        case "false":
            return "No: neither a photograph, nor a group, nor the same file"
        case "unknown":
            return "Not known: photographs were not looked for. The figures may say too much."
        case _:
            return NOT_KEPT


def _chosen(facts: CardFacts) -> str:
    stopped = any(each.config is not None and each.config.stops_by_validation for each in facts.trainings)
    chosen = ["when training ended"] if stopped else []
    if facts.method not in ("", "soft"):
        chosen.append("the members' weights")
    chosen += ["the temperature", "the thresholds for not answering"]
    said = f"{listed(chosen)}. Validation's figures are a little too good for that" if stopped else listed(chosen)
    if facts.siblings > 1:
        said += (
            f". The run is one of {facts.siblings} of a {facts.study}; if it was taken because its figures were the "
            "best, they are too good"
        )
    return said


def _looked_at(facts: CardFacts) -> str:
    if "test/accuracy" not in facts.metrics:
        return "this run did not look at it"
    said = "once by this run, at its end; it chose nothing there"
    if facts.tested_runs is not None and facts.tested_runs > 1:
        said += (
            f". When this card was written, at least {facts.tested_runs} runs in the store had figures of the same "
            "test images; who takes the best of them takes figures that are too good"
        )
    if facts.test_readings is not None:
        said += f". Its search has read it {_times(facts.test_readings)}"
    return said


def _figures(facts: CardFacts, accuracies: Sequence[str]) -> list[list[str]]:
    """Return a row for each held-out split: its figures and what they are of."""
    rows = []
    for split, name in HELD_OUT.items():
        if f"{split}/accuracy" not in facts.metrics:
            continue
        mark = facts.leak.mark(split).strip() if facts.leak else ""
        rows.append(
            [
                f"{name}{mark and f' {mark}'}",
                *(_figure(facts.metrics, f"{split}/{each}") for each in accuracies),
                " / ".join(_number(facts.metrics.get(f"baseline/{split}/{each}")) for each in accuracies),
                _count(facts.metrics.get(f"{split}/groups", facts.metrics.get(f"{split}/photographs"))),
            ]
        )
    return rows


def _confidence(facts: CardFacts) -> list[str]:
    direction = "less" if facts.temperature > 1 else "more"
    said = [
        f"Calibration. Probabilities are given out at temperature {facts.temperature:.2f}, fitted to validation: "
        f"{direction} sure than the model itself."
    ]
    said.append(f"Expected calibration error: {_before_and_after(facts, 'ece') or NOT_KEPT}.")
    if by_chance := _before_and_after(facts, "ece_by_chance"):
        said.append(f"The same of a perfectly calibrated model, by chance: {by_chance}.")
    if debiased := _before_and_after(facts, "calibration_error"):
        said.append(f"Calibration error, debiased: {debiased}.")
    if facts.tags.leaky == "false" or (facts.leak and not facts.leak.mark("val")):
        said += [
            _promise(max_error, threshold, groups=counted(facts.photographs_of_threshold, facts.group_name))
            for max_error, threshold in facts.thresholds.items()
        ]
        said.append(
            "Each promise holds by itself, for new photographs that are taken as these were, and for no others. "
            "Without max_error the model always answers."
        )
    else:
        said.append(
            "No share of errors is promised: that takes photographs which the model has not seen, and "
            f"{'its split leaks' if facts.tags.leaky == 'true' else 'nobody knows whether its split leaks'}."
        )
    return said


def _before_and_after(facts: CardFacts, figure: str) -> str:
    """Say a metric of each held-out split, without and with the temperature; nothing if the run did not keep it."""
    return "; ".join(
        f"{name} {_number(facts.metrics[f'{split}/{figure}'])} before, "
        f"{_number(facts.metrics.get(f'calibrated/{split}/{figure}'))} after"
        for split, name in HELD_OUT.items()
        if f"{split}/{figure}" in facts.metrics
    )


def _promise(max_error: float, threshold: Threshold | None, *, groups: str) -> str:
    if threshold is None:
        return (
            f"At most {percent(max_error)} of errors (max_error={max_error:g}) cannot be promised: {groups} of "
            "validation are too few for that, or too many of them were misclassified."
        )
    return (
        f"At most {percent(max_error)} of errors (max_error={max_error:g}) is promised with 95 % confidence, where it "
        f"answers only from a probability of {threshold.value:.3f} on. On {groups} of validation, one "
        f"image of each, it then answered {threshold.covered}, {threshold.wrong} of them wrong."
    )


def _failures(facts: CardFacts, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    said = [f"Which classes are confused: {NOT_KEPT}."]
    if tables:
        said = failures(tables, classes=facts.classes, group_name=facts.group_name)
    if facts.manifest is not None:
        labels = facts.manifest.groupby("source")["label"].nunique()
        if several := int((labels > 1).sum()):
            said.append(f"Labels at odds: {counted(several, PHOTOGRAPH)} with images under more than one label.")
    return said


def _provenance(facts: CardFacts) -> list[tuple[str, str]]:
    tags = facts.tags
    dirty = {True: ", with changes that were not committed", False: ", nothing changed", None: ""}[tags.git_dirty]
    versions = ", ".join(f"{name} {value}" for name, value in sorted(tags.versions.items()))
    seed = NOT_KEPT if tags.seed is None else str(tags.seed)
    if len(facts.trainings) == 1 and (config := facts.trainings[0].config) is not None:
        seed += f"; of the split {getattr(config.split, 'seed', NOT_KEPT)}"
    return [
        ("Run", f"{facts.run_name} ({facts.run_id})"),
        ("Date", facts.date or NOT_KEPT),
        ("Code", f"{tags.git_commit or NOT_KEPT}{dirty}"),
        ("Packages", versions or NOT_KEPT),
        ("Seed", seed),
    ]


def _drawn(facts: CardFacts) -> list[str]:
    if {each.config.data.source if each.config else "" for each in facts.trainings} != {"smears"}:
        return []
    return ["Careful: its images are drawn by a program; what it is worth on real cells is not known."]


def _terms(facts: CardFacts) -> list[str]:
    if drawn := _drawn(facts):
        return drawn
    return [
        "The terms of the images, and of the weights that it started from, are not kept with the run. See those of "
        "their sources before the model is passed on.",
        "Age, sex, origin and illness of the people whose blood is shown are not kept with the images. Whether the "
        "model is as good for one group of people as for another is not known.",
    ]


def _figure(metrics: Mapping[str, float], name: str) -> str:
    if name not in metrics:
        return NOT_KEPT
    if not {f"{name}_low", f"{name}_high"} <= set(metrics):
        return f"{metrics[name]:.3f} (interval {NOT_KEPT})"
    return f"{metrics[name]:.3f} ({metrics[f'{name}_low']:.3f} to {metrics[f'{name}_high']:.3f})"


def _number(value: Any) -> str:
    return NOT_KEPT if value is None else f"{value:.3f}"


def _count(value: float | None) -> str:
    return NOT_KEPT if value is None else f"{value:.0f}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
