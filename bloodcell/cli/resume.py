"""Hydra callback: continue an interrupted run or sweep in its folder."""

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, read_write

from bloodcell.cli.callbacks import add_overrides, overrides_of
from bloodcell.cli.exits import fail
from bloodcell.config.quoting import override
from bloodcell.errors import UserError


class ResumeRun(Callback):
    """Replaces the output folder by that of the run or sweep that ``resume`` names."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ARG002
        """Continue a single run."""
        if (folder := _folder(config, "train", config.hydra.run.dir)) is not None:
            with read_write(config.hydra):
                config.hydra.run.dir = str(folder)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ARG002
        """Continue a sweep."""
        if (folder := _folder(config, "train -m", config.hydra.sweep.dir)) is not None:
            with read_write(config.hydra):
                config.hydra.sweep.dir = str(folder)
            add_overrides(config, override("hydra.sweep.dir", str(folder)))


def _folder(config: DictConfig, job: str, place: str) -> Path | None:
    if config.hydra.job.name != "train" or not config.resume:
        return None
    from bloodcell.config.composition import parse_tracking
    from bloodcell.tracking.resuming import command_digest, folder_to_resume

    own = Path(place).absolute()
    digest = command_digest(job, overrides_of(config, "task"))
    try:
        return folder_to_resume(
            config.resume, digest=digest, roots=[own, own.parent.parent], tracking=parse_tracking(config)
        )
    except UserError as error:
        fail(str(error), code=error.exit_code)
