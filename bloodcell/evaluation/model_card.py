"""What has to be said of a model before anybody uses it: its card.

The headings are those of Mitchell et al., "Model Cards for Model Reporting", Conference on Fairness, Accountability,
and Transparency 2019. What is not known is said to be so, and never guessed.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from bloodcell.data.leaks import Leak
from bloodcell.data.manifest import SPLITS
from bloodcell.evaluation.abstaining import Threshold, upper_bound
from bloodcell.evaluation.folds import mean_by_image
from bloodcell.evaluation.metrics import per_class
from bloodcell.evaluation.photographs import by_photograph
from bloodcell.evaluation.predictions import label_indices, probabilities_of
from bloodcell.evaluation.probabilities import predicted_classes
from bloodcell.pages import render

NOT_KEPT = "not kept"
HELD_OUT = {"val": "validation", "test": "test"}
ACCURACIES = ("accuracy", "photograph_accuracy")
LEAST_DOUBT = 0.1
"""A class has few photographs where, if all were told right, more than this share could still be wrong (95 %)."""
MOST_PAIRS = 3
"""How many confusions of a split are named."""
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
    "folder": "every folder was taken for one photograph",
    "known": "known from how the images were made",
    "none": "not looked for: every image counts as a photograph of its own, so that intervals may be far too narrow",
}
SPLIT = {
    "group_holdout": "a share of each class's training photographs, whole",
    "group_kfold": "cross-validation: every training photograph, whole, by a model that was not trained on it",
    "random": "a share of each class's training images, file by file",
    "notebook": "the first files by name of each class, file by file",
}
MEASURED = {
    "majority": "nothing of the image: how frequent the classes are in training",
    "colour_histogram": "the colours of the square around the nucleus, measured",
    "morphology": "nucleus and cytoplasm, measured",
}
"""What takes a network's place, or stands beside it."""
POOLING = {
    "average": "averages over the image",
    "max": "maxima over the image",
    "both": "averages and maxima over the image",
    "cell": "averages over the nucleus and over what is around it",
}


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training of the model, or of a member of it.

    Attributes
    ----------
    name, run_id
        Of its run.
    parameters, tags
        As they were kept by their dotted names; empty where they are not known.
    weight
        What it counts in an ensemble; None: it is none, or that was not kept.
    stops_by_validation
        Whether validation chose its epochs.
    """

    name: str
    run_id: str
    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    weight: float | None = None
    stops_by_validation: bool


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
        As the run keeps them: figures by ``<split>/<name>``.
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
    tags: Mapping[str, str]
    trainings: Sequence[Training]
    method: str
    classes: Sequence[str]
    predictions: pd.DataFrame | None
    manifest: pd.DataFrame | None
    leak: Leak | None
    temperature: float
    thresholds: Mapping[float, Threshold | None]
    photographs_of_threshold: int
    siblings: int
    study: str
    tested_runs: int | None
    test_readings: int | None


def model_card(facts: CardFacts) -> str:
    """Return a model's card, in Markdown."""
    tables = _tables(facts)
    values = {
        "facts": facts,
        "short": [*figures_in_short(facts.metrics), *cautions(facts.tags)],
        "details": _details(facts),
        "trainings": facts.trainings,
        "made_of": _made_in_short,
        "images": _images(facts),
        "data": _data(facts),
        "evaluation": _evaluation(facts),
        "figures": _figures(facts),
        "classes": _classes(facts, tables),
        "splits": [HELD_OUT[split] for split in tables],
        "confidence": _confidence(facts),
        "failures": _failures(facts, tables),
        "provenance": _provenance(facts),
        "terms": _terms(facts),
        "not_kept": NOT_KEPT,
    }
    card = render("bloodcell.evaluation", "model_card.md.jinja", values)
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


def figures_in_short(metrics: Mapping[str, float]) -> list[str]:
    """Return a line for validation and one for test: accuracy with its interval, beside the majority class."""
    lines = []
    for split, name in HELD_OUT.items():
        if f"{split}/accuracy" not in metrics:
            lines.append(f"{name}: not measured")
            continue
        by_image, by_photograph = (_figure(metrics, f"{split}/{figure}") for figure in ACCURACIES)
        photographs = _count(metrics.get(f"{split}/photographs"))
        majority = _number(metrics.get(f"baseline/{split}/accuracy"))
        lines.append(
            f"{name}: accuracy {by_image} by image, {by_photograph} by photograph ({photographs} photographs); "
            f"the majority class {majority} by image"
        )
    return lines


