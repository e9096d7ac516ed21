"""Hydra callback: the folder of a run or sweep, which is that of an interrupted one if it continues."""

import re
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, read_write

from bloodcell.cli.callbacks import add_overrides, overrides_of
from bloodcell.cli.exits import fail
from bloodcell.config.quoting import override
from bloodcell.errors import UserError

TIMED = re.compile(r"\d\d-\d\d-\d\d-\d{6}")
"""The name of a folder that the configuration names after the time."""


class RunFolder(Callback):
    """Chooses the output folder: that of the run or sweep that ``resume`` names, or one that no other process has."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ARG002
        """Choose the folder of a single run."""
        place = Path(config.hydra.run.dir)
        folder = _resumed(config, "train", place) or unused_folder(place)
        with read_write(config.hydra):
            config.hydra.run.dir = str(folder)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ARG002
        """Choose the folder of a sweep."""
        place = Path(config.hydra.sweep.dir)
        folder = _resumed(config, "train -m", place) or unused_folder(place)
        if folder != place:
            with read_write(config.hydra):
                config.hydra.sweep.dir = str(folder)
            add_overrides(config, override("hydra.sweep.dir", str(folder)))


def unused_folder(place: Path) -> Path:
    """Create a folder that is named after the time; of another name if a process took it in the same microsecond.

    A folder of any other name is returned as it is.
    """
    if not TIMED.fullmatch(place.name):
        return place
    folder, number = place, 1
    while True:
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
            folder = place.with_name(f"{place.name}-{number}")
        else:
            return folder


def _resumed(config: DictConfig, job: str, place: Path) -> Path | None:
    if config.hydra.job.name != "train" or not config.resume:
        return None
    from bloodcell.config.composition import parse_tracking
    from bloodcell.tracking.resuming import command_digest, folder_to_resume

    own = place.absolute()
    digest = command_digest(job, overrides_of(config, "task"))
    try:
        return folder_to_resume(
            config.resume, digest=digest, roots=[own, own.parent.parent], tracking=parse_tracking(config)
        )
    except UserError as error:
        fail(str(error), code=error.exit_code)
