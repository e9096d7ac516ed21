"""Predictions of other tools as members of an ensemble: a file becomes a run that has only predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from bloodcell.comparison.recognition import recognise
from bloodcell.comparison.run_tags import RunTags
from bloodcell.comparison.tables import checked_table
from bloodcell.data.manifest import COLUMNS
from bloodcell.experiment.recorder import FINISHED
from bloodcell.tracking.runs import TABLES, StoredRun, read_table_file


@dataclass(frozen=True, kw_only=True)
class TableRun(StoredRun):
    """A file of predictions as a run without configuration, models and metrics.

    Attributes
    ----------
    table
        The predictions, see `bloodcell.evaluation.predictions`.
    notes
        How the file was read, a sentence each.
    """

    table: pd.DataFrame
    notes: tuple[str, ...] = ()
    experiment_id: str = ""
    status: str = FINISHED
    started: int | None = None
    parent: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def config(self) -> None:
        """None: a file has no configuration."""
        return

    @property
    def predictions(self) -> pd.DataFrame:
        """The predictions."""
        return self.table

    @property
    def manifest(self) -> pd.DataFrame:
        """The predicted images; the digests of their files are unknown."""
        return self.table.drop_duplicates("path").assign(sha256="")[list(COLUMNS)].reset_index(drop=True)


def is_table(run: str) -> bool:
    """Return whether the name of a run is that of a file."""
    return run.endswith(TABLES)


def run_of_table(
    file: str,
    *,
    columns: Mapping[str, str] | None,
    classes: Sequence[str],
    groups: Mapping[str, str] | None,
    known: pd.DataFrame | None,
) -> TableRun:
    """Read a file of predictions.

    Parameters
    ----------
    file
        A CSV or Parquet file.
    columns, classes
        As for `bloodcell.comparison.recognition.recognise`.
    groups
        The group of each path, if the file has none.
    known
        The predictions of another member: what they have of an image counts where the file says nothing. Else images
        are of validation, and each is a group.

    Raises
    ------
    UserError
        If the file cannot be read or understood.
    """
    found = recognise(file, read_table_file(file), columns=columns, classes=classes)
    table = checked_table(file, found.table)
    others = None if known is None else known.drop_duplicates("path").set_index("path")
    defaults = {"split": pd.Series("val", index=table.index)}
    defaults["group"] = table["path"] if groups is None else table["path"].map(groups).fillna(table["path"])
    for name in ("split", "group", "source"):
        if table[name].isna().any():
            given = table["group"] if name == "source" else defaults[name]
            if others is not None and (groups is None or name != "group"):
                given = table["path"].map(others[name]).fillna(given)
            table[name] = table[name].fillna(given)
    table["fold"] = table["fold"].astype("Int64")
    tags = RunTags(groups=None if groups is None else "column")
    return TableRun(
        id=file,
        name=Path(file).stem,
        tags=tags,
        table=table,
        notes=tuple(f"{Path(file).name}: {note}" for note in found.notes),
    )
