"""The candidates of a comparison: predictions of several models on the same images, aligned."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.comparison.differing import describe_difference, describe_set_difference, split_between_folds
from bloodcell.comparison.recognition import recognise
from bloodcell.comparison.tables import checked_table
from bloodcell.errors import UserError
from bloodcell.evaluation.baselines import majority_probabilities
from bloodcell.evaluation.evidence import LEAKY, LIMITS, ordered, why_not_better
from bloodcell.evaluation.predictions import classes_of, label_indices, probabilities_of
from bloodcell.evaluation.probabilities import predicted_classes
from bloodcell.evaluation.scores import Predictions
from bloodcell.wording import PHOTOGRAPH

Tables = Mapping[str, pd.DataFrame | Sequence[pd.DataFrame]]
Named = list[tuple[str, pd.DataFrame]]
"""Tables with the names of their models; a model may have several."""

MAJORITY = "majority class"
"""The name of the baseline that every comparison includes."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model, or several trainings of one configuration, whose scores are averaged.

    Attributes
    ----------
    probabilities
        Shape (n, k), float64, of each training.
    evidence
        The names of what limits it, see `bloodcell.evaluation.evidence`.
    barred
        Why it cannot be better than another, such as a leak, as a clause after its name; empty if it can.
    trivial
        Whether it predicts the same for every image.
    majority
        Whether it is the majority class: by source the class with most sources, as the mean of groups that with most
        groups.
    """

    name: str
    probabilities: tuple[NDArray[np.float64], ...]
    trivial: bool
    evidence: tuple[str, ...] = ()
    barred: str = ""
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
    notes
        How the tables of other tools were read.
    certain
        The names of candidates without probabilities: those of their classes are 1.
    """

    images: pd.DataFrame
    classes: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    split: str
    out_of_fold: bool
    notes: tuple[str, ...] = ()
    certain: tuple[str, ...] = ()

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


def align(
    tables: Tables,
    *,
    split: str | None = None,
    evidence: Mapping[str, Collection[str]] | None = None,
    columns: Mapping[str, str] | None = None,
    classes: Sequence[str] = (),
    groups: Mapping[str, str] | None = None,
    baseline: str | None = None,
) -> Aligned:
    """Align predictions tables of the same images.

    The order of rows and columns, and the names of groups and sources, may differ. A table without groups or sources
    takes those of another; if no table has sources, each group is one.

    Parameters
    ----------
    tables
        By name, the predictions of each model, ``path, label, source, group, split, fold`` and ``p_<class>``;
        ``source``, ``split`` and ``fold`` are optional. Other tools' tables are recognised, see
        `bloodcell.comparison.recognition`. A list of tables, or the repeats of a cross-validation in one table, are
        several trainings of one configuration.
    split
        Which predictions; None: those of validation, out of fold in a cross-validation, if all tables have them, else
        a split that all tables have.
    evidence
        By name, what limits a model (names of `bloodcell.evaluation.evidence.LIMITS`); leaks that show in a table are
        found.
    columns, classes
        As for `bloodcell.comparison.recognition.recognise`.
    groups
        The group of each path, for tables without groups.
    baseline
        The name of a table that predicts the same for every image, and is the trivial baseline; None: the majority
        class of these images is added.

    Raises
    ------
    UserError
        If a table is invalid, or two tables differ; one line that names them.
    """
    if not isinstance(tables, Mapping) or not tables:
        raise UserError("runs: is empty; give tables of predictions by name")
    if nameless := [name for name in tables if not isinstance(name, str) or not name.strip()]:
        raise UserError(f"runs: {nameless[0]!r} is not a name; give every table of predictions a name")
    evidence = _checked_evidence(evidence or {}, tables)
    recognised = [
        (name, recognise(name, table, columns=columns, classes=classes))
        for name, each in tables.items()
        for table in (each if isinstance(each, (list, tuple)) else [each])
    ]
    given = [(name, _with_groups(checked_table(name, each.table), groups)) for name, each in recognised]
    if empty := set(tables) - {name for name, _ in given}:
        raise UserError(f"{min(empty)}: has no table of predictions; give one, or leave it out")
    given = _with_names(given)
    classes = _common_classes(given)
    chosen = split if split is not None else _chosen_split(given)
    trainings = [(name, each) for name, table in given for each in _trainings(name, _of_split(name, table, chosen))]
    first, images = trainings[0]
    for number, (name, each) in enumerate(trainings, 1):
        if differs := describe_difference(images, each, columns=("label", "source", "group")):
            other = name if name != first else f"its table {number}"
            raise UserError(f"{first} and {other} differ: {differs}; compare models on the same images")
    majority = _majority(images, classes, name=MAJORITY if MAJORITY not in tables else f"{MAJORITY} of these images")
    candidates = []
    tables_of, trainings_of = _by_name(given), _by_name(trainings)
    for name, own in trainings_of.items():
        leak = next(filter(None, map(_leak, tables_of[name])), "")
        limits = ordered([*evidence.get(name, ()), *([LEAKY] if leak else [])])
        barred = why_not_better(limits) if not leak else f"leaks: {leak}"
        trivial = all(_is_trivial(each, classes) for each in own)
        probabilities = tuple(probabilities_of(each, classes) for each in own)
        same = trivial and not barred and all(_same_classes(each, majority.probabilities[0]) for each in probabilities)
        candidates.append(
            Candidate(
                name=name,
                probabilities=probabilities,
                trivial=trivial,
                evidence=limits,
                barred=barred,
                majority=same,
            )
        )
    if not any(candidate.majority or (candidate.name == baseline and candidate.trivial) for candidate in candidates):
        candidates.append(majority)
    return Aligned(
        images=images[["path", "label", "source", "group"]],
        classes=classes,
        candidates=tuple(sorted(candidates, key=lambda candidate: (candidate.trivial, candidate.name == baseline))),
        split=chosen,
        out_of_fold=chosen == "val" and _cross_validated(given),
        notes=tuple(dict.fromkeys(note for _, each in recognised for note in each.notes)),
        certain=tuple(dict.fromkeys(name for name, each in recognised if each.certain)),
    )


