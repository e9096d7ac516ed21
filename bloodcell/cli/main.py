"""``bloodcell JOB [overrides]``: find the job and run it with Hydra.

Libraries, and Hydra, are imported only when needed, so that ``bloodcell --help`` is fast.
"""

import atexit
import gc
import importlib
import importlib.metadata
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from bloodcell.cli.arguments import ASKING, hydra_arguments
from bloodcell.cli.exits import one_line_errors, quiet_exhaustion, remove_unused_folder
from bloodcell.cli.help import overview
from bloodcell.config.command import Command
from bloodcell.config.jobs import command_name, first_words, register_help_resolvers, split_job
from bloodcell.console.json_output import FLAG, json_document
from bloodcell.console.logs import log_errors, log_warnings
from bloodcell.console.quiet import quiet_libraries, quiet_stderr
from bloodcell.errors import UserError
from bloodcell.signals import signals_as_exceptions

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: the words after ``bloodcell``, by default those of the process."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if argv is None:  # in a process of its own
        quiet_exhaustion()
    match arguments:
        case [] | ["-h" | "--help", *_] | ["--json"]:
            print(overview(), end="")
        case ["--version", *_]:
            print(f"bloodcell {importlib.metadata.version('bloodcell')}")
        case ["-sc" | "--shell-completion", *request]:
            from bloodcell.cli.completion import complete

            with one_line_errors():
                complete(request, run_hydra)
        case words:
            given = [word for word in words if word != FLAG]
            with json_output(given) if FLAG in words else nullcontext(), one_line_errors():
                job, rest = split_job(given)
                with one_line_errors(job, rest), signals_as_exceptions():
                    run_hydra(job, hydra_arguments(job, rest))


def json_output(words: Sequence[str]) -> AbstractContextManager[None]:
    """Return the context that writes a job's JSON document, if the words run the job."""
    asked_about = any(word.partition("=")[0] in ASKING for word in words)
    return nullcontext() if asked_about else json_document(first_words(words))


def run_hydra(job: str | None, arguments: Sequence[str]) -> None:
    """Run Hydra with a job's configuration and arguments; without a job, for shell completion."""
    quiet_libraries()
    # Hydra then raises errors, instead of printing them and exiting.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # Its parser warns about ambiguities of its own grammar.
    warnings.filterwarnings("ignore", module=r"hydra\.core\.override_parser")

    import hydra

    from bloodcell.config.composition import VERSION_BASE, register_experiments
    from bloodcell.config.conf_files import conf_dir

    register_experiments(job)
    register_help_resolvers()
    before = sys.argv
    sys.argv = [f"bloodcell {command_name(job)}" if job else "bloodcell", *arguments]
    try:
        hydra.main(config_path=str(conf_dir()), config_name=job, version_base=VERSION_BASE)(task)()
    finally:
        sys.argv = before


def task(config: "DictConfig") -> float | None:
    """Run the job of a configuration that Hydra composed. Launchers send this function to their workers."""
    from hydra.core.hydra_config import HydraConfig

    from bloodcell.config.composition import parse_config

    hydra = HydraConfig.get()
    job = hydra.job.name

    def start() -> float | None:
        with log_warnings():
            with quiet_stderr():
                module = import_job(job)
            command = {"command": given_command()} if job in USING_COMMAND else {}
            result: float | None = module.run(parsed, output_dir=output_dir, **command)
            return result

    output_dir = Path(hydra.runtime.output_dir)
    parsed = parse_config(job, config)
    if getattr(parsed, "tracking", None) is None or parsed.tracking.sweep_job is None:
        with one_line_errors(job):
            try:
                with log_errors():
                    return start()
            except UserError:
                remove_unused_folder(output_dir)
                raise
    # The folder of a failed run of a sweep stays: its log has the error.
    from bloodcell.tracking.study import surviving

    return surviving(start, parsed, folder=output_dir)


USING_COMMAND = ("search", "train")
"""Jobs that derive other commands from their own."""


def given_command() -> Command:
    """Return the command of the job that Hydra runs."""
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    own = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    return Command(
        overrides=list(hydra.overrides.task),
        choices={str(group): str(choice) for group, choice in hydra.runtime.choices.items()},
        config_dir=own[0] if own else None,
    )


def import_job(job: str) -> ModuleType:
    """Import a job, without garbage collection of what its libraries create.

    These are half a million objects that live as long as the program. The collector would traverse them during the
    import, in each later collection, and at the exit.
    """
    name = f"bloodcell.jobs.{job}"
    if name not in sys.modules:
        from bloodcell.cli.allocator import keep_freed_memory

        keep_freed_memory()
        gc.disable()
        try:
            importlib.import_module(name)
        finally:
            gc.enable()
        gc.freeze()
        atexit.register(gc.freeze)
    return sys.modules[name]