def cautions(tags: Mapping[str, str]) -> list[str]:
    """Return what a reader of a run's figures has to know first; nothing where there is no such thing."""
    lines = []
    match tags.get("leaky"):
        case "true":
            lines.append("Careful: its split leaks, so that its figures may say too much.")
        case "unknown":
            lines.append("Careful: groups were not looked for, so that nobody knows if its split leaks.")
    if tags.get("debug") == "true":
        lines.append("Careful: it was made small on purpose (debug), to try something out.")
    return lines


def _tables(facts: CardFacts) -> dict[str, pd.DataFrame]:
    """Return the predictions of each held-out split, every image once."""
    if facts.predictions is None:
        return {}
    by_split = {split: facts.predictions[facts.predictions["split"] == split] for split in HELD_OUT}
    return {split: mean_by_image([table], classes=facts.classes) for split, table in by_split.items() if len(table)}


def _details(facts: CardFacts) -> list[tuple[str, str]]:
    one = facts.trainings[0] if len(facts.trainings) == 1 and not facts.method else None
    made = (
        _made_of(one)
        if one
        else [("What it is", f"an ensemble: {len(facts.trainings)} models, combined by the method {facts.method}")]
    )
    return [
        *made,
        ("Takes", "a photograph with one stained blood cell, as a JPEG or PNG file, or as raw RGB of any size"),
        ("Does itself", "cropping, resizing, scaling of values, measuring: images are given as they are"),
        ("Gives", f"a probability for each of {_listed(facts.classes)}"),
    ]


def _made_of(training: Training) -> list[tuple[str, str]]:
    parameters, tags = training.parameters, training.tags
    if "backbone.name" not in parameters:
        return [("What it is", f"settings {NOT_KEPT}")]
    name, size = parameters["backbone.name"], parameters.get("backbone.input_size", "?")
    beside = [MEASURED.get(each, each) for each in _entries(parameters.get("head.beside"))]
    if name in MEASURED:
        facts = [("What it is", "a classifier without a network"), ("Looks at", MEASURED[name])]
    else:
        crop = {"none": "the whole image", "nucleus": "a square around the nucleus"}
        looks_at = crop.get(parameters.get("crop.name", ""), f"crop {NOT_KEPT}")
        taps = _entries(parameters.get("backbone.taps"))
        weights = tags.get("weights", NOT_KEPT)
        facts = [
            ("What it is", f"{name}, a convolutional network{f', up to {_listed(taps)}' if taps else ''}, and a head"),
            ("Weights that it started from", f"{weights}, digest {tags.get('weights_digest', NOT_KEPT)}"),
            ("Looks at", f"{looks_at}, at {size} × {size} pixels"),
        ]
    if beside:
        facts.append(("And beside it", "; ".join(beside)))
    return [*facts, ("Head", _head(parameters, network=name not in MEASURED)), ("Trained", _trained(parameters))]


def _made_in_short(training: Training) -> str:
    """Return in a phrase what a training made."""
    facts = dict(_made_of(training))
    chosen = (facts.get(key) for key in ("What it is", "Looks at", "And beside it"))
    return "; ".join(each for each in chosen if each)


def _head(parameters: Mapping[str, str], *, network: bool) -> str:
    hidden = _entries(parameters.get("head.hidden_units"))
    layers = f"{len(hidden)} hidden ({', '.join(hidden)} units) and the last" if hidden else "linear"
    pooled = [POOLING.get(parameters.get("head.pooling", ""), "")] if network else []
    standardised = ["standardised features"] if parameters.get("head.standardise") == "True" else []
    return "; ".join([layers, *filter(None, pooled), *standardised])


def _trained(parameters: Mapping[str, str]) -> str:
    solved = parameters.get("head.solver") == "lbfgs"
    head = f"the head, solved (L2 {parameters.get('head.l2', '?')})" if solved else "the head, in epochs"
    if parameters.get("backbone.name") in MEASURED:
        return head
    match parameters.get("finetune.name"):
        case "none":
            return f"{head}; the network stays as it came"
        case "gradual":
            return f"{head}; then the top {parameters.get('finetune.blocks', '?')} blocks, one after the other"
        case "staged":
            return "; then ".join([head, *_stages(parameters)])
        case _:
            return f"{head}; tuning {NOT_KEPT}"


