"""What to try after a training: commands made of the one that was given, chosen by what it asked for and showed."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from bloodcell.config.command import Command
from bloodcell.config.data import FolderData
from bloodcell.config.model import MEASURED
from bloodcell.config.quoting import for_shell
from bloodcell.config.split import GroupKfoldSplit
from bloodcell.config.training import TrainConfig
from bloodcell.data.leaks import Leakage

N_BETTER = 2
"""Ways to a better model that are named, before the comparison: with MLflow's pages four things to do, no more."""


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A command, and why it may be worth its time."""

    why: str
    command: str


def suggestions(config: TrainConfig, *, leak: Leakage, weights: str, given: Command) -> list[Suggestion]:
    """Return what to try next, the most useful first, three at most.

    Parameters
    ----------
    config
        What was trained.
    leak
        What is known of leaks in its split.
    weights
        What its backbone started from: ``imagenet``, ``random``, ``none``, or the name of a file or of own weights.
    given
        The command that it was started with.
    """
    changes = islice(_better(config, leak=leak, weights=weights), N_BETTER)
    better = [Suggestion(why=why, command=_command(given, change)) for why, change in changes]
    one = given.choices.get("backbone", "mobilenetv2")
    one = one if one not in ("application", *MEASURED) else "mobilenetv2"
    # Where ImageNet's weights could not be had, those of another backbone cannot either.
    second = "mobilenetv2_inner" if weights == "smears" else "xception"
    other = second if one == "mobilenetv2" else "mobilenetv2"
    which = Suggestion(
        why="Two backbones, and which of them is better",
        command=_command(given, f"backbone={one},{other}", sweep=True),
    )
    return [*better, which]


def _better(config: TrainConfig, *, leak: Leakage, weights: str) -> Iterator[tuple[str, str]]:
    """Yield why and what to change, the most useful first."""
    has_network = config.backbone.name not in MEASURED
    if leak.split_by_file:
        yield "Figures to believe: photographs stay whole", "split=group_holdout"
    elif leak.shared:
        yield "Figures to believe: no copy of a held-out image", "data.on_shared_groups=drop"
    elif not leak.groups_known:
        yield "Figures to believe: look for copies", "data.groups=recover"
    if any(value is not None for value in vars(config.debug).values()):
        yield "All images, as this was a run for debugging", "debug=none"
    if has_network and weights == "random":
        yield "Start from what ImageNet taught (a download)", "backbone.weights=imagenet"
    if has_network and config.crop.name == "none":
        yield "Look at the cell alone, not the whole image", "crop=nucleus"
    if has_network and config.finetune.name == "none" and config.head.solver == "gradient":
        yield "Train the backbone's top too, not the head alone", "finetune=top"
    given_sides = isinstance(config.data, FolderData) and config.data.val_dir is not None
    if not isinstance(config.split, GroupKfoldSplit) and not given_sides and config.debug.overfit_images is None:
        yield "Hold every image out once: surer figures", "split=group_kfold"


def _command(given: Command, change: str, *, sweep: bool = False) -> str:
    """Return the given command with another choice, without what was set within the one that goes, or of it alone."""
    key = change.partition("=")[0]
    gone = {"backbone.name", "backbone.taps", "backbone.weights"} if sweep else set()  # of one backbone only
    kept = [
        override
        for override in given.overrides
        for name in [override.partition("=")[0].lstrip("+~")]
        if name not in {key, "tracking.run_name", *gone} and (sweep or not name.startswith(f"{key}."))
    ]
    own = [] if given.config_dir is None else ["-cd", given.config_dir]
    return for_shell(["bloodcell", "train", *["-m"] * sweep, *own, *kept, change])
