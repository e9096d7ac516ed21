"""``launcher=slurm``: run a sweep as jobs of a Slurm cluster, by Submitit."""

import os
import shutil
import time
from collections import deque
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from bloodcell.cli.launching import LostRunError, Returned, SweepLauncher, SweepRun, require
from bloodcell.config.composition import parse_launcher
from bloodcell.config.launcher import SlurmLauncher as Settings
from bloodcell.console.progress import print_status
from bloodcell.errors import UserError
from bloodcell.processes import exit_with_process

ConfigStore.instance().store(
    group="hydra/launcher", name="slurm", node={"_target_": f"{__name__}.SlurmLauncher"}, provider="bloodcell"
)

POLL_SECONDS = 1.0


class SlurmLauncher(SweepLauncher):
    """Runs the jobs of a sweep as jobs of Slurm."""

    @staticmethod
    def check(config: DictConfig) -> None:
        """Raise a `UserError` if Submitit or Slurm is missing."""
        require("submitit", choice="launcher=slurm", name="Submitit", extra="slurm")
        if not parse_launcher(config, Settings).local and shutil.which("srun") is None:
            raise UserError(
                "launcher=slurm: there is no Slurm here; start it on a login node, or use launcher.local=true"
            )

    def results(self, runs: Sequence[SweepRun]) -> Generator[tuple[SweepRun, Returned]]:
        """Submit the runs and wait for their files; the jobs of a sweep that ends early are cancelled."""
        settings = parse_launcher(self.config, Settings)
        folder = Path(str(self.config.hydra.sweep.dir)).absolute() / ".submitit"
        executor = _executor(settings, folder, name=str(self.config.hydra.job.name))
        # Slurm has a queue of its own.
        at_a_time = settings.jobs or os.cpu_count() or 1 if settings.local else len(runs)
        waiting, running = deque(runs), list[tuple[Any, SweepRun]]()
        print_status(f"{len(runs)} jobs; their output is in {folder}")
        try:
            while waiting or running:
                batch = [waiting.popleft() for _ in range(min(len(waiting), at_a_time - len(running)))]
                if batch:
                    running += zip(_submit(executor, batch, local=settings.local), batch, strict=True)
                for job, run in [entry for entry in running if entry[0].done()]:
                    running.remove((job, run))
                    yield run, _result(job)
                time.sleep(POLL_SECONDS)
        finally:
            for job, _ in running:
                job.cancel(check=False)


def _executor(settings: Settings, folder: Path, *, name: str) -> Any:
    import submitit

    options = [(name, value) for name, _, value in (option.partition("=") for option in settings.options)]
    given = {
        "slurm_partition": settings.partition,
        "slurm_account": settings.account,
        "slurm_array_parallelism": settings.jobs,
        "mem_gb": settings.gigabytes,
        "gpus_per_node": settings.gpus or None,
    }
    executor = submitit.AutoExecutor(folder, cluster="local" if settings.local else "slurm", slurm_max_num_timeout=0)
    executor.update_parameters(
        name=name,
        timeout_min=settings.minutes,
        cpus_per_task=settings.cpus,
        slurm_srun_args=[f"--cpus-per-task={settings.cpus}"],  # since Slurm 22.05 srun does not take sbatch's
        slurm_setup=list(settings.setup),
        local_setup=list(settings.setup),
        slurm_additional_parameters={name: value or True for name, value in options},
        **{key: value for key, value in given.items() if value is not None},
    )
    return executor


def _submit(executor: Any, runs: Sequence[SweepRun], *, local: bool) -> list[Any]:
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        jobs: list[Any] = executor.map_array(_run, runs, [os.getpid() if local else None] * len(runs))
    except (FailedJobError, FailedSubmissionError) as error:
        raise UserError(f"launcher=slurm: Slurm refused the jobs ({error})") from error
    return jobs


def _run(run: SweepRun, sweep: int | None) -> Returned:
    if sweep is not None:
        exit_with_process(sweep)  # Submitit's local jobs ignore SIGTERM, and SIGINT if the sweep does
    return run()


def _result(job: Any) -> Returned:
    from submitit.core.utils import UncompletedJobError

    try:
        result: Returned = job.result()
    except UncompletedJobError:
        return LostRunError(
            f"job {job.job_id} ended without a result ({job.state}); its output is in {job.paths.stderr}"
        )
    return result
