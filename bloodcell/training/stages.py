"""Stages of a training: trained layers, epochs, learning rate."""

from collections.abc import Sequence
from dataclasses import dataclass

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
    match finetune:
        case FrozenPlan():
            tuning: Sequence[StageConfig] = []
        case TopPlan():
            tuning = [_top(backbone, finetune)]
        case GradualPlan():
            tuning = _gradual(backbone, finetune)
        case StagedPlan():
            tuning = finetune.stages
    head = Stage(name="head", boundary=None, epochs=epochs, learning_rate=learning_rate)
    return [head, *(_stage(backbone, each, max_epochs=max_finetune_epochs or each.epochs) for each in tuning)]


def lowest_boundary(stages: Sequence[Stage]) -> int | None:
    """Return the boundary below which no stage trains anything; None if the whole backbone stays frozen."""
    return min((stage.boundary for stage in stages if stage.boundary is not None), default=None)


def _top(backbone: FeatureExtractor, plan: TopPlan) -> StageConfig:
    names = blocks(backbone)
    return StageConfig(
        block=names[-1] if names else None,
        fraction=None if names else TOP_FRACTION,
        epochs=plan.epochs,
        learning_rate=plan.learning_rate,
        batch_norm=plan.batch_norm,
    )


def _gradual(backbone: FeatureExtractor, plan: GradualPlan) -> list[StageConfig]:
    names = blocks(backbone)
    if len(names) < plan.blocks:
        raise UserError(
            f"finetune.blocks={plan.blocks}: {backbone.name} has {len(names)} blocks with names; "
            "unfreeze fewer, or use finetune=staged with fractions"
        )
    return [
        StageConfig(
            block=name,
            epochs=plan.epochs,
            learning_rate=plan.learning_rate * plan.learning_rate_decay**step,
            batch_norm=plan.batch_norm,
        )
        for step, name in enumerate(reversed(names[-plan.blocks :]))
    ]


def _stage(backbone: FeatureExtractor, config: StageConfig, *, max_epochs: int) -> Stage:
    if config.layer is not None:
        name, boundary = config.layer, boundary_at_layer(backbone, config.layer)
    elif config.block is not None:
        name, boundary = config.block, boundary_at_block(backbone, config.block)
    else:
        assert config.fraction is not None  # the schema lets one of the three through
        name, boundary = f"top {config.fraction:.0%}", boundary_at_fraction(backbone, config.fraction)
    if config.learning_rate_decay != 1 and not blocks(backbone):
        raise UserError(
            f"finetune.stages: learning_rate_decay={config.learning_rate_decay:g} is per block, and the blocks of "
            f"{backbone.name} have no names; remove it"
        )
    return Stage(
        name=f"from {name}",
        boundary=boundary,
        epochs=min(config.epochs, max_epochs),
        learning_rate=config.learning_rate,
        train_statistics=config.batch_norm == "train",
        learning_rate_decay=config.learning_rate_decay,
    )
