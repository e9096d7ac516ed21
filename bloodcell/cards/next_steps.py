"""Suggestions after a training: commands that change one choice of the command of the run."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from bloodcell.config.command import Command
from bloodcell.config.data import FolderData
from bloodcell.config.quoting import for_shell
from bloodcell.config.split import CrossValidation
from bloodcell.config.training import TrainConfig
from bloodcell.data.leaks import Leakage

N_CHANGES = 2
"""Changes that are suggested, before the comparison of two backbones."""


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A command, and the reason for it."""

    why: str
    command: str


def suggestions(config: TrainConfig, *, leakage: Leakage, weights: str, given: Command) -> list[Suggestion]:
    """Return at most three suggestions after a run, from its configuration and command, the most useful first.

    ``weights`` are those of its backbone: ``imagenet``, ``smears``, ``random``, ``none``, or the name of a file.
    """
    changes = islice(_changes(config, leakage=leakage, weights=weights), N_CHANGES)
    suggested = [Suggestion(why=why, command=_command(given, change)) for why, change in changes]
    one, other = "mobilenetv2", "mobilenetv2_inner"  # whose weights bloodcell includes
    if weights == "imagenet":  # the others' are available, too
        chosen = given.choices.get("backbone", one)
        one, other = (chosen, "mobilenetv2") if chosen not in (one, "application") else (one, "xception")
    comparison = _command(given, f"backbone={one},{other}", sweep=True)
    return [*suggested, Suggestion(why="Compare two backbones", command=comparison)]


def _changes(config: TrainConfig, *, leakage: Leakage, weights: str) -> Iterator[tuple[str, str]]:
    """Yield a reason and a change, the most useful first."""
    if not leakage.groups_known:
        yield "Find copies of photographs", "data.groups=recover"
    if leakage.split_by_file:
        yield "Split by photograph: no leakage", "split=group_holdout"
    elif leakage.shared:
        yield "Remove copies of held-out images from training", "data.on_shared_groups=drop"
    if any(value is not None for value in vars(config.debug).values()):
        yield "Use all images: this was a debug run", "debug=none"
    if weights == "random":
        yield "Start from pretrained weights", "backbone.weights=auto"
    if config.backbone.is_network and config.crop.name == "none":
        yield "Crop to the cell", "crop=nucleus"
    if config.backbone.is_network and config.finetune.name == "none" and config.head.solver == "gradient":
        yield "Also train the top block of the backbone", "finetune=top"
    own_validation = isinstance(config.data, FolderData) and config.data.val_dir is not None
    if not isinstance(config.split, CrossValidation) and not own_validation and config.debug.overfit_images is None:
        yield "Cross-validate: more validation images, narrower intervals", "split=group_kfold"


def _command(given: Command, change: str, *, sweep: bool = False) -> str:
    """Return the given command with a change, without settings that the change makes invalid."""
    key = change.partition("=")[0]
    removed = {"backbone.name", "backbone.taps", "backbone.weights"} if sweep else set()  # these fit one backbone only
    kept = [
        override
        for override in given.overrides
        for name in [override.partition("=")[0].lstrip("+~")]
        if name not in {key, "resume", "tracking.run_name", *removed} and (sweep or not name.startswith(f"{key}."))
    ]
    own = [] if given.config_dir is None else ["-cd", given.config_dir]
    return for_shell(["bloodcell", "train", *["-m"] * sweep, *own, *kept, change])
