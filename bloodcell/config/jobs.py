"""The jobs of the command line: names, and descriptions from their docstrings."""

import ast
import functools
import inspect
import itertools
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from bloodcell.config.conf_files import conf_dir
from bloodcell.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

JOBS = Path(__file__).parents[1] / "jobs"


@functools.cache
def jobs() -> Mapping[str, str]:
    """Return every job's docstring by command name, without importing the jobs, which takes seconds."""
    return {command_name(path.stem): _docstring(path) for path in sorted(JOBS.glob("*.py")) if path.stem[0] != "_"}


def command_name(job: str) -> str:
    """Return a job's name as it is written on the command line: ``data fetch`` for ``data_fetch``."""
    return job.replace("_", " ")


def split_job(words: Sequence[str]) -> tuple[str, list[str]]:
    """Return the job at the start of a command line, which may be two words, and the other words.

    Raises
    ------
    UserError
        If there is no such job; the message has the nearest.
    """
    names, command = jobs(), first_words(words)
    if command in names:
        return command.replace(" ", "_"), list(words[command.count(" ") + 1 :])
    has_second = any(name.startswith(f"{words[0]} ") for name in names)
    second = [word for word in words[1:2] if has_second and "=" not in word and not word.startswith("-")]
    raise _unknown_job(" ".join([words[0], *second]))


def first_words(words: Sequence[str]) -> str:
    """Return the words at the start of a command line that are a job, or the first word."""
    both = " ".join(words[:2])
    return both if both in jobs() else words[0]


def require_job(job: str) -> None:
    """Raise a `UserError` with the nearest jobs if there is no such job."""
    if command_name(job) not in jobs():
        raise _unknown_job(job)


def _unknown_job(job: str) -> UserError:
    names = list(jobs())
    near = [name for name in names if name.startswith(f"{job} ")] or get_close_matches(job, names, n=2)
    advice = f"did you mean {' or '.join(near)}? " if near else ""
    return UserError(f"{job}: no such job; {advice}(jobs: {', '.join(names)})")


def register_help_resolvers() -> None:
    """Register ``${bloodcell.job:}``, ``.words``, ``.groups`` and ``.settings``, which Hydra's help uses."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("bloodcell.job", _job, replace=True)
    OmegaConf.register_new_resolver("bloodcell.words", _words, replace=True)
    OmegaConf.register_new_resolver("bloodcell.groups", _groups, replace=True)
    OmegaConf.register_new_resolver("bloodcell.settings", _settings, replace=True)


def _docstring(path: Path) -> str:
    return inspect.cleandoc(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")


def _job(*, _root_: "DictConfig") -> str:
    # Hydra replaces $NAME afterwards, so dollar signs of the docstring are doubled.
    return jobs().get(_words(_root_=_root_), "").replace("$", "$$")


def _words(*, _root_: "DictConfig") -> str:
    return command_name(_root_.hydra.job.name)


def _groups(*, _root_: "DictConfig") -> str:
    """List the groups of this job's configuration, not every group in ``conf/``."""
    from hydra.core.global_hydra import GlobalHydra

    loader = GlobalHydra.instance().config_loader()
    lines = []
    for group, chosen in reversed(_root_.hydra.runtime.choices.items()):  # Hydra lists them in reverse order
        if not group.startswith("hydra/"):
            choices = [f"[{choice}]" if choice == chosen else choice for choice in loader.get_group_options(group)]
            lines.append(f"  {group:15}  {', '.join(choices) or '(none)'}")
    return "\n".join(lines)


def _settings(*, _root_: "DictConfig") -> str:
    """List the settings that the job's own file has, with their defaults and comments, as they are written there."""
    lines = (conf_dir() / f"{_root_.hydra.job.name}.yaml").read_text(encoding="utf-8").splitlines()
    own = itertools.dropwhile(lambda line: line.startswith(("#", "defaults:", " ")), lines)
    kept = [f"  {line}" for line in own if line and not line.startswith("hydra:")]
    return "\n".join(kept or ["  (none)"]).replace("$", "$$")
