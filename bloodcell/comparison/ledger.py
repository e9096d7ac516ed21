"""The ledger of a long search: every attempt on one validation set, in a SQLite file that nothing is removed from.

Several processes may use it at the same time: an attempt is counted and written in one transaction.
"""

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bloodcell.errors import UserError

MEMORY = ":memory:"
"""The path of a ledger that is not kept."""
WAIT_SECONDS = 30.0
"""How long to wait for another process."""

TABLES = {
    "settings": "name TEXT PRIMARY KEY, value REAL NOT NULL",
    "attempts": "number INTEGER PRIMARY KEY, time TEXT NOT NULL, hypothesis TEXT NOT NULL, place INTEGER NOT NULL, "
    "used REAL NOT NULL, question TEXT NOT NULL, kept INTEGER NOT NULL, answer TEXT NOT NULL",
    "trainings": "number INTEGER PRIMARY KEY, configuration TEXT NOT NULL, kind TEXT NOT NULL, "
    "degrees INTEGER NOT NULL, between_trainings REAL NOT NULL, residual REAL NOT NULL",
    "test_answers": "number INTEGER PRIMARY KEY, time TEXT NOT NULL, question TEXT NOT NULL, kind TEXT NOT NULL, "
    "improved INTEGER NOT NULL, scores TEXT NOT NULL, answer TEXT NOT NULL",
}


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The variance of a score between trainings of one configuration, as sums of squares.

    Attributes
    ----------
    degrees
        The degrees of freedom: trainings less one, summed over configurations.
    between
        The sum of squares of the score between trainings, times its degrees of freedom over them: the variance is
        ``between / degrees``.
    residual
        The part of ``between`` that more groups reduce: the sum over groups of the variance of their contributions.
    """

    degrees: int = 0
    between: float = 0.0
    residual: float = 0.0

    def __add__(self, other: "Spread") -> "Spread":
        """Pool two spreads."""
        return Spread(
            degrees=self.degrees + other.degrees,
            between=self.between + other.between,
            residual=self.residual + other.residual,
        )


class Ledger:
    """A ledger in a file, which is created if there is none.

    Parameters
    ----------
    path
        The file; `MEMORY` keeps nothing.
    settings
        What must be the same for all attempts: the level, the budget of the test set. They are those of the first use.

    Raises
    ------
    UserError
        If the file is no ledger or cannot be written, or a setting differs from that of the first use.
    """

    def __init__(self, path: str | Path, *, settings: Mapping[str, float]) -> None:
        self.path = str(path)
        try:
            self._connection = sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None)
            with self.transaction():
                self._create(settings)
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep all that the block writes, or nothing; no other process can write meanwhile."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def place_of(self, hypothesis: str, *, among: int = 1) -> tuple[int, float]:
        """Return the place of a hypothesis in the order of all, from 1, and the share of its level that is used.

        A new one has the place after the last, or that of the last of ``among`` new ones.
        """
        row = "SELECT MAX(place), MAX(used) FROM attempts"
        known, used = self._connection.execute(f"{row} WHERE hypothesis = ?", [hypothesis]).fetchone()
        if known is not None:
            return int(known), float(used)
        last, _ = self._connection.execute(row).fetchone()
        return (last or 0) + among, 0.0

    def keeps(self) -> int:
        """Return the number of candidates that were kept so far."""
        (keeps,) = self._connection.execute("SELECT COUNT(*) FROM attempts WHERE kept").fetchone()
        return int(keeps)

    def earlier(self, question: str, *, table: str = "attempts") -> dict[str, Any] | None:
        """Return the answer to a question that was asked before; None for a new one."""
        found = self._connection.execute(f"SELECT answer FROM {table} WHERE question = ?", [question]).fetchone()
        return None if found is None else dict(json.loads(found[0]))

    def add(
        self, question: str, *, hypothesis: str, place: int, used: float, kept: bool, answer: Mapping[str, Any]
    ) -> None:
        """Write an attempt on a hypothesis: its place, the share of its level that is used now, and the answer."""
        self._connection.execute(
            "INSERT INTO attempts (time, hypothesis, place, used, question, kept, answer) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [_now(), hypothesis, place, used, question, int(kept), json.dumps(answer)],
        )

    def spread(self, kind: str, *, without: Collection[str]) -> Spread:
        """Return the spread between trainings of all configurations of a kind but some: each with most trainings."""
        rows = self._connection.execute(
            "SELECT configuration, MAX(degrees), between_trainings, residual FROM trainings WHERE kind = ? "
            "GROUP BY configuration",
            [kind],
        )
        left_out = set(without)
        return sum(
            (Spread(degrees=each[1], between=each[2], residual=each[3]) for each in rows if each[0] not in left_out),
            Spread(),
        )

    def add_spread(self, kind: str, configuration: str, spread: Spread) -> None:
        """Write the spread between a configuration's trainings; ``kind`` names images and score."""
        if spread.degrees:
            self._connection.execute(
                "INSERT INTO trainings (configuration, kind, degrees, between_trainings, residual) "
                "VALUES (?, ?, ?, ?, ?)",
                [configuration, kind, spread.degrees, spread.between, spread.residual],
            )

    def test_answers(self) -> int:
        """Return the number of answers on a test set so far."""
        (number,) = self._connection.execute("SELECT COUNT(*) FROM test_answers").fetchone()
        return int(number)

    def best_on_test(self, kind: str) -> list[float] | None:
        """Return the scores by group of the last improvement on a test set; None before the first answer."""
        found = self._connection.execute(
            "SELECT scores FROM test_answers WHERE kind = ? AND improved ORDER BY number DESC LIMIT 1", [kind]
        ).fetchone()
        return None if found is None else list(json.loads(found[0]))

    def add_test_answer(
        self, question: str, *, kind: str, improved: bool, scores: list[float], answer: Mapping[str, Any]
    ) -> None:
        """Write an answer on a test set; ``kind`` names its images and the score."""
        self._connection.execute(
            "INSERT INTO test_answers (time, question, kind, improved, scores, answer) VALUES (?, ?, ?, ?, ?, ?)",
            [_now(), question, kind, int(improved), json.dumps(scores), json.dumps(answer)],
        )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _create(self, settings: Mapping[str, float]) -> None:
        present = {name for (name,) in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if present and present != set(TABLES):
            raise UserError(f"ledger={self.path}: is the database of another program; give a new file")
        for table, columns in TABLES.items():
            self._connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
            for change in ("UPDATE", "DELETE"):
                self._connection.execute(
                    f"CREATE TRIGGER IF NOT EXISTS {table}_no_{change.lower()} BEFORE {change} ON {table} "
                    "BEGIN SELECT RAISE(ABORT, 'nothing is changed in a ledger'); END"
                )
        before = dict(self._connection.execute("SELECT name, value FROM settings").fetchall())
        for name, value in settings.items():
            if name not in before:
                self._connection.execute("INSERT INTO settings VALUES (?, ?)", [name, value])
            elif before[name] != value:
                raise UserError(
                    f"{name}={value:g}: the ledger {self.path} was begun with {name}={before[name]:g}; give that, or "
                    "begin another ledger with new validation images"
                )

    def _unusable(self, error: sqlite3.Error) -> UserError:
        return UserError(f"ledger={self.path}: cannot be used ({error}); give another file")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
