"""The command that a job was started with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

NOT_OF_A_TRAINING = ("hydra/", "tracking", "launcher", "shared/", "tuner")
"""The start of the names of groups that do not change a training."""


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


def chosen_groups(choices: Mapping[str, str]) -> dict[str, str]:
    """Return the choice of every group that changes a training: ``backbone=mobilenetv2_inner``."""
    return {
        group: choice
        for group, choice in choices.items()
        if not group.startswith(NOT_OF_A_TRAINING) and choice not in ("None", "null")
    }
