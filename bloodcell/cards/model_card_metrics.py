"""What a card says of each class, and of what a model confuses: sentences and tables of its predictions."""

import math
from collections.abc import Mapping, Sequence

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
LEAST_DOUBT = 0.1
"""A class has few photographs where, if all were told right, more than this share could still be wrong (95 %)."""
MOST_PAIRS = 3
"""How many confusions of a split are named."""


def held_out_tables(predictions: pd.DataFrame, *, classes: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return a run's predictions of each held-out split that there are any of, every image once."""
    by_split = {split: predictions[predictions["split"] == split] for split in HELD_OUT}
    return {split: mean_by_image([table], classes=classes) for split, table in by_split.items() if len(table)}


def class_rows(tables: Mapping[str, pd.DataFrame], *, classes: Sequence[str]) -> list[list[str]]:
    """Return a row for each class: for each split its recall by image, and its photographs told right of how many."""
    columns: list[list[str]] = [list(classes)]
    for table in tables.values():
        by_image = per_class(
            labels=label_indices(table, classes),
            probabilities=probabilities_of(table, classes),
            classes=classes,
        )
        columns.append([f"{recall:.3f}" if math.isfinite(recall) else "–" for recall in by_image["recall"]])
        told = _told(table, classes)
        columns.append([_right_of(told[told["label"] == label]) for label in classes])
    return [list(row) for row in zip(*columns, strict=True)]


def failures(tables: Mapping[str, pd.DataFrame], *, classes: Sequence[str], group_name: str = PHOTOGRAPH) -> list[str]:
    """Return sentences on what is confused, on copies told differently and on what is not known for want of images."""
    said: list[str] = []
    for split, table in tables.items():
        told = _told(table, classes)
        said.append(f"Confused most on {HELD_OUT[split]}: {_confused(told)}.")
        said.extend(_at_odds(table, classes, split=HELD_OUT[split]))
        said.extend(_few(told, classes, split=HELD_OUT[split], groups=plural(group_name)))
    return said


def _told(table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Return a row for each photograph: ``source, label, group, images`` and what it was ``taken_for``."""
    told = by_source(table, classes)
    return told.assign(taken_for=np.array(classes)[predicted_classes(probabilities_of(told, classes))])


def _right_of(told: pd.DataFrame) -> str:
    if told.empty:
        return "no photograph"
    wrong = (told["label"] != told["taken_for"]).to_numpy()
    right, n_groups = int((~wrong).sum()), told["group"].nunique()
    if n_groups == len(told):
        ends = binomtest(right, len(told)).proportion_ci(confidence_level=0.95, method="wilson")
        low, high = ends.low, ends.high
    elif n_groups >= FEWEST_GROUPS:
        losses = Losses(values=wrong.astype(np.float64), weights=np.full(wrong.size, 1 / wrong.size))
        low, high = (1 - end for end in reversed(loss_interval(losses, pd.factorize(told["group"])[0])))
    else:
        return f"{right} of {len(told)} (too few groups for an interval)"
    return f"{right} of {len(told)} ({low:.2f} to {high:.2f})"


def _confused(told: pd.DataFrame) -> str:
    wrong = told[told["label"] != told["taken_for"]]
    if wrong.empty:
        return f"none of {counted(len(told), PHOTOGRAPH)}"
    pairs = wrong.groupby(["label", "taken_for"]).size().rename("count").reset_index()
    pairs = pairs.sort_values("count", ascending=False, kind="stable")
    of_class = told["label"].value_counts()
    named = [
        f"{label} taken for {taken_for} ({count} of {counted(of_class[label], PHOTOGRAPH)})"
        for label, taken_for, count in pairs.head(MOST_PAIRS).itertuples(index=False)
    ]
    rest = int(pairs["count"].iloc[MOST_PAIRS:].sum())
    return "; ".join([*named, *([f"{rest} more of other kinds"] if rest else [])])


def _at_odds(table: pd.DataFrame, classes: Sequence[str], *, split: str) -> list[str]:
    """Say of how many photographs copies got different answers; nothing where no photograph has several images."""
    answers = table.assign(answer=predicted_classes(probabilities_of(table, classes))).groupby("source")["answer"]
    several = answers.nunique()[answers.size() > 1]
    if several.empty:
        return []
    count = int((several > 1).sum())
    have = "has" if count in (0, 1) else "have"
    return [
        f"Of {counted(len(several), PHOTOGRAPH)} with several images on {split}, {count or 'none'} {have} images that "
        "are classified differently."
    ]


def _few(told: pd.DataFrame, classes: Sequence[str], *, split: str, groups: str) -> list[str]:
    counts = {label: int(told.loc[told["label"] == label, "group"].nunique()) for label in classes}
    said = [
        f"Of {label} nothing is known on {split}: it has no photograph there." for label in classes if not counts[label]
    ]
    few = {
        label: share
        for label, count in counts.items()
        if count and (share := float(upper_bound(errors=0, covered=count, confidence=0.95))) > LEAST_DOUBT
    }
    if few:
        named = listed([f"{label} ({counts[label]}, {percent(share)})" for label, share in few.items()])
        said.append(
            f"Few {groups} on {split}: {named}. In brackets their number, and the share that could still be told "
            "wrong (95 %) if every one of these had been told right."
        )
    return said


def percent(share: float) -> str:
    """Return a share in hundredths."""
    return f"{100 * share:.0f} %"
