"""Converting the words of a command line for Hydra."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from bloodcell.config.jobs import command_name
from bloodcell.config.quoting import override
from bloodcell.errors import UserError

ASKING = ("-h", "--help", "--hydra-help", "-c", "--cfg", "-i", "--info", "-sc", "--shell-completion")
"""Flags that ask about a job and do not run it."""

SWITCHES = {"predict": {"--explain": "explain=true"}}
"""Flags of a job that set a setting."""

POSITIONAL = {"doctor": "folder", "init": "folder", "sync": "folder"}
"""The setting of a job whose value may be given as the first word, without its name."""


def hydra_arguments(job: str, words: Sequence[str]) -> list[str]:
    """Return the words after a job in Hydra's form.

    Raises
    ------
    UserError
        If a flag is unknown, or two do not go together.
    """
    return _flags_last(job, [_expand_home(word) for word in name_first_word(job, words)])


def _expand_home(word: str) -> str:
    """Replace the ``~`` of ``KEY=~/PATH``, which shells do not replace and Hydra cannot read."""
    key, equals, value = word.partition("=")
    return f"{key}={Path(value).expanduser()}" if equals and re.match(r"~[\w-]*(/|$)", value) else word


def name_first_word(job: str, words: Sequence[str]) -> list[str]:
    """Put the setting's name before the first word, if the job has one in `POSITIONAL`.

    An existing file or folder may have a name like a setting, such as ``d/a=b``.
    """
    if job not in POSITIONAL or not words or words[0].startswith("-"):
        return list(words)
    if "=" in words[0] and not Path(words[0]).expanduser().exists():
        return list(words)
    value = str(Path(words[0]).expanduser()) if words[0] else ""  # an empty word is not the current folder
    return [override(POSITIONAL[job], value), *words[1:]]


def _flags_last(job: str, arguments: Sequence[str]) -> list[str]:
    """Put flags after overrides, as Hydra's parser needs them, and refuse unknown flags."""
    arguments = [SWITCHES.get(job, {}).get(word, word) for word in arguments]
    from hydra._internal.utils import get_args_parser

    parser: argparse.ArgumentParser = get_args_parser()
    parser.exit_on_error = False
    try:
        known, unknown = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise UserError(f"{error}; see `bloodcell {command_name(job)} --help`") from error
    if flags := [word for word in unknown if word.startswith("-")]:
        raise UserError(f"{flags[0]}: unknown flag; see `bloodcell {command_name(job)} --help`")
    commands = [known.run, known.multirun, known.cfg, known.info, known.shell_completion]
    if sum(map(bool, commands)) > 1:
        raise UserError("--run, --multirun, --cfg, --info and --shell-completion: give only one of them")
    if known.resolve and not (known.cfg or known.help):
        raise UserError("--resolve: is only for --cfg and --help")
    overrides = [*known.overrides, *unknown]
    return [*overrides, *(word for word in arguments if word not in overrides)]
