"""What a search says of its trials as they end."""

import sys
import time
from collections.abc import Callable

from bloodcell.evaluation.metrics import direction


class SearchProgress:
    """Says of each trial what it came to, what the best is so far, and about how long the rest will take.

    Parameters
    ----------
    objective
        The figure's name.
    n_trials
        How many there will be at most; None: nobody knows.
    n_workers
        How many processes share them.
    alone
        Whether this process sees all trials; a worker sees its own.
    best
        The best of what this process was not there for; None: there is none.
    """

    def __init__(
        self, *, objective: str, n_trials: int | None, n_workers: int, alone: bool, best: float | None
    ) -> None:
        self._objective, self._n_trials, self._n_workers, self._best = objective, n_trials, n_workers, best
        self._so_far = "best so far" if alone else "this worker's best so far"
        self._better: Callable[..., float] = min if direction(objective) == "min" else max
        self._seconds: list[float] = []
        self._started = 0.0

    def begin(self) -> None:
        """Take the time."""
        self._started = time.monotonic()

    def finished(self, number: int, name: str, value: float) -> None:
        """Say what a trial came to; the first has number 1."""
        self._best = value if self._best is None else self._better(self._best, value)
        seconds = self._end()
        self._say(number, name, f"{self._objective} {value:.4f} after {seconds:.0f} s; {self._so_far} {self._best:.4f}")

    def failed(self, number: int, name: str, reason: str) -> None:
        """Say why a trial failed."""
        self._end()
        self._say(number, name, f"failed: {reason}")

    def _end(self) -> float:
        self._seconds.append(time.monotonic() - self._started)
        return self._seconds[-1]

    def _say(self, number: int, name: str, what: str) -> None:
        of, left = "", ""
        if self._n_trials is not None:
            of = f" of {self._n_trials}"
            rest = (self._n_trials - number) / self._n_workers * sum(self._seconds) / len(self._seconds)
            left = f"; about {_duration(rest)} left" if rest > 0 else ""
        print(f"trial {number}{of}: {name}: {what}{left}", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