def _stages(parameters: Mapping[str, str]) -> list[str]:
    said: list[str] = []
    while f"finetune.stages.{len(said)}.epochs" in parameters:
        stage = {
            name: parameters.get(f"finetune.stages.{len(said)}.{name}", "None")
            for name in ("layer", "block", "fraction", "learning_rate")
        }
        start = next((f"{name} {stage[name]}" for name in ("layer", "block") if stage[name] != "None"), None)
        start = start or f"the top {stage['fraction']} of layers"
        said.append(f"the network from {start} on, at a learning rate of {stage['learning_rate']}")
    return said


def _images(facts: CardFacts) -> tuple[list[str], list[list[str]]] | None:
    """Return a table of images and photographs by class and side: its headings and rows; None where it is not kept."""
    if facts.manifest is None:
        return None
    names = {"train": "training", **HELD_OUT}
    there = [split for split in SPLITS if (facts.manifest["split"] == split).any()]
    rows = []
    for label in facts.classes:
        rows.append([label, *(_amount(_of(facts.manifest, split=split, label=label)) for split in there)])
    rows.append(["all", *(_amount(_of(facts.manifest, split=split)) for split in there)])
    return ["class", *(names[split] for split in there)], rows


def _of(manifest: pd.DataFrame, *, split: str, label: str | None = None) -> pd.DataFrame:
    chosen = manifest["split"] == split
    return manifest[chosen if label is None else chosen & (manifest["label"] == label)]


def _amount(rows: pd.DataFrame) -> str:
    return f"{rows['group'].nunique()} ({len(rows)})"


def _data(facts: CardFacts) -> list[tuple[str, str]]:
    parameters, tags = facts.trainings[0].parameters if facts.trainings else {}, facts.tags
    source = parameters.get("data.source")
    places = [parameters[name] for name in ("data.root", "data.train_dir") if parameters.get(name, "None") != "None"]
    place = f", from {places[0]}" if places else ""
    groups = ", and ".join(GROUPS.get(each, each) for each in tags["groups"].split(", ")) if "groups" in tags else None
    listed = [
        ("Source", f"{SOURCES.get(source, source)}{place}" if source else NOT_KEPT),
        ("Digest of images, labels, photographs and split", tags.get("data_digest", NOT_KEPT)),
        ("How photographs were told", groups or NOT_KEPT),
    ]
    left = [
        f"{parameters[f'images.{name}']} {why}"
        for name, why in (("unreadable", "cannot be read"), ("left_out", "have a copy on another side"))
        if parameters.get(f"images.{name}", "0") != "0"
    ]
    return [*listed, *([("Images left out", "; ".join(left))] if left else [])]


def _evaluation(facts: CardFacts) -> list[tuple[str, str]]:
    parameters = facts.trainings[0].parameters if facts.trainings else {}
    split = parameters.get("split.name")
    given = facts.manifest is not None and "val" in set(facts.manifest["split"]) and _gives_validation(parameters)
    validation = "a folder that was given" if given else SPLIT.get(split or "", NOT_KEPT)
    if "fold" in facts.tags:
        validation = f"fold {facts.tags['fold']} of a cross-validation by whole photographs"
    elif split == "group_kfold":
        validation += ". The figures are of models made the same way, not of this one"
        if facts.method not in ("", "soft"):
            validation += "; weights are fitted to other photographs than they are measured on"
    return [
        ("Validation", validation),
        ("Does a photograph have copies on two sides", _leaks(facts)),
        ("What validation chose", _chosen(facts)),
        ("How often the test set was looked at", _looked_at(facts)),
    ]


def _gives_validation(parameters: Mapping[str, str]) -> bool:
    return parameters.get("data.val_dir", "None") != "None"


def _leaks(facts: CardFacts) -> str:
    match facts.tags.get("leaky"):
        case "true":
            return f"Yes. {(facts.leak and facts.leak.sentence) or 'Figures may say too much.'}"
        case "false":
            return "No, neither by the photographs as they were told nor as the same file"
        case "unknown":
            return "Not known: photographs were not looked for. The figures may say too much."
        case _:
            return NOT_KEPT


