"""Reporting each finished training of a search, a sweep or a cross-validation, and the time left."""

import sys
import time
from collections.abc import Callable

from bloodcell.console.progress import duration
from bloodcell.evaluation.metrics import direction


class Countdown:
    """Reports the result of each training, the best so far if one is chosen, and about how long the rest will take.

    Parameters
    ----------
    noun
        The word for a training, such as ``trial``.
    objective
        The name of the metric that is reported.
    total
        The largest number of trainings; None if it is unknown.
    n_workers
        The number of processes that share them.
    sees_all
        Whether this process sees all trainings; a worker sees only its own.
    best
        The best value of earlier trainings; None without any.
    chooses
        Whether the best will be chosen; not among folds or baselines.
    """

    def __init__(
        self,
        *,
        noun: str,
        objective: str,
        total: int | None,
        n_workers: int = 1,
        sees_all: bool = True,
        best: float | None = None,
        chooses: bool = True,
    ) -> None:
        self._chooses = chooses
        self._noun, self._objective, self._total, self._n_workers, self._best = noun, objective, total, n_workers, best
        self._so_far = "best so far" if sees_all else "this worker's best so far"
        self._better: Callable[..., float] = min if direction(objective) == "min" else max
        self._seconds: list[float] = []
        self._started = 0.0

    def begin(self, *, earlier: float = 0.0) -> None:
        """Start the time of a training, of which some seconds have passed before."""
        self._started = time.monotonic() - earlier

    def finished(self, number: int, name: str, value: float) -> None:
        """Report the value of a training; the first has number 1."""
        self._best = value if self._best is None else self._better(self._best, value)
        seconds = self._end()
        best = f"; {self._so_far} {self._best:.4f}" if self._chooses else ""
        self._say(number, name, f"{self._objective} {value:.4f} after {seconds:.0f} s{best}")

    def failed(self, number: int, name: str, reason: str) -> None:
        """Report why a training failed."""
        self._end()
        self._say(number, name, f"failed: {reason}")

    def _end(self) -> float:
        self._seconds.append(time.monotonic() - self._started)
        return self._seconds[-1]

    def _say(self, number: int, name: str, what: str) -> None:
        of, left = "", ""
        if self._total is not None:
            of = f" of {self._total}"
            rest = (self._total - number) / self._n_workers * sum(self._seconds) / len(self._seconds)
            left = f"; about {duration(rest)} left" if rest > 0 else ""
        print(f"{self._noun} {number}{of}: {name}: {what}{left}", file=sys.stderr, flush=True)
