"""Hydra callbacks: hide credentials, and track a sweep as a study."""

import atexit
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write

from bloodcell.cli.exits import exhausted, fail, one_line_errors
from bloodcell.cli.launching import LostRunError
from bloodcell.cli.preflight import count_runs, swept_configs, swept_overrides
from bloodcell.console.logs import print_traceback
from bloodcell.console.progress import print_status
from bloodcell.errors import UserError

if TYPE_CHECKING:
    from bloodcell.experiment.countdown import Countdown
    from bloodcell.tracking.study import Study


class HideCredentials(Callback):
    """Moves credentials in ``tracking.uri`` into the environment before Hydra saves the configuration."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ARG002
        """Hide the credentials of a single run."""
        _hide(config)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ARG002
        """Hide the credentials of a sweep."""
        _hide(config)


class TrackStudy(Callback):
    """Puts the runs of a sweep under one parent run."""

    def __init__(self) -> None:
        self._study: Study | None = None
        self._expected: int | None = None
        self._countdown: Countdown | None = None
        self._process = os.getpid()
        self._folder = Path()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Send nothing to other processes: the address of the study's store may have credentials."""
        return TrackStudy, ()

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ARG002
        """Start the parent run, and nest every run of the sweep under it.

        The runs get its id by an override, which reaches every process or machine that a launcher uses.
        """
        from bloodcell.config.composition import parse_tracking
        from bloodcell.tracking.resuming import COMMAND_TAG, command_digest
        from bloodcell.tracking.study import start_study

        try:
            overrides = swept_overrides(config)
            self._folder = Path(config.hydra.sweep.dir).absolute()
            self._expected = count_runs(config)
            self._study = start_study(
                tracking=parse_tracking(config),
                overrides=overrides,
                folder=self._folder,
                tags={COMMAND_TAG: command_digest("train -m", overrides_of(config, "task"))},
                resume=bool(config.resume),
            )
        except UserError as error:
            fail(str(error), code=error.exit_code)
        swept = {text.partition("=")[0] for text in overrides}
        _remove_overrides(config, set(OWN_KEYS) - swept)  # these were the parent's
        fixed = {text.partition("=")[0] for text in overrides_of(config, "task")} - swept
        add_overrides(
            config,
            f"hydra.job.config.override_dirname.exclude_keys={[*sorted(fixed), *OWN_KEYS]}",
            f"tracking.parent_run={self._study.run_id}",
            "tracking.sweep_job=${hydra:job.num}",
            # Without a varied setting, the only run is named as outside a sweep.
            *(["tracking.run_name='${hydra:job.override_dirname}'"] if swept else []),
        )
        atexit.register(self._abandon)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ARG002
        """Start the time of a run, if this process runs the sweep's runs one after the other."""
        if self._study is None or os.getpid() != self._process:
            return
        from bloodcell.experiment.countdown import Countdown

        if self._countdown is None:
            self._countdown = Countdown(noun="run", objective="val/accuracy", total=self._expected)
        self._countdown.begin()

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:  # noqa: ARG002
        """Print the number of the finished run, its result and the remaining time."""
        if os.getpid() != self._process:
            return
        if job_return.status == JobStatus.FAILED and isinstance(job_return._return_value, LostRunError):
            _record_lost(config, job_return._return_value)
        if self._countdown is None:
            return
        # The error of a failed run is already printed.
        if job_return.status == JobStatus.COMPLETED and math.isfinite(job_return.return_value):
            from bloodcell.config.quoting import readable_overrides

            name = readable_overrides(config.hydra.job.override_dirname)
            self._countdown.finished(config.hydra.job.num + 1, name, job_return.return_value)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ARG002
        """Train the baselines, combine the runs, and end the parent run with a leaderboard.

        The exit code is 1 if a run did not finish. Hydra turns errors of callbacks into warnings, so errors exit here.
        """
        with one_line_errors("train"):
            try:
                _complete(config)
            except Exception as error:
                self._end(interrupted=False, status="FAILED")
                if isinstance(error, UserError) or exhausted(error) is not None:
                    raise
                print_traceback(error)
                raise SystemExit(1) from error
            if not self._end(interrupted=False):
                raise SystemExit(1)

    def _abandon(self) -> None:
        """End the parent run if the process ends before Hydra ends the sweep."""
        self._end(interrupted=True)

    def _end(self, *, interrupted: bool, status: str | None = None) -> bool:
        from bloodcell.tracking.study_report import finish_study

        if self._study is None:
            return True
        study, self._study = self._study, None
        atexit.unregister(self._abandon)
        return finish_study(study, expected=self._expected, interrupted=interrupted, status=status, folder=self._folder)


def _complete(config: DictConfig) -> None:
    """Train a sweep's baselines, and combine its runs if ``ensemble`` is set, as runs of the study."""
    from bloodcell.jobs.train import join_folds, train_baselines

    configs, folder = swept_configs(config), Path(config.hydra.sweep.dir).absolute()
    join_folds(configs, folder=folder)
    train_baselines(configs, folder=folder / "baselines")
    if configs[0].ensemble != "none":
        from bloodcell.jobs.ensemble import combine_study

        combine_study(configs[0], folder=folder / "ensemble")


def _record_lost(config: DictConfig, error: LostRunError) -> None:
    """Record a run whose process is lost as failed, if it has not started in the store; else its study closes it."""
    from bloodcell.config.composition import parse_config
    from bloodcell.config.parameters import parameters_of
    from bloodcell.config.quoting import readable_overrides
    from bloodcell.tracking.study import record_failure

    folder = Path(config.hydra.sweep.dir, str(config.hydra.sweep.subdir))
    parsed = parse_config(config.hydra.job.name, config)
    name = readable_overrides(parsed.tracking.run_name)
    print_status(f"{name} failed: {error}")
    record_failure(
        folder.absolute(), name, tracking=parsed.tracking, reason=str(error), parameters=parameters_of(parsed)
    )


OWN_KEYS = ["tracking.parent_run", "tracking.sweep_job", "tracking.run_name"]


def _hide(config: DictConfig) -> None:
    from bloodcell.errors import redact
    from bloodcell.tracking.store import hide_credentials

    uri = OmegaConf.select(config, "tracking.uri")
    hidden = hide_credentials(uri)
    if hidden == uri:
        return
    config.tracking.uri = hidden
    with read_write(config.hydra):
        config.hydra.job.override_dirname = redact(config.hydra.job.override_dirname)
        for kind in ("task", "hydra"):
            config.hydra.overrides[kind] = [redact(text) for text in overrides_of(config, kind)]


def overrides_of(config: DictConfig, kind: str) -> list[str]:
    """Return the overrides of the command of a kind, ``task`` or ``hydra``."""
    # Iterating over the configuration would resolve interpolations that have a value only in a run.
    texts: Any = OmegaConf.to_container(config.hydra.overrides[kind], resolve=False)
    return list(texts)


def _remove_overrides(config: DictConfig, keys: set[str]) -> None:
    with read_write(config.hydra):
        config.hydra.overrides.task = [
            text for text in overrides_of(config, "task") if text.partition("=")[0].lstrip("+") not in keys
        ]


def add_overrides(config: DictConfig, *overrides: str) -> None:
    """Add overrides for every run of a sweep."""
    # Hydra composes every run of a sweep from these and then from the run's own overrides, which take precedence.
    with read_write(config.hydra):
        config.hydra.overrides.hydra = [*overrides_of(config, "hydra"), *overrides]
