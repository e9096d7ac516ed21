"""``launcher=joblib``: run a sweep in several processes of this machine.

Hydra accepts launchers from the namespace ``hydra_plugins`` only, so this file is outside ``bloodcell``.
"""

import os
from collections.abc import Generator, Sequence
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor, as_completed
from queue import SimpleQueue

from hydra.core.config_store import ConfigStore
from joblib import effective_n_jobs
from joblib.externals.loky import ProcessPoolExecutor

from bloodcell.cli.launching import LostRunError, Returned, SweepLauncher, SweepRun
from bloodcell.processes import exit_with_parent, expect_replaced_workers

ConfigStore.instance().store(
    group="hydra/launcher",
    name="joblib",
    node={"_target_": f"{__name__}.JoblibLauncher", "n_jobs": "${oc.select:launcher.jobs,-1}"},
    provider="bloodcell",
)


class JoblibLauncher(SweepLauncher):
    """Runs the jobs of a sweep in joblib's processes.

    Parameters
    ----------
    n_jobs
        The number of processes; -1 is one for each core.
    """

    def __init__(self, n_jobs: int) -> None:
        self.n_jobs = n_jobs

    def results(self, runs: Sequence[SweepRun]) -> Generator[tuple[SweepRun, Returned]]:
        """Run each in one of several pools of one process: if a process dies, only its own pool is lost."""
        expect_replaced_workers()
        pools: SimpleQueue[ProcessPoolExecutor] = SimpleQueue()
        started = []

        def start_pool() -> None:
            started.append(ProcessPoolExecutor(max_workers=1))
            pools.put(started[-1])

        def run_in_pool(run: SweepRun) -> tuple[SweepRun, Returned]:
            pool = pools.get()
            try:
                result = pool.submit(_run, run, os.getpid()).result()
            except BrokenExecutor:
                start_pool()
                return run, LostRunError("its process was killed or crashed")
            pools.put(pool)
            return run, result

        n_pools = min(effective_n_jobs(self.n_jobs), len(runs))
        threads = ThreadPoolExecutor(n_pools)
        for _ in range(n_pools):
            start_pool()
        futures = [threads.submit(run_in_pool, run) for run in runs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            interrupted = not all(future.done() for future in futures)
            threads.shutdown(wait=False, cancel_futures=True)
            for pool in started:
                pool.shutdown(kill_workers=interrupted)  # idle workers would keep TensorFlow in memory for minutes


def _run(run: SweepRun, parent: int) -> Returned:
    exit_with_parent(parent)
    return run()