def _chosen(facts: CardFacts) -> str:
    stopped = [training for training in facts.trainings if training.stops_by_validation]
    chosen = ["when training ended"] if stopped else []
    if facts.method not in ("", "soft"):
        chosen.append("the members' weights")
    chosen.append("the temperature and the thresholds for not answering")
    said = f"{_listed(chosen, last='and')}. Its figures are a little too good for that" if stopped else _listed(chosen)
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
            f". {facts.tested_runs} runs in the store have figures of the same test images; who picks the best of them "
            "picks one that is too good"
        )
    if facts.test_readings is not None:
        said += f". Its search has read it {_times(facts.test_readings)}"
    return said


def _figures(facts: CardFacts) -> list[list[str]]:
    """Return a row for each held-out split: its figures and what they are of."""
    rows = []
    for split, name in HELD_OUT.items():
        if f"{split}/accuracy" not in facts.metrics:
            continue
        mark = facts.leak.mark(split).strip() if facts.leak else ""
        rows.append(
            [
                f"{name}{mark and f' {mark}'}",
                *(_figure(facts.metrics, f"{split}/{figure}") for figure in ACCURACIES),
                " / ".join(_number(facts.metrics.get(f"baseline/{split}/{figure}")) for figure in ACCURACIES),
                _count(facts.metrics.get(f"{split}/photographs")),
            ]
        )
    return rows


def _classes(facts: CardFacts, tables: Mapping[str, pd.DataFrame]) -> list[list[str]]:
    """Return a row for each class: for each split its recall by image, and its photographs told right of how many."""
    columns: list[list[str]] = [list(facts.classes)]
    for table in tables.values():
        by_image = per_class(
            labels=label_indices(table, facts.classes),
            probabilities=probabilities_of(table, facts.classes),
            classes=facts.classes,
        )
        columns.append([_number(recall) if math.isfinite(recall) else "–" for recall in by_image["recall"]])
        told = _told(table, facts.classes)
        columns.append([_right_of(told[told["label"] == label]) for label in facts.classes])
    return [list(row) for row in zip(*columns, strict=True)]


