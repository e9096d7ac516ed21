"""Writing plots into a folder, at once or in a background process."""

import functools
import os
import signal
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from joblib.externals.loky import ProcessPoolExecutor
from matplotlib.figure import Figure

from bloodcell.console.progress import track
from bloodcell.processes import exit_with_parent, expect_replaced_workers

DPI = 120
COMPRESSION = 4
"""PNG compression; Pillow's default 6 takes twice as long for 2 % smaller files."""
IDLE = 120
"""Seconds after which the idle process ends; a new one starts when needed."""


def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write a figure as ``plots/name.png`` in a folder."""
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    if (layout := figure.get_layout_engine()) is not None:
        # Otherwise saving would draw the whole figure twice, once for the layout.
        figure.set_dpi(DPI)
        layout.execute(figure)
        figure.set_layout_engine("none")
    figure.savefig(folder / "plots" / f"{name}.png", dpi=DPI, pil_kwargs={"compress_level": COMPRESSION})


class Pictures:
    """Draws plots into ``plots/`` in a folder, in one shared background process.

    The end of a ``with`` block waits for all plots and raises their errors.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: list[tuple[Future[None], Callable[[], None]]] = []

    def draw(self, name: str, make: Callable[..., Figure], /, *arguments: Any, **settings: Any) -> None:
        """Draw ``plots/name.png`` in the background: ``make`` is a module-level function that returns the figure.

        Do not change its arguments before the plot is written.
        """
        work = functools.partial(_draw, self._folder, name, make, arguments, settings)
        try:
            self._waiting.append((_process().submit(work), work))
        except BrokenExecutor:
            _process.cache_clear()
            work()

    def __enter__(self) -> "Pictures":
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait for all plots, unless the program is ending."""
        if error is None:
            self.wait()
        elif isinstance(error, Exception):
            with suppress(Exception):  # the first error is the one to report
                self.wait()
        else:
            for future, _ in self._waiting:
                future.cancel()

    def wait(self) -> None:
        """Wait until all plots are written, and raise the error of one that is not."""
        waiting, self._waiting = self._waiting, []
        if all(future.done() and future.exception() is None for future, _ in waiting):
            return
        for future, work in track(waiting, "drawing pictures", total=len(waiting)):
            try:
                future.result()
            except BrokenExecutor:  # the process was killed, for example for lack of memory
                _process.cache_clear()
                work()


@functools.cache
def _process() -> ProcessPoolExecutor:
    expect_replaced_workers()
    return ProcessPoolExecutor(max_workers=1, timeout=IDLE, initializer=_begin, initargs=(os.getpid(),))


def _begin(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles it
    exit_with_parent(parent)


def _draw(
    folder: Path, name: str, make: Callable[..., Figure], arguments: tuple[Any, ...], settings: dict[str, Any]
) -> None:
    save_figure(make(*arguments, **settings), folder, name)
