"""The section of a model card on classes and errors, from the run's predictions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from bloodcell.evaluation.folds import mean_by_image
from bloodcell.evaluation.intervals import FEWEST_GROUPS, loss_interval
from bloodcell.evaluation.metrics import per_class
from bloodcell.evaluation.predictions import label_indices, probabilities_of
from bloodcell.evaluation.probabilities import predicted_classes
from bloodcell.evaluation.scores import Losses
from bloodcell.evaluation.selective_prediction import upper_bound
from bloodcell.evaluation.sources import by_source
from bloodcell.wording import PHOTOGRAPH, counted, listed, plural

HELD_OUT = {"val": "validation", "test": "test"}
MAX_UPPER_BOUND = 0.1
"""A class has few groups if the upper bound of its error without a single error is larger (95 %)."""
MAX_PAIRS = 3
"""The number of confusions to name."""


def held_out_tables(predictions: pd.DataFrame, *, classes: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return a run's predictions of each held-out split, one row per image."""
    by_split = {split: predictions[predictions["split"] == split] for split in HELD_OUT}
    return {split: mean_by_image([table], classes=classes) for split, table in by_split.items() if len(table)}


def class_rows(tables: Mapping[str, pd.DataFrame], *, classes: Sequence[str]) -> list[list[str]]:
    """Return a row for each class: recall by image and by photograph, for each split."""
    columns: list[list[str]] = [list(classes)]
    for table in tables.values():
        by_image = per_class(
            labels=label_indices(table, classes),
            probabilities=probabilities_of(table, classes),
            classes=classes,
        )
        columns.append([f"{recall:.3f}" if math.isfinite(recall) else "–" for recall in by_image["recall"]])
        by_photograph = _predicted_sources(table, classes)
        columns.append([_recall_text(_recall(by_photograph[by_photograph["label"] == label])) for label in classes])
    return [list(row) for row in zip(*columns, strict=True)]


def error_sentences(
    tables: Mapping[str, pd.DataFrame], *, classes: Sequence[str], group_name: str = PHOTOGRAPH
) -> list[str]:
    """Return sentences on confusions, inconsistent copies and small classes."""
    sentences: list[str] = []
    for split, table in tables.items():
        sources = _predicted_sources(table, classes)
        sentences.append(f"Most frequent confusions on {HELD_OUT[split]}: {_confusions(sources)}.")
        sentences.extend(_inconsistent_copies(table, classes, split=HELD_OUT[split]))
        sentences.extend(_few_groups(sources, classes, split=HELD_OUT[split], groups=plural(group_name)))
    return sentences


def _predicted_sources(table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Return a row for each source: ``source, label, group, images, predicted``."""
    sources = by_source(table, classes)
    return sources.assign(predicted=np.array(classes)[predicted_classes(probabilities_of(sources, classes))])


@dataclass(frozen=True, kw_only=True)
class Recall:
    """The photographs of a class that are classified correctly: their number, that of all, and a 95 % interval.

    ``low`` and ``high`` are None with too few groups for an interval.
    """

    right: int
    number: int
    low: float | None = None
    high: float | None = None


def recall_by_photograph(table: pd.DataFrame, *, classes: Sequence[str], label: str) -> Recall:
    """Return the recall of a class from the mean probabilities of each photograph's images."""
    sources = _predicted_sources(table, classes)
    return _recall(sources[sources["label"] == label])


def _recall(sources: pd.DataFrame) -> Recall:
    if sources.empty:
        return Recall(right=0, number=0)
    wrong = (sources["label"] != sources["predicted"]).to_numpy()
    right, n_groups = int((~wrong).sum()), sources["group"].nunique()
    if n_groups == len(sources):
        ends = binomtest(right, len(sources)).proportion_ci(confidence_level=0.95, method="wilson")
        low, high = ends.low, ends.high
    elif n_groups >= FEWEST_GROUPS:
        losses = Losses(values=wrong.astype(np.float64), weights=np.full(wrong.size, 1 / wrong.size))
        low, high = (1 - end for end in reversed(loss_interval(losses, pd.factorize(sources["group"])[0])))
    else:
        return Recall(right=right, number=len(sources))
    return Recall(right=right, number=len(sources), low=float(low), high=float(high))


def _recall_text(recall: Recall) -> str:
    if not recall.number:
        return "no photograph"
    if recall.low is None:
        return f"{recall.right} of {recall.number} (too few groups for an interval)"
    return f"{recall.right} of {recall.number} ({recall.low:.2f} to {recall.high:.2f})"


def _confusions(sources: pd.DataFrame) -> str:
    wrong = sources[sources["label"] != sources["predicted"]]
    if wrong.empty:
        return f"none of {counted(len(sources), PHOTOGRAPH)}"
    pairs = wrong.groupby(["label", "predicted"]).size().rename("count").reset_index()
    pairs = pairs.sort_values("count", ascending=False, kind="stable")
    of_class = sources["label"].value_counts()
    named = [
        f"{label} predicted as {predicted} ({count} of {counted(of_class[label], PHOTOGRAPH)})"
        for label, predicted, count in pairs.head(MAX_PAIRS).itertuples(index=False)
    ]
    rest = int(pairs["count"].iloc[MAX_PAIRS:].sum())
    return "; ".join([*named, *([f"{rest} others"] if rest else [])])


def _inconsistent_copies(table: pd.DataFrame, classes: Sequence[str], *, split: str) -> list[str]:
    """Return the number of sources whose copies get different classes, as a sentence."""
    images = table.assign(predicted=predicted_classes(probabilities_of(table, classes)))
    predicted = images.groupby("source")["predicted"]
    several = predicted.nunique()[predicted.size() > 1]
    if several.empty:
        return []
    count = int((several > 1).sum())
    copied = counted(len(several), PHOTOGRAPH)
    return [f"Copies get different classes in {count} of {copied} with several images on {split}."]


def _few_groups(sources: pd.DataFrame, classes: Sequence[str], *, split: str, groups: str) -> list[str]:
    counts = {label: int(sources.loc[sources["label"] == label, "group"].nunique()) for label in classes}
    sentences = [
        f"Recall of {label} on {split} is unknown: it has no photograph." for label in classes if not counts[label]
    ]
    few = {
        label: share
        for label, count in counts.items()
        if count and (share := float(upper_bound(errors=0, covered=count, confidence=0.95))) > MAX_UPPER_BOUND
    }
    if few:
        named = listed([f"{label} ({counts[label]}, {percent(share)})" for label, share in few.items()])
        sentences.append(
            f"Few {groups} on {split}: {named}. In brackets: their number, and the upper 95 % confidence bound of the "
            "error even if all of these were classified correctly."
        )
    return sentences


def percent(share: float) -> str:
    """Format a share in percent."""
    return f"{100 * share:.0f} %"
