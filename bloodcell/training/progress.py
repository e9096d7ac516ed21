"""Progress of a training: a bar on a terminal, else one plain line per epoch."""

import sys
import time
from typing import Any

import keras
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from bloodcell.console.progress import INTERVAL, SHOW_ALL, Reporting, stderr_console

WIDE = 140
"""Width of a terminal, in characters, from which the bar also shows metrics."""


class EpochProgress(keras.callbacks.Callback):
    """Shows the progress of one stage.

    Parameters
    ----------
    stage
        The stage's name.
    reporting
        What is shown, and its label.
    """

    def __init__(self, stage: str, reporting: Reporting = SHOW_ALL) -> None:
        super().__init__()
        self._stage = f"{reporting.label}{stage}"
        self._quiet, self._silent = reporting.quiet, reporting.silent
        self._console = stderr_console()
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._epoch = 0
        self._last = ""
        self._started = self._printed = time.monotonic()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002 - Keras's hook
        """Draw the bar."""
        if self._silent or not self._console.is_terminal:
            return
        columns = [TextColumn("{task.description}"), BarColumn(bar_width=20), TimeRemainingColumn()]
        if self._console.width >= WIDE:  # otherwise only each epoch's line has the metrics
            columns += [TextColumn("{task.fields[batch]}"), TextColumn("{task.fields[metrics]}")]
        self._progress = Progress(*columns, console=self._console, transient=True)
        self._progress.start()
        self._task = self._progress.add_task(
            self._stage, total=self.params["epochs"] * self.params["steps"], batch="", metrics=""
        )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002 - Keras's hook
        """Remember the epoch and its start time."""
        self._epoch = epoch
        self._started = self._printed = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Advance the bar."""
        steps, metrics = self.params["steps"], _brief(logs or {})
        if self._progress is not None and self._task is not None:
            self._progress.update(
                self._task,
                completed=self._epoch * steps + batch + 1,
                description=f"{self._stage}: {self._of_epochs()}",
                batch=f"batch {batch + 1}/{steps}",
                metrics=f"{metrics}  {self._last}",
            )
        elif not self._silent and time.monotonic() - self._printed > INTERVAL:
            self._print(f"{self._of_epochs()}  batch {batch + 1}/{steps}  {metrics}")
            self._printed = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:  # noqa: ARG002 - Keras's hook
        """Show the metrics of the epoch."""
        metrics = logs or {}
        validation = {name.removeprefix("val_"): value for name, value in metrics.items() if name.startswith("val_")}
        self._last = f"validation {_brief(validation)}"
        seconds = time.monotonic() - self._started
        self._print(f"{self._of_epochs()}  training {_brief(metrics)}  {self._last}  {seconds:.0f} s")

    def close(self) -> None:
        """Remove the bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _of_epochs(self) -> str:
        return f"epoch {self._epoch + 1}/{self.params['epochs']}"

    def _print(self, line: str) -> None:
        if self._quiet:
            return
        if self._progress is not None:
            self._progress.console.print(f"{self._stage}: {line}")
        else:
            print(f"{self._stage}: {line}", file=sys.stderr, flush=True)


def _brief(metrics: dict[str, Any]) -> str:
    return f"loss {metrics['loss']:.4f} accuracy {metrics['accuracy']:.4f}" if "loss" in metrics else ""
