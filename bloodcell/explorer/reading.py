"""A reading of the second reader: photographs by number, so that a page knows neither their labels nor their names."""

import secrets
from pathlib import Path
from threading import Lock
from typing import Any

from bloodcell.explorer.items import Items
from bloodcell.explorer.marks import AppendOnly
from bloodcell.explorer.second_reader import (
    NOT_A_CELL,
    SECONDS,
    UNSURE,
    Reading,
    accuracy_bound,
    as_answer,
    choose_photographs,
)

ANSWERS = "second_reader.jsonl"


class Readings:
    """Readings of the images of an explorer; every answer is a line of `ANSWERS` in its folder."""

    def __init__(self, items: Items, folder: Path) -> None:
        self._items, self._folder, self._lock = items, folder, Lock()
        self._file: AppendOnly | None = None
        self._reading: Reading | None = None
        self._id = ""
        self._answers: dict[int, int | str] = {}

    def start(self) -> dict[str, Any]:
        """Begin a reading, which ends the one before."""
        seed = secrets.randbelow(2**32)
        reading = choose_photographs(self._items, seed=seed)
        with self._lock:
            self._file = self._file or AppendOnly(self._folder / ANSWERS)
            self._reading, self._id, self._answers = reading, secrets.token_hex(8), {}
            self._file.append({"reading": self._id, "seed": seed, "photographs": len(reading.shown)})
        return {"id": self._id, "n": len(reading.shown), "classes": self._items.classes, "seconds": SECONDS}

    def row(self, reading: str, number: int) -> int:
        """Return the row of a photograph by its number in a reading; a ValueError if there is none."""
        return self._of(reading, number).shown[number].row

    def answer(self, reading: str, number: int, value: object) -> None:
        """Record the answer for a photograph; the last one counts. A ValueError if it is none."""
        shown = self._of(reading, number).shown[number]
        given = as_answer(value, self._items.classes)
        with self._lock:
            name = self._items.classes[given] if isinstance(given, int) else given
            path = str(self._items.table["path"].iloc[shown.row])
            assert self._file is not None
            self._file.append({"reading": self._id, "path": path, "answer": name, "stratum": shown.stratum})
            self._answers[number] = given

    def result(self, reading: str) -> dict[str, Any]:
        """Return the labels that the reader rejects, and the bound of accuracy, of the answers so far."""
        known = self._of(reading, 0)
        bound = accuracy_bound(known, self._answers)
        return {
            "sentences": bound.sentences(self._items.group_name if self._groups_are_sources() else "photograph"),
            "at_most": bound.at_most,
            "shown": [
                {
                    "row": each.row,
                    "label": each.label,
                    "predicted": each.predicted,
                    "answer": self._answers[number],
                    "rejected": number in bound.rejected,
                    "control": each.stratum == "control",
                }
                for number, each in enumerate(known.shown)
                if number in self._answers
            ],
            "other_answers": [UNSURE, NOT_A_CELL],
        }

    def _groups_are_sources(self) -> bool:
        return bool((self._items.table["group"] == self._items.table["source"]).all())

    def _of(self, reading: str, number: int) -> Reading:
        if self._reading is None or reading != self._id:
            raise ValueError("this reading has ended; begin another")
        if not 0 <= number < len(self._reading.shown):
            raise ValueError("there is no photograph of this number")
        return self._reading
