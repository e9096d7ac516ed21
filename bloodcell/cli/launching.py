"""What the launchers in ``hydra_plugins/`` have in common."""

import importlib
import os
from abc import abstractmethod
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from bloodcell.errors import UserError, reason_of


class LostRunError(Exception):
    """A run's process, node or job ended before its result was there; the message says why."""


@dataclass(frozen=True, kw_only=True)
class SweepRun:
    """A run of a sweep, which another process or machine can run.

    Attributes
    ----------
    number
        Its number in the sweep.
    config
        Its composed configuration.
    context, task
        Hydra's callbacks; the function to run.
    state
        What Hydra keeps for a process.
    folder
        The working folder of the sweep, in which relative paths of the configuration are.
    """

    number: int
    config: DictConfig
    context: HydraContext
    task: TaskFunction
    state: Mapping[str, Any]
    folder: Path

    def __call__(self) -> "Returned":
        """Run it in this process."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)  # a node without the sweep's file system does not have it
            os.chdir(self.folder)
            setup_globals()
            Singleton.set_state(dict(self.state))
            HydraConfig.instance().set_config(self.config)
            return run_job(
                hydra_context=self.context,
                task_function=self.task,
                config=self.config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
        except Exception as error:  # before the task: its own errors are in what `run_job` returns
            return LostRunError(reason_of(error))


Returned = JobReturn | LostRunError


class SweepLauncher(Launcher):
    """Runs the runs of a sweep in other processes. A run that is lost does not stop the others."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take over the sweep's configuration."""
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a job for each list of overrides, and return what each returned, in the same order."""
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        HydraConfig.instance().set_config(self.config)  # the state is then of a configuration without credentials
        state = Singleton.get_state()
        runs = [
            SweepRun(
                number=number,
                config=self._compose(number, overrides),
                context=self.context,
                task=self.task,
                state=state,
                folder=Path.cwd(),
            )
            for number, overrides in enumerate(job_overrides, start=initial_job_idx)
        ]
        returned = {}
        with closing(self.results(runs)) as results:
            for run, result in results:
                returned[run.number] = self._lost(run, result) if isinstance(result, LostRunError) else result
        return [returned[run.number] for run in runs]

    @abstractmethod
    def results(self, runs: Sequence[SweepRun]) -> Generator[tuple[SweepRun, Returned]]:
        """Start the runs, and yield each with its result when it ends; end those that still run when closed."""

    def _compose(self, number: int, overrides: Sequence[str]) -> DictConfig:
        config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = f"{config.hydra.job.name}_{number}"
            config.hydra.job.num = number
        return config

    def _lost(self, run: SweepRun, error: LostRunError) -> JobReturn:
        """Report a lost run to Hydra's callbacks, as its process cannot; return NaN, a failure, for sweepers."""
        HydraConfig.instance().set_config(run.config)
        lost = JobReturn(overrides=list(run.config.hydra.overrides.task), cfg=run.config, status=JobStatus.FAILED)
        lost.return_value = error
        self.context.callbacks.on_job_end(config=run.config, job_return=lost)
        lost.status, lost.return_value = JobStatus.COMPLETED, float("nan")
        return lost


def require(module: str, *, choice: str, name: str, extra: str) -> ModuleType:
    """Import the library of an extra.

    Raises
    ------
    UserError
        If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"{choice}: needs {name}; pip install 'bloodcell[{extra}]'") from error
