"""``hydra/launcher=joblib``: run a sweep in several processes of this machine.

Hydra accepts launchers from the namespace ``hydra_plugins`` only, so this file is outside ``bloodcell``.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from omegaconf import DictConfig, open_dict

from bloodcell.processes import exit_with_parent, expect_replaced_workers

ConfigStore.instance().store(
    group="hydra/launcher",
    name="joblib",
    node={"_target_": f"{__name__}.JoblibLauncher", "n_jobs": -1},
    provider="bloodcell",
)


class JoblibLauncher(Launcher):
    """Runs the jobs of a sweep in joblib's processes.

    Parameters
    ----------
    n_jobs
        The number of processes; -1 is one for each core.
    """

    def __init__(self, n_jobs: int) -> None:
        self.n_jobs = n_jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take over the sweep's configuration."""
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a job for each list of overrides, and return what each returned, in the same order."""
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        state = Singleton.get_state()
        expect_replaced_workers()
        get_reusable_executor().shutdown()  # workers of an earlier sweep have its environment
        try:
            runs: list[JobReturn] = Parallel(n_jobs=self.n_jobs, backend="loky", batch_size=1)(
                delayed(_run)(number, overrides, self.context, self.task, self.config, state, os.getpid())
                for number, overrides in enumerate(job_overrides, start=initial_job_idx)
            )
        finally:
            get_reusable_executor().shutdown()  # idle workers would keep TensorFlow in memory for minutes
        return runs


def _run(
    number: int,
    overrides: Sequence[str],
    context: HydraContext,
    task: TaskFunction,
    config: DictConfig,
    state: Mapping[Any, Any],
    parent: int,
) -> JobReturn:
    """Run one job in a worker process, which knows of Hydra only what ``state`` says and ends with its parent."""
    exit_with_parent(parent)
    setup_globals()
    Singleton.set_state(dict(state))
    run = context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(run):
        run.hydra.job.id = f"{run.hydra.job.name}_{number}"
        run.hydra.job.num = number
    HydraConfig.instance().set_config(run)
    return run_job(
        hydra_context=context,
        task_function=task,
        config=run,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
