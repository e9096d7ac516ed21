"""The command that a job was started with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Command:
    """The command that a job was started with.

    Attributes
    ----------
    overrides, choices
        Its ``GROUP=CHOICE`` and ``KEY=VALUE``; the choice of every group.
    config_dir
        The folder of the user's own choices; None without one.
    """

    overrides: Sequence[str] = ()
    choices: Mapping[str, str] = field(default_factory=dict)
    config_dir: str | None = None
