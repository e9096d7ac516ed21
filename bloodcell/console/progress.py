"""Progress on standard error: a bar on a terminal, else plain lines."""

import multiprocessing
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from bloodcell.console.colours import THEME
from bloodcell.signals import raise_if_interrupted

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Reporting:
    """How the progress of a training is shown.

    Attributes
    ----------
    label
        Written before the name of a stage, to distinguish runs.
    quiet
        Show a bar on a terminal and nothing else, because this is one training of many.
    silent
        Show nothing at all, because others are trained at the same time.
    """

    label: str = ""
    quiet: bool = False
    silent: bool = False

    def of(self, part: str) -> "Reporting":
        """Return the same for a part of the training, named after the label."""
        return replace(self, label=f"{self.label}{part}: ")


SHOW_ALL = Reporting()
"""Progress of a single training: every epoch."""
SHOW_NOTHING = Reporting(quiet=True, silent=True)


KNOWN = 3
"""Items after which the time that is left can be told."""
INTERVAL = 10.0
"""Seconds between two plain lines."""


def stderr_console() -> Console:
    """Return a console on the current standard error, so that progress does not mix with a job's output.

    Worker processes share the terminal, so they get no bars.
    """
    is_main = multiprocessing.current_process().name == "MainProcess"
    terminal = None if is_main else False
    return Console(file=sys.stderr, highlight=False, soft_wrap=True, force_terminal=terminal, theme=THEME)


def print_status(line: str) -> None:
    """Print a line to standard error."""
    stderr_console().print(f"bloodcell: {line}", markup=False)


def track(items: Iterable[T], description: str, *, total: int) -> Generator[T, None, None]:
    """Yield the items, and show the number done of ``total`` and the remaining time."""
    console = stderr_console()
    if not console.is_terminal:
        yield from _plain(items, description, total=total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(description, total=total)
        for item in items:
            raise_if_interrupted()
            yield item
            progress.advance(task)


@contextmanager
def phase(description: str, *, quiet: bool = False) -> Iterator[None]:
    """Show what the block does and for how long; without a terminal, print a line unless ``quiet``.

    The block must not use `track`.
    """
    console = stderr_console()
    if console.is_terminal:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            progress.add_task(description, total=None)
            yield
        return
    if not quiet:
        print(description, file=sys.stderr, flush=True)
    yield


def duration(seconds: float) -> str:
    """Return a rounded duration: ``40 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _plain(items: Iterable[T], description: str, *, total: int) -> Iterator[T]:
    started = printed = time.monotonic()
    for done, item in enumerate(items, start=1):
        raise_if_interrupted()
        yield item
        now = time.monotonic()
        if done == 1:
            started = now  # the first item may take far longer than the others
        if now - printed > INTERVAL:
            left = f", about {duration((now - started) / (done - 1) * (total - done))} left" if done >= KNOWN else ""
            print(f"{description}: {done} of {total}{left}", file=sys.stderr, flush=True)
            printed = now
