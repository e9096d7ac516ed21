"""How pictures get into a folder: at once, or by a process of their own beside whatever else is done."""

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

from bloodcell.processes import exit_with_parent

DPI = 120
COMPRESSION = 4
"""Of PNG files: they are 2 % smaller at Pillow's own 6, which takes twice as long."""
IDLE = 120
"""Seconds after which the process goes when there is nothing to draw; another is started when there is."""


def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write a figure as ``plots/name.png`` in a folder."""
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    if (layout := figure.get_layout_engine()) is not None:
        # Saving would draw the whole figure once more to lay it out.
        figure.set_dpi(DPI)
        layout.execute(figure)
        figure.set_layout_engine("none")
    figure.savefig(folder / "plots" / f"{name}.png", dpi=DPI, pil_kwargs={"compress_level": COMPRESSION})


class Pictures:
    """Pictures that are drawn into a folder by another process, which all of this process share.

    At the end of a ``with`` block all are there, or what kept one from being drawn is raised.

    Parameters
    ----------
    folder
        Where ``plots/`` is made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: list[tuple[Future[None], Callable[[], None]]] = []

    def draw(self, name: str, make: Callable[..., Figure], /, *arguments: Any, **settings: Any) -> None:
        """Have ``plots/name.png`` drawn.

        Parameters
        ----------
        name
            The picture's.
        make
            A function of a module, which makes the figure.
        arguments, settings
            What it is called with; not to be changed until the picture is there.
        """
        work = functools.partial(_draw, self._folder, name, make, arguments, settings)
        try:
            self._waiting.append((_process().submit(work), work))
        except BrokenExecutor:
            _process.cache_clear()
            work()

    def __enter__(self) -> "Pictures":
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait for all pictures; not where the program is told to end."""
        if error is None:
            self.wait()
        elif isinstance(error, Exception):
            with suppress(Exception):  # the first error is the one to report
                self.wait()
        else:
            for future, _ in self._waiting:
                future.cancel()

    def wait(self) -> None:
        """Wait until all pictures that were asked for are there.

        Raises
        ------
        Exception
            What kept a picture from being drawn.
        """
        waiting, self._waiting = self._waiting, []
        for future, work in waiting:
            try:
                future.result()
            except BrokenExecutor:  # the process was killed, as for lack of memory
                _process.cache_clear()
                work()


@functools.cache
def _process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(max_workers=1, timeout=IDLE, initializer=_begin, initargs=(os.getpid(),))


def _begin(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to deal with
    exit_with_parent(parent)


def _draw(
    folder: Path, name: str, make: Callable[..., Figure], arguments: tuple[Any, ...], settings: dict[str, Any]
) -> None:
    save_figure(make(*arguments, **settings), folder, name)