def _told(table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Return a row for each photograph: its ``group``, ``label``, ``images`` and what it was ``taken_for``."""
    told = by_photograph(table, classes)
    return told.assign(taken_for=np.array(classes)[predicted_classes(probabilities_of(told, classes))])


def _right_of(told: pd.DataFrame) -> str:
    if told.empty:
        return "no photograph"
    right = int((told["label"] == told["taken_for"]).sum())
    ends = binomtest(right, len(told)).proportion_ci(confidence_level=0.95, method="wilson")
    return f"{right} of {len(told)} ({ends.low:.2f} to {ends.high:.2f})"


def _confidence(facts: CardFacts) -> list[str]:
    direction = "less" if facts.temperature > 1 else "more"
    said = [
        f"Calibration. Probabilities are given out at temperature {facts.temperature:.2f}, fitted to validation: "
        f"{direction} sure than the model itself."
    ]
    errors = [
        f"{name} {_number(facts.metrics[f'{split}/ece'])} before, "
        f"{_number(facts.metrics.get(f'calibrated/{split}/ece'))} after"
        for split, name in HELD_OUT.items()
        if f"{split}/ece" in facts.metrics
    ]
    said.append(f"Expected calibration error: {'; '.join(errors) or NOT_KEPT}.")
    if facts.tags.get("leaky") == "false" or (facts.leak and not facts.leak.mark("val")):
        said += [
            _promise(max_error, threshold, photographs=facts.photographs_of_threshold)
            for max_error, threshold in facts.thresholds.items()
        ]
        said.append(
            "Each promise holds by itself, for new photographs that are taken as these were, and for no others. "
            "Without max_error the model always answers."
        )
    else:
        said.append(
            "No share of errors can be promised: it is not known that the model has not seen the photographs which a "
            "threshold would be found on."
        )
    return said


def _promise(max_error: float, threshold: Threshold | None, *, photographs: int) -> str:
    if threshold is None:
        return (
            f"At most {max_error:.0%} of errors (max_error={max_error:g}) cannot be promised: {photographs} validation "
            "photographs are too few for that, or too many of them were told wrong."
        )
    return (
        f"At most {max_error:.0%} of errors (max_error={max_error:g}) is promised with 95 % confidence, where it "
        f"answers only from a probability of {threshold.value:.3f} on. On {photographs} validation photographs, an "
        f"image of each, it then answered {threshold.answered}, {threshold.wrong} of them wrong."
    )


def _failures(facts: CardFacts, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    if not tables:
        return [f"Which classes are confused: {NOT_KEPT}."]
    said: list[str] = []
    for split, table in tables.items():
        told = _told(table, facts.classes)
        said.append(f"Confused most on {HELD_OUT[split]}: {_confused(told)}.")
        if (copies := _at_odds(table, facts.classes)) is not None:
            said.append(copies.format(split=HELD_OUT[split]))
        said.extend(_few(told, facts.classes, split=HELD_OUT[split]))
    if facts.manifest is not None:
        labels = facts.manifest.groupby("group")["label"].nunique()
        if several := int((labels > 1).sum()):
            said.append(f"{_photographs(several)} {_have(several)} images under more than one label.")
    return said


def _confused(told: pd.DataFrame) -> str:
    wrong = told[told["label"] != told["taken_for"]]
    if wrong.empty:
        return f"none of {_photographs(len(told))}"
    pairs = wrong.groupby(["label", "taken_for"]).size().rename("count").reset_index()
    pairs = pairs.sort_values("count", ascending=False, kind="stable")
    of_class = told["label"].value_counts()
    named = [
        f"{label} taken for {taken_for} ({count} of {_photographs(of_class[label])})"
        for label, taken_for, count in pairs.head(MOST_PAIRS).itertuples(index=False)
    ]
    rest = int(pairs["count"].iloc[MOST_PAIRS:].sum())
    return "; ".join([*named, *([f"{rest} more of other kinds"] if rest else [])])


def _at_odds(table: pd.DataFrame, classes: Sequence[str]) -> str | None:
    """Say of how many photographs copies got different answers; None where no photograph has several images."""
    answers = table.assign(answer=predicted_classes(probabilities_of(table, classes))).groupby("group")["answer"]
    several = answers.nunique()[answers.size() > 1]
    if several.empty:
        return None
    count = int((several > 1).sum())
    return (
        f"Of {_photographs(len(several))} with several images on {{split}}, {count} {_have(count)} images with "
        "different answers."
    )


def _few(told: pd.DataFrame, classes: Sequence[str], *, split: str) -> list[str]:
    counts = {label: int((told["label"] == label).sum()) for label in classes}
    said = [
        f"Of {label} nothing is known on {split}: it has no photograph there." for label in classes if not counts[label]
    ]
    few = {
        label: share
        for label, count in counts.items()
        if count and (share := float(upper_bound(errors=0, answered=count, confidence=0.95))) > LEAST_DOUBT
    }
    if few:
        named = _listed([f"{label} ({counts[label]}, {share:.0%})" for label, share in few.items()], last="and")
        said.append(
            f"Few photographs on {split}: {named}. In brackets their number, and the share that could still be told "
            "wrong (95 %) if every one of these had been told right."
        )
    return said


def _provenance(facts: CardFacts) -> list[tuple[str, str]]:
    tags = facts.tags
    dirty = {"true": ", with changes that were not committed", "false": ", nothing changed"}.get(
        tags.get("git_dirty", ""), ""
    )
    versions = ", ".join(
        f"{name.removeprefix('version.')} {value}"
        for name, value in sorted(tags.items())
        if name.startswith("version.")
    )
    parameters = facts.trainings[0].parameters if len(facts.trainings) == 1 else {}
    seeds = f"{tags.get('seed', NOT_KEPT)}; of the split {parameters.get('split.seed', NOT_KEPT)}"
    return [
        ("Run", f"{facts.run_name} ({facts.run_id})"),
        ("Date", facts.date or NOT_KEPT),
        ("Code", f"{tags.get('git_commit', NOT_KEPT)}{dirty}"),
        ("Packages", versions or NOT_KEPT),
        ("Seed", seeds if parameters else tags.get("seed", NOT_KEPT)),
    ]


def _terms(facts: CardFacts) -> list[str]:
    sources = {training.parameters.get("data.source") for training in facts.trainings}
    if sources == {"smears"}:
        return ["The images are drawn by a program. Figures on them say nothing about real cells."]
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


def _photographs(count: int) -> str:
    return f"{count} photograph{'' if count == 1 else 's'}"


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _entries(value: str | None) -> list[str]:
    """Return the entries of a list of plain values that was kept as text."""
    return [entry.strip().strip("'\"") for entry in (value or "").strip("[]()").split(",") if entry.strip()]


def _listed(words: Collection[str], *, last: str = "and") -> str:
    *first, final = words
    return f"{', '.join(first)} {last} {final}" if first else final
