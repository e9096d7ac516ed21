"""All images of some runs in columns: what the page of `bloodcell explore` loads once, and filters by itself."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.comparison.differing import describe_set_difference
from bloodcell.comparison.recognition import recognise
from bloodcell.comparison.tables import checked_table
from bloodcell.data.leaks import SPLIT_NAMES
from bloodcell.errors import UserError
from bloodcell.evaluation.evidence import LIMITS
from bloodcell.evaluation.predictions import classes_of, probabilities_of
from bloodcell.wording import PHOTOGRAPH, counted

SPLITS = ("train", "val", "test", "other")
"""The splits of an image; ``other``: another, or unknown."""
EVIDENCE = ("not predicted", "trained on", "copy in training", "held out", "unknown")
"""What a run's prediction of an image is worth.

``trained on``: the run was trained on the image and did not predict it. ``copy in training``: it was trained on another
image of the photograph. ``unknown``: a table of another tool does not say what its model was trained on.
"""
NOT_PREDICTED, TRAINED_ON, COPY, HELD_OUT, UNKNOWN = range(len(EVIDENCE))
STEPS = 10_000
"""Probabilities are sent as whole numbers of so many steps."""
IMAGE = ("path", "label", "source", "group")


@dataclass(frozen=True, kw_only=True)
class ExploredRun:
    """A run, or a file of predictions.

    Attributes
    ----------
    name
        Its name, unique among those that are explored.
    predictions
        See `bloodcell.evaluation.predictions`, or a table of another tool.
    manifest
        All images of its data set, see `bloodcell.data.manifest`; None: unknown.
    limits
        The names of what limits it, see `bloodcell.evaluation.evidence`.
    """

    name: str
    predictions: pd.DataFrame
    manifest: pd.DataFrame | None = None
    limits: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunColumns:
    """What a run says of all n images.

    Attributes
    ----------
    probabilities
        Mean over the repeats of a cross-validation, shape (n, k), float64; NaN for images without a prediction.
    split
        Index into `SPLITS`, shape (n,).
    fold
        The fold that held the image out; -1: none, shape (n,).
    evidence
        Index into `EVIDENCE`, shape (n,).
    """

    name: str
    limits: tuple[str, ...]
    probabilities: NDArray[np.float64]
    split: NDArray[np.int64]
    fold: NDArray[np.int64]
    evidence: NDArray[np.int64]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The predicted classes, shape (n,); -1 without a prediction."""
        known = ~np.isnan(self.probabilities[:, 0])
        return np.where(known, np.nan_to_num(self.probabilities).argmax(axis=1), -1)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of the predicted class, shape (n,); NaN without a prediction."""
        return np.asarray(self.probabilities.max(axis=1))


@dataclass(frozen=True, kw_only=True)
class Items:
    """The images of some runs.

    Attributes
    ----------
    table
        One row per image, sorted by path: ``path``, ``label``, ``source``, ``group`` and ``sha256`` (may be empty).
    classes
        The k classes.
    runs
        At least one.
    group_name
        The user's word for a group.
    notes
        What a reader should know, a sentence each.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    runs: tuple[RunColumns, ...]
    group_name: str = PHOTOGRAPH
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.table)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The labels as indices of the classes, shape (n,)."""
        return np.asarray(pd.Index(self.classes).get_indexer(pd.Index(self.table["label"])), dtype=np.int64)


def make_items(
    runs: Sequence[ExploredRun],
    *,
    group_name: str = PHOTOGRAPH,
    columns: Mapping[str, str] | None = None,
    classes: Sequence[str] = (),
    groups: Mapping[str, str] | None = None,
) -> Items:
    """Join the predictions of runs, which may be of different images.

    Parameters
    ----------
    runs
        At least one. Label, photograph and group of an image are those of the first run that has it.
    group_name
        The user's word for a group.
    columns, classes
        As for `bloodcell.comparison.recognition.recognise`.
    groups
        The group of each path, for tables without groups.

    Raises
    ------
    UserError
        If a table is invalid, or the runs have different classes.
    """
    notes: list[str] = []
    tables: dict[str, pd.DataFrame] = {}
    for run in runs:
        recognised = recognise(run.name, run.predictions, columns=columns, classes=classes)
        notes += recognised.notes
        tables[run.name] = _filled(checked_table(run.name, recognised.table), groups)
    first = runs[0].name
    names = tuple(sorted(classes_of(tables[first])))
    for name, table in tables.items():
        if differs := describe_set_difference(classes_of(table), names):
            raise UserError(
                f"runs: {first} and {name} have different classes: {differs}; give runs of the same classes"
            )
    images, several = _images(runs, tables)
    if strange := sorted(set(images["label"]) - set(names)):
        raise UserError(f"runs: {first}: has images of the class {strange[0]}, which it does not predict; give others")
    if several:
        notes.append(f"{counted(several, 'image')} have other labels in another run; those of {first} are shown.")
    made = tuple(_columns(run, tables[run.name], images, names) for run in runs)
    return Items(table=images, classes=names, runs=made, group_name=group_name, notes=tuple(dict.fromkeys(notes)))


def as_json(items: Items) -> bytes:
    """Return what the page loads: columns of whole numbers, and names by their indices."""
    parts = items.table["path"].str.rpartition("/")
    document = {
        "classes": items.classes,
        "splits": [SPLIT_NAMES.get(split, split) for split in SPLITS],
        "evidence": EVIDENCE,
        "steps": STEPS,
        "group_name": items.group_name,
        "notes": items.notes,
        "folder": _encoded(parts[0]),
        "file": parts[2].tolist(),
        "label": items.labels.tolist(),
        "source": _encoded(items.table["source"]),
        "group": _encoded(items.table["group"]),
        "runs": [_run_json(run, items.labels) for run in items.runs],
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _run_json(run: RunColumns, labels: NDArray[np.int64]) -> dict[str, Any]:
    of_label = run.probabilities[np.arange(len(labels)), labels]
    return {
        "name": run.name,
        "limits": [{"name": limit, "why": LIMITS[limit].why} for limit in run.limits],
        "predicted": run.predicted.tolist(),
        "confidence": _steps(run.confidence),
        "of_label": _steps(of_label),
        "split": run.split.tolist(),
        "evidence": run.evidence.tolist(),
    }


def _steps(probabilities: NDArray[np.float64]) -> list[int]:
    steps: list[int] = np.nan_to_num(np.rint(probabilities * STEPS), nan=-1).astype(np.int64).tolist()
    return steps


def _encoded(names: "pd.Series[str]") -> dict[str, Any]:
    index, known = pd.factorize(names)
    return {"names": known.tolist(), "index": index.tolist()}


def _filled(table: pd.DataFrame, groups: Mapping[str, str] | None) -> pd.DataFrame:
    """Fill in what a table of another tool lacks: an image without a group is one."""
    group = table["group"] if not groups else table["group"].fillna(table["path"].map(dict(groups)))
    group = group.fillna(table["path"])
    return table.assign(group=group, source=table["source"].fillna(group))


def _images(runs: Sequence[ExploredRun], tables: Mapping[str, pd.DataFrame]) -> tuple[pd.DataFrame, int]:
    """Return the images of all runs, and the number of those with other labels in another run."""
    parts = []
    for run in runs:
        if run.manifest is not None:
            parts.append(run.manifest[[*IMAGE, "sha256"]].astype(str))
        parts.append(tables[run.name][[*IMAGE]].astype(str).assign(sha256=""))
    every = pd.concat(parts, ignore_index=True)
    labels = every[["path", "label"]].drop_duplicates()
    images = every.drop_duplicates("path").sort_values("path", ignore_index=True)
    return images, int(labels["path"].duplicated().sum())


def _columns(run: ExploredRun, table: pd.DataFrame, images: pd.DataFrame, classes: tuple[str, ...]) -> RunColumns:
    places = pd.Index(images["path"])
    own = table.drop_duplicates("path")
    rows = places.get_indexer(pd.Index(own["path"]))
    probabilities = np.full((len(images), len(classes)), np.nan)
    means = pd.DataFrame(probabilities_of(table, classes)).groupby(table["path"].to_numpy(), sort=False).mean()
    probabilities[places.get_indexer(means.index)] = means.to_numpy()
    split, fold = np.full(len(images), SPLITS.index("other")), np.full(len(images), -1)
    if run.manifest is not None:
        listed = places.get_indexer(pd.Index(run.manifest["path"]))
        split[listed] = _split_indices(run.manifest["split"])
    if own["split"].notna().all():
        split[rows] = _split_indices(own["split"])
    fold[rows] = pd.to_numeric(own["fold"], errors="coerce").fillna(-1).astype(np.int64)
    evidence = _evidence(run, table, images, split=split, known=~np.isnan(probabilities[:, 0]))
    return RunColumns(
        name=run.name, limits=run.limits, probabilities=probabilities, split=split, fold=fold, evidence=evidence
    )


def _split_indices(splits: "pd.Series[str]") -> NDArray[np.int64]:
    index = pd.Index(SPLITS).get_indexer(pd.Index(splits.astype(str)))
    return np.where(index < 0, SPLITS.index("other"), index)


def _evidence(
    run: ExploredRun, table: pd.DataFrame, images: pd.DataFrame, *, split: NDArray[np.int64], known: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return what each prediction is worth, by the photographs that the run was trained on."""
    trained = _trained_on(run, table)
    train = (split == SPLITS.index("train")) & ~known
    if trained is None:
        return np.where(known, UNKNOWN, np.where(train, TRAINED_ON, NOT_PREDICTED))
    copies = images["source"].isin(trained["test"]) & (split == SPLITS.index("test"))
    copies |= images["source"].isin(trained["val"]) & (split != SPLITS.index("test"))
    return np.where(known, np.where(copies, COPY, HELD_OUT), np.where(train, TRAINED_ON, NOT_PREDICTED))


def _trained_on(run: ExploredRun, table: pd.DataFrame) -> dict[Literal["val", "test"], set[str]] | None:
    """Return the photographs of training with respect to validation and test images; None if that is unknown."""
    if run.manifest is None and table["fold"].isna().all():
        return None
    outside = run.manifest[run.manifest["split"] != "test"] if run.manifest is not None else table.iloc[:0]
    in_train = set(outside.loc[outside["split"] == "train", "source"].astype(str))
    validated = table[table["split"] != "test"]
    if validated["fold"].notna().any():
        # Each image is held out once in each repeat: all copies of a photograph are in the same folds, or it leaks.
        folds = validated.sort_values("fold").groupby("path")["fold"].agg(lambda each: str(each.tolist()))
        sources = validated.drop_duplicates("path").set_index("path")["source"]
        different = folds.groupby(sources).nunique()
        return {"val": set(different.index[different > 1].astype(str)), "test": set(outside["source"].astype(str))}
    return {"val": in_train, "test": set(outside["source"].astype(str))}
