"""The jobs of the command line: their names and descriptions, read from their docstrings."""

import ast
import inspect
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from bloodcell.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

JOBS = Path(__file__).parents[1] / "jobs"


def jobs() -> dict[str, str]:
    """Return every job's docstring by its words, without importing a job: that would take seconds."""
    return {in_words(path.stem): _docstring(path) for path in sorted(JOBS.glob("*.py")) if path.stem[0] != "_"}


def in_words(job: str) -> str:
    """Return a job's name as it is written on the command line: ``data fetch`` for ``data_fetch``."""
    return job.replace("_", " ")


def take_job(words: Sequence[str]) -> tuple[str, list[str]]:
    """Take the job, which may be two words, from the start of a command line; return its name and the rest.

    Raises
    ------
    UserError
        If there is no such job; it names the nearest.
    """
    names, spoken = jobs(), spoken_job(words)
    if spoken in names:
        return spoken.replace(" ", "_"), list(words[spoken.count(" ") + 1 :])
    has_second = any(name.startswith(f"{words[0]} ") for name in names)
    second = [word for word in words[1:2] if has_second and "=" not in word and not word.startswith("-")]
    raise _no_job(" ".join([words[0], *second]))


def spoken_job(words: Sequence[str]) -> str:
    """Return the words at the start of a command line that are a job, or the first, which is to be one."""
    both = " ".join(words[:2])
    return both if both in jobs() else words[0]


def require_job(job: str) -> None:
    """Raise a `UserError` that names the nearest jobs unless there is this one."""
    if in_words(job) not in jobs():
        raise _no_job(job)


def _no_job(job: str) -> UserError:
    names = list(jobs())
    near = [name for name in names if name.startswith(f"{job} ")] or get_close_matches(job, names, n=2)
    advice = f"did you mean {' or '.join(near)}? " if near else ""
    return UserError(f"there is no job {job}; {advice}(jobs: {', '.join(names)})")


def register_help() -> None:
    """Give the configuration ``${bloodcell.job:}``, ``.words`` and ``.groups``, of which Hydra's help is made."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("bloodcell.job", _job, replace=True)
    OmegaConf.register_new_resolver("bloodcell.words", _words, replace=True)
    OmegaConf.register_new_resolver("bloodcell.groups", _groups, replace=True)


def _docstring(path: Path) -> str:
    return inspect.cleandoc(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")


def _job(*, _root_: "DictConfig") -> str:
    # Hydra fills in $NAME afterwards, so a job's own dollar signs are doubled.
    return jobs().get(_words(_root_=_root_), "").replace("$", "$$")


def _words(*, _root_: "DictConfig") -> str:
    return in_words(_root_.hydra.job.name)


def _groups(*, _root_: "DictConfig") -> str:
    """List the groups that this job's configuration is made of, not every group that Hydra can see."""
    from hydra.core.global_hydra import GlobalHydra

    loader = GlobalHydra.instance().config_loader()
    lines = []
    for group, chosen in reversed(_root_.hydra.runtime.choices.items()):  # Hydra resolves its list from the end
        if not group.startswith("hydra/"):
            choices = [f"[{choice}]" if choice == chosen else choice for choice in loader.get_group_options(group)]
            lines.append(f"  {group:15}  {', '.join(choices) or '(none yet)'}")
    return "\n".join(lines)
