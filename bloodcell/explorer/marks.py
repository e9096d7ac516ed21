"""What people mark in the explorer: wrong labels, images that are no cell, copies of one photograph.

Each mark is a line of a file that is only appended to, and written through to the disk, so a crash loses none.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, Literal, get_args

import pandas as pd

from bloodcell.data.leaks import connected_components
from bloodcell.errors import UserError
from bloodcell.explorer.items import Items
from bloodcell.files import atomic_write

Kind = Literal["label wrong", "not a cell", "same photograph", "remove"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MARKS = "marks.jsonl"
LABELS, EXCLUDED, GROUPS, LIST = "labels.csv", "exclude.csv", "groups.csv", "marks.csv"
"""The exported files: for the settings ``data.labels_file``, ``exclude_file``, ``groups_file``; and all marks."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A mark of some images.

    Attributes
    ----------
    kind
        ``remove`` takes all earlier marks of the images back.
    paths
        The images, at least one; two for ``same photograph``.
    label
        Of ``label wrong``: the right class; empty if it is unknown.
    """

    kind: Kind
    paths: tuple[str, ...]
    label: str = ""


class AppendOnly:
    """A file of JSON lines that is only appended to.

    Raises
    ------
    UserError
        If it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab+") as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":  # a crash tore the last line
                        file.write(b"\n")
        except OSError as error:
            raise UserError(
                f"output={path.parent}: {path.name} cannot be written ({error.strerror}); give another"
            ) from error

    def append(self, line: dict[str, Any]) -> None:
        """Append a line, and wait until it is on the disk."""
        text = json.dumps({"at": datetime.now(UTC).isoformat(timespec="seconds"), **line}, ensure_ascii=False)
        with self._lock, self._path.open("ab") as file:
            file.write(f"{text}\n".encode())
            file.flush()
            os.fsync(file.fileno())

    def lines(self) -> list[dict[str, Any]]:
        """Return all lines that are whole."""
        found = []
        for text in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict):
                found.append(line)
        return found


class Marks:
    """The marks of the images of an explorer, in a folder.

    Parameters
    ----------
    items
        The images.
    folder
        Has `MARKS`, and receives the exported files.
    """

    def __init__(self, items: Items, folder: Path) -> None:
        self._items, self._folder, self._lock = items, folder, Lock()
        self._file = AppendOnly(folder / MARKS)
        self._rows = {path: row for row, path in enumerate(items.table["path"])}
        self._labels: dict[str, str] = {}
        self._not_cells: dict[str, None] = {}
        self._same: list[tuple[str, ...]] = []
        for line in self._file.lines():
            if (mark := self._parsed(line)) is not None:
                self._apply(mark)

    def add(self, kind: str, rows: Sequence[int], label: str = "") -> None:
        """Add a mark of the images in some rows.

        Raises
        ------
        ValueError
            If the mark is not possible; the message says why.
        """
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}")
        if not rows or not all(isinstance(row, int) and 0 <= row < len(self._items) for row in rows):
            raise ValueError("rows must be numbers of images")
        if kind == "same photograph" and len(set(rows)) < 2:
            raise ValueError("choose at least two images that are copies of one photograph")
        if label and (kind != "label wrong" or label not in self._items.classes):
            raise ValueError(f"label must be one of {', '.join(self._items.classes)}")
        mark = Mark(kind=kind, paths=tuple(self._items.table["path"].iloc[list(dict.fromkeys(rows))]), label=label)
        with self._lock:
            self._file.append({"mark": mark.kind, "paths": list(mark.paths), "label": mark.label})
            self._apply(mark)

    def as_json(self) -> dict[str, Any]:
        """Return the marks by the rows of images."""
        return {
            "label_wrong": {self._rows[path]: label for path, label in self._labels.items()},
            "not_a_cell": [self._rows[path] for path in self._not_cells],
            "same_photograph": [[self._rows[path] for path in paths] for paths in self._same],
        }

    def export(self) -> dict[str, Path]:
        """Write `LABELS`, `EXCLUDED`, `GROUPS` and `LIST`, and return those that were written by their names.

        Labels and exclusions are of marked images only. Groups are of all images: those that are copies of
        one photograph have one photograph, and their groups are joined.
        """
        table = self._items.table
        labels = [(path, label) for path, label in self._labels.items() if label]
        tables = {LIST: self._listed()}
        if labels:
            tables[LABELS] = pd.DataFrame(labels, columns=["path", "label"]).sort_values("path")
        if self._not_cells:
            tables[EXCLUDED] = pd.DataFrame({"path": sorted(self._not_cells), "reason": "not a cell"})
        if self._same:
            joined = _joined(table, self._same)
            tables[GROUPS] = pd.DataFrame(
                {"path": table["path"], "group": joined["group"], "photograph": joined["source"]}
            )
        written = {}
        for name, each in tables.items():
            with atomic_write(self._folder / name) as partial:
                each.to_csv(partial, index=False)
            written[name] = self._folder / name
        for name in {LABELS, EXCLUDED, GROUPS} - set(tables):  # of marks that were taken back
            (self._folder / name).unlink(missing_ok=True)
        return written

    def _listed(self) -> pd.DataFrame:
        labels = dict(zip(self._items.table["path"], self._items.table["label"], strict=True))
        rows = [("label wrong", path, labels[path], label, "") for path, label in self._labels.items()]
        rows += [("not a cell", path, labels[path], "", "") for path in self._not_cells]
        rows += [
            ("same photograph", path, labels[path], "", f"set {number}")
            for number, paths in enumerate(self._same, 1)
            for path in paths
        ]
        return pd.DataFrame(rows, columns=["mark", "path", "label_before", "label", "set"])

    def _parsed(self, line: dict[str, Any]) -> Mark | None:
        """Return the mark of a line; None of a line that is none, or of other images."""
        kind = next((each for each in KINDS if each == line.get("mark")), None)
        label = line.get("label", "")
        paths = tuple(path for path in line.get("paths") or () if path in self._rows)
        if kind is None or not paths or label not in ("", *self._items.classes):
            return None
        return Mark(kind=kind, paths=paths, label=label)

    def _apply(self, mark: Mark) -> None:
        match mark.kind:
            case "label wrong":
                self._labels |= dict.fromkeys(mark.paths, mark.label)
            case "not a cell":
                self._not_cells |= dict.fromkeys(mark.paths)
            case "same photograph":
                self._same.append(mark.paths)
            case "remove":
                for path in mark.paths:
                    self._labels.pop(path, None)
                    self._not_cells.pop(path, None)
                kept = [tuple(path for path in paths if path not in mark.paths) for paths in self._same]
                self._same = [paths for paths in kept if len(paths) > 1]


def _joined(table: pd.DataFrame, same: Sequence[tuple[str, ...]]) -> pd.DataFrame:
    """Return the images' groups and sources, of which those with marked copies are one."""
    pairs = pd.DataFrame(
        [(path, str(number)) for number, paths in enumerate(same) for path in paths], columns=["path", "set"]
    )
    both = table.merge(pairs, on="path", how="left")
    both["set"] = both["set"].fillna("of " + both["path"])
    joined = {}
    for level in ("source", "group"):
        component = connected_components(both, level, "set")
        names = both[level].groupby(component).transform("min")
        joined[level] = names.groupby(both["path"]).first().reindex(table["path"]).to_numpy()
    return pd.DataFrame(joined)
