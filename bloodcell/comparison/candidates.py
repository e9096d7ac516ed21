"""The candidates of a comparison: predictions of several models on the same images, aligned."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.comparison.differing import describe_difference, describe_set_difference, split_between_folds
from bloodcell.errors import UserError
from bloodcell.evaluation.baselines import majority_probabilities
from bloodcell.evaluation.predictions import PROBABILITY_PREFIX, classes_of, label_indices, probabilities_of
from bloodcell.evaluation.probabilities import ROW_SUM_TOLERANCE, checked_probabilities, predicted_classes
from bloodcell.evaluation.scores import Predictions
from bloodcell.wording import PHOTOGRAPH

Tables = Mapping[str, pd.DataFrame | Sequence[pd.DataFrame]]

MAJORITY = "majority class"
"""The name of the baseline that every comparison includes."""
ROUNDING = 5e-3
"""The largest error of a sum of probabilities that few digits explain."""
LEAKY_SPLIT = "copies of one photograph are, or can be, on both sides of its split"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model, or several trainings of one configuration, whose scores are averaged.

    Attributes
    ----------
    name
        In every table.
    probabilities
        Shape (n, k), float64, of each training.
    leak
        Why its metrics are inflated by leakage, so that it cannot be better; empty if they are not.
    trivial
        Whether it predicts the same for every image.
    majority
        Whether it is the majority class: by source the class with most sources, as the mean of groups that with most
        groups.
    """

    name: str
    probabilities: tuple[NDArray[np.float64], ...]
    leak: str
    trivial: bool
    majority: bool = False


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """Candidates and the images that all of them predicted.

    Attributes
    ----------
    images
        One row per image, sorted by path: ``path, label, source, group``.
    classes
        The k class names, sorted.
    candidates
        At least one; trivial ones last.
    split
        ``val`` (out of fold in a cross-validation), ``test`` or another split of the tables.
    out_of_fold
        Whether at least one candidate's predictions are out of fold.
    """

    images: pd.DataFrame
    classes: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    split: str
    out_of_fold: bool

    @property
    def trivial(self) -> tuple[str, ...]:
        """The names of the candidates that predict the same for every image."""
        return tuple(candidate.name for candidate in self.candidates if candidate.trivial)

    @property
    def baseline(self) -> str:
        """The name of the baseline that others are compared with."""
        return self.trivial[-1]

    def predictions(self, candidate: Candidate) -> list[Predictions]:
        """Return the predictions of each training of a candidate."""
        labels, groups, sources = self._indices
        return [
            Predictions(labels=labels, probabilities=each, groups=groups, sources=sources)
            for each in candidate.probabilities
        ]

    @property
    def groups_are_sources(self) -> bool:
        """Whether every group is one source."""
        _, groups, sources = self._indices
        return np.array_equal(groups, sources)

    @cached_property
    def _indices(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The label, group and source of each image as integers."""
        groups, sources = (pd.factorize(self.images[column])[0].astype(np.int64) for column in ("group", "source"))
        return label_indices(self.images, self.classes), groups, sources


def align(tables: Tables, *, split: str | None = None, leaky: Collection[str] = ()) -> Aligned:
    """Align predictions tables of the same images.

    The order of rows and columns, and the names of groups and sources, may differ. A table without groups or sources
    takes those of another; if no table has sources, each group is one.

    Parameters
    ----------
    tables
        By name, the predictions of each model, ``path, label, source, group, split, fold`` and ``p_<class>``;
        ``source``, ``split`` and ``fold`` are optional. A list of tables, or the repeats of a cross-validation in one
        table, are several trainings of one configuration.
    split
        Which predictions; None: out-of-fold ones if all tables have them, else those of test, else a split that all
        tables have.
    leaky
        The names of models known to leak; leaks that show in a table are found.

    Raises
    ------
    UserError
        If a table is invalid, or two tables differ; one line that names them.
    """
    if not isinstance(tables, Mapping) or not tables:
        raise UserError("runs: is empty; give tables of predictions by name")
    if nameless := [name for name in tables if not isinstance(name, str) or not name.strip()]:
        raise UserError(f"runs: {nameless[0]!r} is not a name; give every table of predictions a name")
    if unknown := set(leaky) - set(tables):
        raise UserError(f"leaky={sorted(unknown)[0]}: is not a run; the runs are {', '.join(tables)}")
    given = {
        name: [_checked(name, table) for table in (each if isinstance(each, (list, tuple)) else [each])]
        for name, each in tables.items()
    }
    if empty := [name for name, each in given.items() if not each]:
        raise UserError(f"{empty[0]}: has no table of predictions; give one, or leave it out")
    given = _with_sources(_with_groups(given))
    classes = _common_classes(given)
    chosen = split if split is not None else _chosen_split(given)
    trainings = {
        name: [each for table in several for each in _trainings(name, _of_split(name, table, chosen))]
        for name, several in given.items()
    }
    first, (images, *_) = next(iter(trainings.items()))
    for name, several in trainings.items():
        for number, each in enumerate(several, 1):
            if differs := describe_difference(images, each, columns=("label", "source", "group")):
                other = name if name != first else f"its table {number}"
                raise UserError(f"{first} and {other} differ: {differs}; compare models on the same images")
    candidates = [
        Candidate(
            name=name,
            probabilities=tuple(probabilities_of(each, classes) for each in several),
            leak=LEAKY_SPLIT if name in leaky else next(filter(None, map(_leak, given[name])), ""),
            trivial=all(_is_trivial(each, classes) for each in several),
        )
        for name, several in trainings.items()
    ]
    majority = _majority(images, classes, name=MAJORITY if MAJORITY not in tables else f"{MAJORITY} of these images")
    candidates = [
        replace(each, majority=each.trivial and not each.leak and _predict_same_classes(each, majority))
        for each in candidates
    ]
    if not any(candidate.majority for candidate in candidates):
        candidates.append(majority)
    val = [table[_is_of(table, "val")] for several in given.values() for table in several]
    return Aligned(
        images=images[["path", "label", "source", "group"]],
        classes=classes,
        candidates=tuple(sorted(candidates, key=lambda candidate: candidate.trivial)),
        split=chosen,
        out_of_fold=chosen == "val" and any(table["fold"].nunique() > 1 for table in val),
    )


def _checked(name: str, table: Any) -> pd.DataFrame:
    """Return a table with all columns and the right types."""
    if not isinstance(table, pd.DataFrame):
        raise UserError(f"{name}: is a {type(table).__name__}, not a table; give a pandas.DataFrame of predictions")
    if absent := [column for column in ("path", "label") if column not in table.columns]:
        raise UserError(
            f"{name}: has no column {absent[0]}; give a table of predictions, with path, label and p_<class>"
        )
    classes = classes_of(table)
    if len(classes) < 2:
        raise UserError(f"{name}: has {len(classes)} columns {PROBABILITY_PREFIX}<class>; give one for each class")
    if table.columns.has_duplicates:
        raise UserError(f"{name}: has the column {table.columns[table.columns.duplicated()][0]} twice; leave one out")
    if table.empty:
        raise UserError(f"{name}: has no rows; give the predictions of at least one image")
    for column in ("path", "label", *(name for name in ("source", "group") if name in table.columns)):
        if (missing := table[column].isna()).any():
            raise UserError(
                f"{name}: has no {column} in {missing.sum()} rows, the first is row {missing.argmax()}; add it"
            )
    checked = pd.DataFrame({"path": _texts(table["path"]), "label": _texts(table["label"])})
    for column in ("source", "group", "split"):
        checked[column] = _texts(table[column]) if column in table.columns else None
    checked["fold"] = pd.to_numeric(table["fold"], errors="coerce").to_numpy() if "fold" in table.columns else None
    if "fold" in table.columns and (checked["fold"].isna().to_numpy() & table["fold"].notna().to_numpy()).any():
        checked["fold"] = pd.factorize(table["fold"])[0]  # names rather than numbers
    if strange := sorted(set(checked["label"]) - set(classes)):
        raise UserError(f"{name}: has the label {strange[0]}, but no column {PROBABILITY_PREFIX}{strange[0]}; add it")
    columns = [PROBABILITY_PREFIX + each for each in classes]
    try:
        values = checked_probabilities(
            _rounded(table[columns].to_numpy(dtype=np.float64)), n_images=len(table), n_classes=len(classes)
        )
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: {error}; correct the table") from error
    checked[columns] = values
    return checked


def _texts(column: "pd.Series[Any]") -> NDArray[np.object_]:
    """Return names as strings; floats that are whole numbers as integers."""
    if pd.api.types.is_float_dtype(column) and (column == column.round()).all():
        column = column.astype("int64")
    return np.asarray(column.astype(str), dtype=object)


def _rounded(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correct rounding: rows that sum to nearly 1, and slightly negative zeros.

    Rows that sum to 1 within the precision of their type stay unchanged: division would break ties.
    """
    clipped = np.where((probabilities < 0) & (probabilities > -ROUNDING), 0.0, probabilities)
    sums = clipped.sum(axis=1, keepdims=True)
    off = np.abs(sums - 1)
    return np.where((off > ROW_SUM_TOLERANCE) & (off <= ROUNDING), clipped / np.where(sums > 0, sums, 1.0), clipped)


def _with_groups(given: Mapping[str, list[pd.DataFrame]]) -> dict[str, list[pd.DataFrame]]:
    """Fill in missing groups from the other tables."""
    tables = [table for several in given.values() for table in several]
    known = [table for table in tables if table["group"].notna().all()]
    if len(known) == len(tables):
        return dict(given)
    if not known:
        raise UserError(
            f"{next(iter(given))}: has no column group, nor has another table; add it (the patient, or the photograph "
            "that an image was made from), because intervals count groups"
        )
    groups = pd.concat([table[["path", "group"]] for table in known]).drop_duplicates("path").set_index("path")["group"]
    filled = {}
    for name, several in given.items():
        filled[name] = [
            table if table["group"].notna().all() else table.assign(group=table["path"].map(groups))
            for table in several
        ]
        for table in filled[name]:
            if (missing := table["group"].isna()).any():
                raise UserError(
                    f"{name}: no table has the group of {table['path'][missing.argmax()]} and "
                    f"{missing.sum() - 1} more images; add a column group"
                )
    return filled


def _with_sources(given: Mapping[str, list[pd.DataFrame]]) -> dict[str, list[pd.DataFrame]]:
    """Fill in missing sources from the other tables, else from groups."""
    known = [table for several in given.values() for table in several if table["source"].notna().all()]
    names: pd.Series[str] = pd.Series(dtype=object)
    if known:
        names = pd.concat(known).drop_duplicates("path").set_index("path")["source"]
    return {
        name: [
            table.assign(source=table["source"].fillna(table["path"].map(names)).fillna(table["group"]))
            for table in several
        ]
        for name, several in given.items()
    }


def _common_classes(given: Mapping[str, list[pd.DataFrame]]) -> tuple[str, ...]:
    first, (table, *_) = next(iter(given.items()))
    classes = classes_of(table)
    for name, several in given.items():
        for each in several:
            if differs := describe_set_difference(classes_of(each), classes):
                raise UserError(
                    f"{first} and {name} have different classes: {differs}; compare models with the same classes"
                )
    return tuple(sorted(classes))


def _chosen_split(given: Mapping[str, list[pd.DataFrame]]) -> str:
    tables = [table for several in given.values() for table in several]
    known = [set(table["split"].dropna()) - {"train"} for table in tables if table["split"].notna().any()]
    common = set.intersection(*known) if known else {"test"}
    if "val" in common:
        val = [table[_is_of(table, "val")] for table in tables]
        folded = any(table["fold"].nunique() > 1 for table in val)
        if folded and len({frozenset(table["path"]) for table in val}) == 1:
            return "val"
    if not common:
        raise UserError(
            f"{' and '.join(given)}: have no predictions of the same split ({'; '.join(map(_listed, known))}); "
            "compare models on the same images"
        )
    return next((split for split in ("test", "val") if split in common), min(common))


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _is_of(table: pd.DataFrame, split: str) -> "pd.Series[bool]":
    return (table["split"] == split) | table["split"].isna()


def _of_split(name: str, table: pd.DataFrame, split: str) -> pd.DataFrame:
    chosen = table[_is_of(table, split)]
    if chosen.empty:
        raise UserError(f"{name}: has no predictions of {split}, only of {_listed(set(table['split']))}; leave it out")
    return chosen


def _trainings(name: str, table: pd.DataFrame) -> list[pd.DataFrame]:
    """Return one table per repeat of a cross-validation, sorted by path."""
    order = ["path", "fold"] if table["fold"].notna().all() else ["path"]
    table = table.sort_values(order, ignore_index=True, kind="stable")
    again = table.duplicated(order)
    counts = table["path"].value_counts()
    if again.any() or counts.nunique() > 1:
        path = table["path"][again.argmax()] if again.any() else counts.index[0]
        raise UserError(
            f"{name}: has {counts[path]} predictions of {path}, but {counts.min()} of others; keep one of each image"
        )
    number = table.groupby("path").cumcount()
    if mixed := [fold for fold, repeats in number.groupby(table["fold"]).nunique().items() if repeats > 1]:
        raise UserError(
            f"{name}: fold {mixed[0]:g} is in several repeats of the cross-validation; give folds of different "
            "repeats different numbers, or give a list of tables, one for each repeat"
        )
    return [table[number == each].reset_index(drop=True) for each in range(int(counts.iloc[0]))]


def _leak(table: pd.DataFrame) -> str:
    """Return how the split of a table leaks; empty if it does not."""
    folded = table.loc[table["split"] == "val"]
    cross_validated = folded["fold"].nunique() > 1
    for column, what in (("source", f"copies of {PHOTOGRAPH}"), ("group", "images of group")):
        train, val, test = (set(table.loc[table["split"] == side, column]) for side in ("train", "val", "test"))
        for one, other, where in (
            (train, test, "training and in test"),
            (val, test, "validation and in test"),
            (set() if cross_validated else train, val, "training and in validation"),
        ):
            if shared := sorted(one & other):
                return f"{what} {shared[0]} are in {where}"
        if cross_validated and (torn := split_between_folds(folded, column)):
            return f"{what} {torn[0]} are in several of its folds"
    return ""


def _is_trivial(table: pd.DataFrame, classes: Sequence[str]) -> bool:
    """Return whether all images of a fold have the same probabilities."""
    columns = [PROBABILITY_PREFIX + name for name in classes]
    folds = table.groupby(table["fold"].fillna(0))[columns]
    varies = folds.agg(np.ptp)[folds.size() > 1]  # one image cannot show it
    return len(varies) > 0 and bool((varies.to_numpy() < 1e-6).all())


def _predict_same_classes(one: Candidate, other: Candidate) -> bool:
    return all(
        np.array_equal(predicted_classes(each), predicted_classes(other.probabilities[0])) for each in one.probabilities
    )


def _majority(images: pd.DataFrame, classes: Sequence[str], *, name: str) -> Candidate:
    labels = label_indices(images, classes)
    probabilities = majority_probabilities(training_labels=labels, n_classes=len(classes), n_images=labels.size)
    return Candidate(name=name, probabilities=(probabilities,), leak="", trivial=True, majority=True)
