"""Stages of a training: trained layers, epochs, learning rate."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bloodcell.config.finetune import FinetuneConfig, FrozenPlan, GradualPlan, StageConfig, StagedPlan, TopPlan
from bloodcell.errors import UserError
from bloodcell.models.blocks import blocks, boundary_at_block, boundary_at_fraction, boundary_at_layer
from bloodcell.models.extractors import FeatureExtractor

TOP_FRACTION = 0.1
"""The share of layers with weights that ``top`` trains if the backbone's blocks have no names."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a training.

    Attributes
    ----------
    name
        What is trained, for output.
    boundary
        Index of the first layer of the application that is trained; None: the head only.
    epochs
        Largest number of epochs.
    learning_rate
        The largest learning rate.
    train_statistics
        Whether batch normalisation above the boundary learns its statistics.
    stop_after
        Number of epochs after which it ends, with the learning-rate schedule of all ``epochs``; None: all of them.
    learning_rate_decay
        Factor of the learning rate from one block to the block below it, in (0, 1].
    """

    name: str
    boundary: int | None
    epochs: int
    learning_rate: float
    train_statistics: bool = False
    stop_after: int | None = None
    learning_rate_decay: float = 1.0


def plan_stages(
    backbone: FeatureExtractor,
    *,
    finetune: FinetuneConfig,
    epochs: int,
    learning_rate: float,
    max_finetune_epochs: int | None = None,
) -> list[Stage]:
    """Return the head's stage and those of the fine-tuning, which have at most ``max_finetune_epochs`` each.

    Raises
    ------
    UserError
        If the plan names a layer or block that the backbone does not have.
    """
    head = Stage(name="head", boundary=None, epochs=epochs, learning_rate=learning_rate)
    match finetune:
        case FrozenPlan():
            tuning: Sequence[Stage] = []
        case TopPlan():
            tuning = [_top(backbone, finetune)]
        case GradualPlan():
            tuning = _gradual(backbone, finetune)
        case StagedPlan():
            tuning = [_staged(backbone, stage) for stage in finetune.stages]
    return [head, *(replace(stage, epochs=min(stage.epochs, max_finetune_epochs or stage.epochs)) for stage in tuning)]


def lowest_boundary(stages: Sequence[Stage]) -> int | None:
    """Return the boundary below which no stage trains anything; None if the whole backbone stays frozen."""
    return min((stage.boundary for stage in stages if stage.boundary is not None), default=None)


def _top(backbone: FeatureExtractor, plan: TopPlan) -> Stage:
    names = blocks(backbone)
    if names:
        name, boundary = names[-1], boundary_at_block(backbone, names[-1])
    else:
        name, boundary = f"top {TOP_FRACTION:.0%}", boundary_at_fraction(backbone, TOP_FRACTION)
    return _tuning(name, boundary, plan.epochs, plan.learning_rate, plan.batch_norm)


def _staged(backbone: FeatureExtractor, stage: StageConfig) -> Stage:
    if stage.layer is not None:
        name, boundary = stage.layer, boundary_at_layer(backbone, stage.layer)
    elif stage.block is not None:
        name, boundary = stage.block, boundary_at_block(backbone, stage.block)
    else:
        assert stage.fraction is not None  # the schema requires one of the three
        name, boundary = f"top {stage.fraction:.0%}", boundary_at_fraction(backbone, stage.fraction)
    if stage.learning_rate_decay != 1 and not blocks(backbone):
        raise UserError(
            f"finetune.stages: learning_rate_decay={stage.learning_rate_decay:g} is per block, and the blocks of "
            f"{backbone.name} have no names; remove it"
        )
    tuning = _tuning(name, boundary, stage.epochs, stage.learning_rate, stage.batch_norm)
    return replace(tuning, learning_rate_decay=stage.learning_rate_decay)


def _gradual(backbone: FeatureExtractor, plan: GradualPlan) -> Sequence[Stage]:
    names = blocks(backbone)
    if len(names) < plan.blocks:
        raise UserError(
            f"finetune.blocks={plan.blocks}: {backbone.name} has {len(names)} blocks with names; "
            "unfreeze fewer, or use finetune=staged with fractions"
        )
    return [
        _tuning(
            name,
            boundary_at_block(backbone, name),
            plan.epochs,
            plan.learning_rate * plan.learning_rate_decay**step,
            plan.batch_norm,
        )
        for step, name in enumerate(reversed(names[-plan.blocks :]))
    ]


def _tuning(name: str, boundary: int, epochs: int, learning_rate: float, batch_norm: str) -> Stage:
    return Stage(
        name=f"from {name}",
        boundary=boundary,
        epochs=epochs,
        learning_rate=learning_rate,
        train_statistics=batch_norm == "train",
    )
