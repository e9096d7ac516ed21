"""``bloodcell JOB [overrides]``: finds the job and hands over to Hydra.

Nothing heavy is imported here, not even Hydra, before it is needed: ``bloodcell --help`` answers at once.
"""

import argparse
import atexit
import gc
import importlib
import importlib.metadata
import os
import re
import sys
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from bloodcell.cli.exits import discard_unused, one_line_errors, unwinding_on_sigterm
from bloodcell.cli.help import overview
from bloodcell.config.command import Command
from bloodcell.config.jobs import in_words, register_help, spoken_job, take_job
from bloodcell.config.quoting import override
from bloodcell.console.document import FLAG, json_document
from bloodcell.console.logs import errors_logged, warnings_logged
from bloodcell.console.quiet import quieten_libraries, silent_stderr
from bloodcell.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line.

    Parameters
    ----------
    argv
        The words after ``bloodcell``; those of the process by default.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    match arguments:
        case [] | ["-h" | "--help", *_] | ["--json"]:
            print(overview(), end="")
        case ["--version", *_]:
            print(f"bloodcell {importlib.metadata.version('bloodcell')}")
        case ["-sc" | "--shell-completion", *request]:
            from bloodcell.cli.completion import complete

            with one_line_errors():
                complete(request, hand_over)
        case words:
            given = [word for word in words if word != FLAG]
            with document(given) if FLAG in words else nullcontext(), one_line_errors():
                job, rest = take_job(given)
                with one_line_errors(job, rest), unwinding_on_sigterm():
                    hand_over(job, with_flags_last(job, [with_home(word) for word in with_setting(job, rest)]))


def document(words: Sequence[str]) -> AbstractContextManager[None]:
    """Return what makes a document of a job, where the job is run, not asked about."""
    asked_about = any(word.partition("=")[0] in ASKING for word in words)
    return nullcontext() if asked_about else json_document(spoken_job(words))


def hand_over(job: str | None, arguments: Sequence[str]) -> None:
    """Let Hydra do with a job what the arguments say."""
    quieten_libraries()
    # Hydra then raises its errors, where it would print them and end the program.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # Its parser warns of its own grammar's ambiguities, which are no business of the user's.
    warnings.filterwarnings("ignore", module=r"hydra\.core\.override_parser")

    import hydra

    from bloodcell.config.composition import VERSION_BASE, register_experiments
    from bloodcell.config.conf_files import conf_dir

    register_experiments(job)
    register_help()
    before = sys.argv
    sys.argv = [f"bloodcell {in_words(job)}" if job else "bloodcell", *arguments]
    try:
        hydra.main(config_path=str(conf_dir()), config_name=job, version_base=VERSION_BASE)(task)()
    finally:
        sys.argv = before


def task(config: "DictConfig") -> float | None:
    """Run the job that Hydra has composed a configuration for. Launchers send this function to their workers."""
    from hydra.core.hydra_config import HydraConfig

    from bloodcell.config.composition import parse_config

    hydra = HydraConfig.get()
    job = hydra.job.name

    def start() -> float | None:
        with warnings_logged():
            with silent_stderr():
                module = import_job(job)
            command = {"command": given_command()} if job in USING_COMMAND else {}
            result: float | None = module.run(parsed, output_dir=output_dir, **command)
            return result

    output_dir = Path(hydra.runtime.output_dir)
    parsed = parse_config(job, config)
    if getattr(parsed, "tracking", None) is None or parsed.tracking.sweep_job is None:
        with one_line_errors(job):
            try:
                with errors_logged():
                    return start()
            except UserError:
                discard_unused(output_dir)
                raise
    # A run of a sweep keeps its folder: the log in it says why it failed.
    from bloodcell.tracking.study import surviving

    return surviving(start, parsed)


USING_COMMAND = ("search", "train")
"""Jobs that make other commands of the one that they were started with."""


def given_command() -> Command:
    """Return the command that Hydra has started a job with."""
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    own = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    return Command(
        overrides=list(hydra.overrides.task),
        choices={str(group): str(choice) for group, choice in hydra.runtime.choices.items()},
        config_dir=own[0] if own else None,
    )


def import_job(job: str) -> ModuleType:
    """Import a job, and spare Python the search for cycles among what its libraries are made of.

    That is half a million objects which stay as long as the program. They are neither searched while they are made, nor
    with every later search, nor once more at the end, when all that is left goes anyway.
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


def with_home(word: str) -> str:
    """Replace the ``~`` of ``KEY=~/PATH``, which the shell leaves as it is and Hydra cannot read."""
    key, equals, value = word.partition("=")
    return f"{key}={Path(value).expanduser()}" if equals and re.match(r"~[\w-]*(/|$)", value) else word


POSITIONAL = {"init": "folder"}
"""The setting of a job whose value may stand as the first word after it."""


def with_setting(job: str, words: Sequence[str]) -> list[str]:
    """Write a job's first word as the setting that it is the value of, if it is one."""
    if job not in POSITIONAL or not words or "=" in words[0] or words[0].startswith("-"):
        return list(words)
    value = str(Path(words[0]).expanduser()) if words[0] else ""  # nothing is no folder, and not this one
    return [override(POSITIONAL[job], value), *words[1:]]


ASKING = ("-h", "--help", "--hydra-help", "-c", "--cfg", "-i", "--info", "-sc", "--shell-completion")
"""Flags that ask about a job, and run none."""

SWITCHES = {"predict": {"--explain": "explain=true"}}
"""Flags of jobs that stand for a setting."""


def with_flags_last(job: str, arguments: Sequence[str]) -> list[str]:
    """Put overrides before flags, because Hydra's parser does not take them in any order, and check the flags."""
    arguments = [SWITCHES.get(job, {}).get(word, word) for word in arguments]
    from hydra._internal.utils import get_args_parser

    parser: argparse.ArgumentParser = get_args_parser()
    parser.exit_on_error = False
    try:
        known, unknown = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UserError(f"{error}; see `bloodcell {in_words(job)} --help`") from error
    if flags := [word for word in unknown if word.startswith("-")]:
        raise UserError(f"{flags[0]}: no such flag; see `bloodcell {in_words(job)} --help`")
    commands = [known.run, known.multirun, known.cfg, known.info, known.shell_completion]
    if sum(map(bool, commands)) > 1:
        raise UserError("--run, --multirun, --cfg, --info and --shell-completion exclude one another")
    if known.resolve and not (known.cfg or known.help):
        raise UserError("--resolve goes with --cfg or --help only")
    overrides = [*known.overrides, *unknown]
    return [*overrides, *(word for word in arguments if word not in overrides)]