def _checked_evidence(evidence: Mapping[str, Collection[str]], tables: Tables) -> Mapping[str, Collection[str]]:
    for name, limits in evidence.items():
        if name not in tables:
            raise UserError(f"evidence={name}: is not a run; the runs are {', '.join(tables)}")
        if unknown := [each for each in limits if each not in LIMITS]:
            raise UserError(f"evidence={name}: {unknown[0]!r} is unknown; give some of {', '.join(LIMITS)}")
    return evidence


def _with_groups(table: pd.DataFrame, groups: Mapping[str, str] | None) -> pd.DataFrame:
    """Fill in the groups of a table that has none."""
    if not groups or table["group"].notna().all():
        return table
    return table.assign(group=table["path"].map(dict(groups)))


def _by_name(named: Named) -> dict[str, list[pd.DataFrame]]:
    tables: dict[str, list[pd.DataFrame]] = {}
    for name, table in named:
        tables.setdefault(name, []).append(table)
    return tables


def _with_names(given: Named) -> Named:
    """Fill in missing groups and sources from the other tables, and sources that no table has from groups."""
    groups, sources = (_names_by_path(given, column) for column in ("group", "source"))
    if groups.empty:
        raise UserError(
            f"{given[0][0]}: has no column group, nor has another table; add it (the patient, or the photograph "
            "that an image was made from) or groups_file, because intervals count groups"
        )
    filled = []
    for name, table in given:
        group = _filled(table["group"], table["path"], groups)
        if (missing := group.isna()).any():
            raise UserError(
                f"{name}: no table has the group of {table['path'][missing.argmax()]} and {missing.sum() - 1} more "
                "images; add a column group"
            )
        source = _filled(table["source"], table["path"], sources).fillna(group)
        filled.append((name, table.assign(group=group, source=source)))
    return filled


def _filled(names: "pd.Series[str]", paths: "pd.Series[str]", others: "pd.Series[str]") -> "pd.Series[str]":
    return names.fillna(paths.map(others)) if names.isna().any() else names


def _names_by_path(given: Named, column: str) -> "pd.Series[str]":
    known = [table[["path", column]] for _, table in given if table[column].notna().all()]
    if not known:
        return pd.Series(dtype=object)
    return pd.concat(known).drop_duplicates("path").set_index("path")[column]


def _common_classes(given: Named) -> tuple[str, ...]:
    first, table = given[0]
    classes = classes_of(table)
    for name, each in given:
        if differs := describe_set_difference(classes_of(each), classes):
            raise UserError(
                f"{first} and {name} have different classes: {differs}; compare models with the same classes"
            )
    return tuple(sorted(classes))


def _chosen_split(given: Named) -> str:
    known = [set(splits) - {"train"} for _, table in given if (splits := table["split"].dropna().unique()).size]
    common = set.intersection(*known) if known else {"test"}
    if not common:
        names = " and ".join(dict.fromkeys(name for name, _ in given))
        raise UserError(
            f"{names}: have no predictions of the same split ({'; '.join(map(_listed, known))}); compare models on "
            "the same images"
        )
    return next((split for split in ("val", "test") if split in common), min(common))


def _cross_validated(given: Named) -> bool:
    """Return whether validation has several folds in a table."""
    return any(table["fold"][_is_of(table, "val")].nunique() > 1 for _, table in given)


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
    if table["path"].is_unique:
        return [table]
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
    sides = {side: table[table["split"] == side] for side in table["split"].dropna().unique()}
    folded = sides.get("val", table.iloc[:0])
    cross_validated = folded["fold"].nunique() > 1
    if len(sides) < 2 and not cross_validated:
        return ""
    for column, what in (("source", f"copies of {PHOTOGRAPH}"), ("group", "images of group")):
        train, val, test = (
            set(sides[side][column].unique()) if side in sides else set[str]() for side in ("train", "val", "test")
        )
        for one, other, where in (
            (train, test, "training and in test"),
            (val, test, "validation and in test"),
            (set() if cross_validated else train, val, "training and in validation"),
        ):
            if shared := sorted(one & other):
                return f"{what} {shared[0]} are in {where}"
        if cross_validated and (divided := split_between_folds(folded, column)):
            return f"{what} {divided[0]} are in several of its folds"
    return ""


def _is_trivial(table: pd.DataFrame, classes: Sequence[str]) -> bool:
    """Return whether all images of a fold have the same probabilities."""
    probabilities, folds = probabilities_of(table, classes), table["fold"].fillna(0).to_numpy()
    of_folds = (probabilities[folds == fold] for fold in np.unique(folds))
    varies = [np.ptp(each, axis=0) for each in of_folds if len(each) > 1]  # one image cannot show it
    return len(varies) > 0 and bool((np.array(varies) < 1e-6).all())


def _same_classes(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    return np.array_equal(predicted_classes(one), predicted_classes(other))


def _majority(images: pd.DataFrame, classes: Sequence[str], *, name: str) -> Candidate:
    labels = label_indices(images, classes)
    probabilities = majority_probabilities(training_labels=labels, n_classes=len(classes), n_images=labels.size)
    return Candidate(name=name, probabilities=(probabilities,), trivial=True, majority=True)
