"""What limits a training's result, from its configuration."""

from collections.abc import Iterator

from bloodcell.config.split import GroupKfoldSplit
from bloodcell.config.training import DebugConfig, TrainConfig
from bloodcell.evaluation.evidence import CHOSEN, DEBUG, ONE_FOLD, RENDERED, SINGLE, ordered


def evidence_of(config: TrainConfig, *, fold: int | None = None) -> tuple[str, ...]:
    """Return the names of a training's limits that show in its configuration; see `bloodcell.evaluation.evidence`.

    ``fold``: the number of the fold of a cross-validation whose images are its validation; None if it is not one fold.
    """
    return ordered(_limits(config, fold))


def _limits(config: TrainConfig, fold: int | None) -> Iterator[str]:
    if config.debug != DebugConfig():
        yield DEBUG
    if fold is not None:
        yield ONE_FOLD
    if config.stops_by_validation:
        yield CHOSEN
    if fold is not None or not isinstance(config.split, GroupKfoldSplit) or config.split.repeats == 1:
        yield SINGLE
    if config.data.source == "smears":
        yield RENDERED
