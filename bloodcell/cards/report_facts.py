"""What a methods and results section says of a run: its numbers, each with the place that holds it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bloodcell.cards.document import Link, Number, Span, Text, joined, text
from bloodcell.cards.model_card_metrics import held_out_tables
from bloodcell.cards.model_card_training import UNKNOWN, Training
from bloodcell.comparison.run_tags import RunTags
from bloodcell.config.training import TrainConfig
from bloodcell.data.leaks import Leakage
from bloodcell.data.manifest import SPLITS, TEST_SET
from bloodcell.evaluation.predictions import probabilities_of
from bloodcell.evaluation.probabilities import predicted_classes
from bloodcell.wording import PHOTOGRAPH, plural

MANIFEST, PREDICTIONS, SHARED = "manifest.parquet", "predictions.parquet", "shared_images.csv"
PARTS = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True, kw_only=True)
class ReportRun:
    """A run that holds numbers of a report.

    Attributes
    ----------
    page
        The address of its page in MLflow.
    """

    id: str
    name: str
    page: str
    tags: RunTags
    metrics: Mapping[str, float]
    parameters: Mapping[str, str]

    @property
    def link(self) -> Link:
        """Its name, which links to its page."""
        return Link(text=self.name, address=self.page)

    def metric(self, name: str, form: str = ".3f") -> Span:
        """Return a metric; ``unknown`` if the run has none of this name."""
        if name not in self.metrics:
            return UNKNOWN
        value = self.metrics[name]
        return Number(
            text=format(value, form), value=value, kind="metric", name=name, run_id=self.id, address=self.page
        )

    def parameter(self, *names: str, percent: bool = False) -> Span:
        """Return a parameter, or the sum of several; ``unknown`` if the run lacks one."""
        if any(name not in self.parameters for name in names):
            return UNKNOWN
        values = [self.parameters[name] for name in names]
        value: float | str
        try:
            value = sum(map(float, values), start=0.0)
            shown = f"{100 * value:g} %" if percent else f"{value:,.0f}" if value.is_integer() else f"{value:g}"
        except ValueError:
            value = shown = ", ".join(values).strip("[]")
        return Number(text=shown, value=value, kind="param", name=" + ".join(names), run_id=self.id, address=self.page)

    def tag(self, name: str, value: str | None) -> Span:
        """Return the value of a tag; ``unknown`` if it is None."""
        if value is None:
            return UNKNOWN
        return Number(text=value, value=value, kind="tag", name=name, run_id=self.id, address=self.page)

    def artifact(self, name: str, value: float, form: str = ",.0f", **details: Any) -> Number:
        """Return a number from a file of the run; see `Number` for the details."""
        return Number(
            text=format(value, form),
            value=float(value),
            kind="artifact",
            name=name,
            run_id=self.id,
            address=f"{self.page}/artifacts/{name}",
            details=details,
        )

    def count_of_runs(self, name: str, number: int) -> Number:
        """Return a number of runs that belong to it."""
        return Number(
            text=f"{number:,}", value=float(number), kind="runs", name=name, run_id=self.id, address=self.page
        )

    def interval(self, name: str, form: str = ".3f") -> Text:
        """Return a metric and its 95 % interval, if it has one."""
        value = self.metric(name, form)
        if not {f"{name}_low", f"{name}_high"} <= set(self.metrics):
            return (value,)
        return text(
            "{value} ({low} to {high})",
            value=value,
            low=self.metric(f"{name}_low", form),
            high=self.metric(f"{name}_high", form),
        )


@dataclass(frozen=True, kw_only=True)
class ReportAudit:
    """An audit: its findings by code, each as in audit.json, and the run that holds it, if the store has it."""

    findings: Mapping[str, Mapping[str, Any]]
    run_id: str | None
    page: str

    def what(self, code: str) -> Text | None:
        """Return what a check found, with its numbers linked to the audit; None if it was not made."""
        if code not in self.findings:
            return None
        what = str(self.findings[code]["what"])
        return (
            Number(
                text=what,
                value=what,
                kind="artifact",
                name="audit.json",
                run_id=self.run_id,
                address=self.page,
                details={"finding": code, "key": "what"},
            ),
        )

    def number(self, code: str, key: str) -> Number | None:
        """Return a number of a check; None if it has none."""
        value = self.findings.get(code, {}).get("numbers", {}).get(key)
        if not isinstance(value, int | float):
            return None
        return Number(
            text=f"{value:,g}",
            value=float(value),
            kind="artifact",
            name="audit.json",
            run_id=self.run_id,
            address=self.page,
            details={"finding": code, "key": key},
        )


@dataclass(frozen=True, kw_only=True)
class StudyFacts:
    """The study that a run is the best of.

    Attributes
    ----------
    run
        Its parent run.
    kind
        ``sweep`` or ``search``.
    runs
        Its finished runs, the best by validation first.
    not_finished
        The number of the others.
    """

    run: ReportRun
    kind: str
    runs: Sequence[ReportRun]
    not_finished: int


@dataclass(frozen=True, kw_only=True)
class ReportFacts:
    """What is known of a run; None or empty: unknown, or not logged.

    Attributes
    ----------
    date
        When it started.
    trainings
        Its training, or those of an ensemble's members.
    members
        The runs of an ensemble's members that the store has.
    method
        How an ensemble combines its members; empty for a single model.
    predictions, manifest
        Its tables.
    per_class
        The tables ``report/<split>.csv`` by split.
    unreadable, excluded
        The images that could not be read, and those that the user excluded: ``path, reason``.
    folds
        The runs of a cross-validation's folds.
    models
        The addresses of its models.
    siblings, study_kind
        The number of trainings of the study that it is of, and the kind of study; 0: none.
    tested_runs, test_readings
        As in `bloodcell.cards.model_card.CardFacts`.
    """

    run: ReportRun
    date: str | None
    trainings: Sequence[Training]
    members: Sequence[ReportRun]
    method: str
    classes: Sequence[str]
    predictions: pd.DataFrame | None
    manifest: pd.DataFrame | None
    per_class: Mapping[str, pd.DataFrame]
    unreadable: pd.DataFrame | None
    excluded: pd.DataFrame | None
    leakage: Leakage | None
    folds: Sequence[ReportRun] = ()
    models: Sequence[str] = ()
    siblings: int = 0
    study_kind: str = ""
    tested_runs: int | None = None
    test_readings: int | None = None
    study: StudyFacts | None = None
    audit: ReportAudit | None = None

    @property
    def config(self) -> TrainConfig | None:
        """The configuration of a single training."""
        return self.trainings[0].config if len(self.trainings) == 1 and not self.method else None

    @property
    def first_config(self) -> TrainConfig | None:
        """The configuration of the run, or of an ensemble's first member: all have the same images and split."""
        return self.trainings[0].config if self.trainings else None

    @property
    def n_members(self) -> Number:
        """The number of an ensemble's members."""
        return self.run.count_of_runs("members", len(self.trainings))

    @property
    def images_run(self) -> ReportRun:
        """The run that holds the numbers of images: itself, or a member of an ensemble, which has the same images."""
        holding = [each for each in (self.run, *self.members) if "images.unreadable" in each.parameters]
        return holding[0] if holding else self.run

    @property
    def of_members(self) -> "list[ReportFacts]":
        """The facts of each member of an ensemble, as if it were the run."""
        runs = {each.id: each for each in self.members}
        return [
            replace(self, run=runs[each.run_id], trainings=[each], members=(), method="")
            for each in self.trainings
            if each.run_id in runs
        ]

    @property
    def group_name(self) -> str:
        """The user's word for a group."""
        return self.run.tags.group_name

    @property
    def groups(self) -> str:
        """Its plural."""
        return plural(self.group_name)

    @property
    def splits(self) -> list[str]:
        """The held-out splits that were evaluated."""
        return [split for split in ("val", "test") if f"{split}/accuracy" in self.run.metrics]

    @property
    def parts(self) -> list[str]:
        """The splits with images in the manifest."""
        return [] if self.manifest is None else [each for each in SPLITS if (self.manifest["split"] == each).any()]

    @property
    def test_sets(self) -> list[str]:
        """The names of its test sets, if there are several."""
        if self.manifest is None or TEST_SET not in self.manifest:
            return []
        return sorted(set(self.manifest.loc[self.manifest["split"] == "test", TEST_SET].astype(str)))

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Its predictions of each held-out split, a row for each image, with the column ``predicted``."""
        if self.predictions is None:
            return {}
        found = held_out_tables(self.predictions, classes=self.classes)
        names = np.array(self.classes)
        return {
            split: table.assign(predicted=names[predicted_classes(probabilities_of(table, self.classes))])
            for split, table in found.items()
        }

    def count(self, what: str, **where: str) -> Number:
        """Return the number of different values of a column of the manifest, in the rows with certain values."""
        rows = self.manifest
        if rows is None:
            raise ValueError("the run has no manifest")
        for column, value in where.items():
            rows = rows[rows[column] == value]
        return self.run.artifact(MANIFEST, rows[what].nunique(), count=what, where=dict(where))

    def predicted(self, split: str, **where: str) -> Number:
        """Return the number of images of a held-out split with certain values of ``label`` and ``predicted``."""
        rows = self.tables[split]
        for column, value in where.items():
            rows = rows[rows[column] == value]
        return self.run.artifact(PREDICTIONS, len(rows), count="path", where={"split": split, **where})

    def n_images(self, **where: str) -> Text:
        """Return the numbers of images and groups of a part of the manifest, in words."""
        images, groups = self.count("path", **where), self.count("group", **where)
        parts = [
            text("{n} {noun}", n=images, noun="image" if images.value == 1 else "images"),
            text("{n} {noun}", n=groups, noun=self.group_name if groups.value == 1 else self.groups),
        ]
        if self.group_name != PHOTOGRAPH:
            photographs = self.count("source", **where)
            noun = PHOTOGRAPH if photographs.value == 1 else plural(PHOTOGRAPH)
            parts.insert(1, text("{n} {noun}", n=photographs, noun=noun))
        return joined(parts, " of ")

    @property
    def class_list(self) -> str:
        """The classes, in words."""
        return ", ".join(self.classes)
