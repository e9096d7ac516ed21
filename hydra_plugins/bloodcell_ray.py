"""``launcher=ray``: run a sweep on a Ray cluster, or on this machine by Ray."""

import os
import signal
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from bloodcell.cli.launching import LostRunError, Returned, SweepLauncher, SweepRun, require
from bloodcell.config.composition import parse_launcher
from bloodcell.config.launcher import RayLauncher as Settings
from bloodcell.console.progress import print_status
from bloodcell.console.quiet import ENVIRONMENT
from bloodcell.errors import UserError, one_line
from bloodcell.signals import raise_if_interrupted

ConfigStore.instance().store(
    group="hydra/launcher", name="ray", node={"_target_": f"{__name__}.RayLauncher"}, provider="bloodcell"
)

RAY_ENVIRONMENT = {
    "RAY_COLOR_PREFIX": "0",
    "RAY_DEDUP_LOGS": "0",  # similar lines of several runs are not repetitions
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run`, Ray would copy the working folder with all images
    "RAY_USAGE_STATS_ENABLED": "0",
}
STORE_BYTES = 100_000_000
"""Memory for Ray's objects: configurations and results are small, and Ray takes a third of the memory otherwise."""

POLL_SECONDS = 1.0


class RayLauncher(SweepLauncher):
    """Runs the jobs of a sweep as tasks of Ray, each in a process of its own."""

    @staticmethod
    def check(config: DictConfig) -> None:
        """Start Ray, or join the cluster.

        Raises
        ------
        UserError
            If it is not installed, cannot be reached or cannot have the runs.
        """
        settings = parse_launcher(config, Settings)
        os.environ.update(RAY_ENVIRONMENT | dict(os.environ))
        ray = require("ray", choice="launcher=ray", name="Ray", extra="ray")
        if ray.is_initialized():
            return
        own: dict[str, Any] = {"object_store_memory": STORE_BYTES, "include_dashboard": False}
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            ray.init(settings.address or "local", logging_level="error", **({} if settings.address else own))
        except Exception as error:  # of connections, of versions: Ray has many
            raise UserError(
                f"launcher.address={settings.address or 'null'}: Ray cannot be used ({one_line(error)}); start a "
                "cluster by `ray start --head`, or give the address of one"
            ) from error
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)  # Ray sets its own
        wanted = {"CPU": settings.cpus, "GPU": settings.gpus or 0}
        if not any(_has(node, wanted) for node in ray.nodes()):
            raise UserError(
                f"launcher.cpus={settings.cpus:g} launcher.gpus={settings.gpus or 0:g}: no node has as many; give less"
            )

    def results(self, runs: Sequence[SweepRun]) -> Generator[tuple[SweepRun, Returned]]:
        """Run each as a task; one whose node dies starts again."""
        self.check(self.config)
        import ray

        settings = parse_launcher(self.config, Settings)
        has_gpus = any(_has(node, {"GPU": 1}) for node in ray.nodes())
        gpus = float(has_gpus) if settings.gpus is None else settings.gpus
        task = ray.remote(num_cpus=settings.cpus, num_gpus=gpus, max_retries=0, max_calls=1)(_run)
        environment = _environment(settings.environment)

        def start(run: SweepRun) -> Any:
            return task.options(name=f"run {run.number}").remote(run, environment)

        running = {start(run): run for run in runs}
        attempts = dict.fromkeys((run.number for run in runs), 1)
        try:
            while running:
                some, _ = ray.wait(list(running), timeout=POLL_SECONDS)
                raise_if_interrupted()
                if not some:
                    continue
                (ended,) = some
                run = running.pop(ended)
                try:
                    yield run, ray.get(ended)
                except ray.exceptions.NodeDiedError:
                    if attempts[run.number] > settings.retries:
                        yield run, LostRunError("its node died")
                        continue
                    attempts[run.number] += 1
                    print_status(f"run {run.number}: its node died; starts again on another")
                    running[start(run)] = run
                except ray.exceptions.RayError as error:
                    yield run, LostRunError(_reason(error))
        finally:
            for task_run in running:
                ray.cancel(task_run, force=True)


def _run(run: SweepRun, environment: Mapping[str, str]) -> Returned:
    # As an argument: Ray writes the variables of its own runtime environments into logs and command lines.
    os.environ.update(environment)
    returned = run()
    # Ray ends the helper processes of a worker before the worker, whose exit then reports each as lost.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    return returned


def _environment(names: Sequence[str]) -> dict[str, str]:
    """Return the variables that the runs get: of the store, of libraries, and those with these names."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("MLFLOW_", "AWS_")) or name in (*ENVIRONMENT, *names)
    }


def _has(node: Mapping[str, Any], wanted: Mapping[str, float]) -> bool:
    return node["Alive"] and all(node["Resources"].get(name, 0) >= number for name, number in wanted.items())


def _reason(error: Exception) -> str:
    """Return why a run was lost, in a few words: Ray's messages are pages."""
    from ray import exceptions

    match error:
        case exceptions.WorkerCrashedError():
            return "its process was killed or crashed"
        case exceptions.OutOfMemoryError():
            return "its node had no memory left"
    return one_line(error)
