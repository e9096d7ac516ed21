"""Settings of fine-tuning: which layers of the backbone are trained, and for how long."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from bloodcell.config.value_types import STRICT, NonEmpty, PositiveInt, Rate


@dataclass(frozen=True, kw_only=True, config=STRICT)
class StageConfig:
    """One stage of fine-tuning: the layers that are trained, the epochs and the learning rate.

    Exactly one of ``layer``, ``block`` and ``fraction`` says from where the backbone is trained.
    """

    epochs: PositiveInt
    learning_rate: Rate
    layer: NonEmpty | None = None
    block: NonEmpty | None = None
    fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    batch_norm: Literal["inference", "train"] = "inference"
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = 1.0

    @model_validator(mode="after")
    def _names_one_boundary(self) -> "StageConfig":
        if sum(choice is not None for choice in (self.layer, self.block, self.fraction)) != 1:
            raise ValueError("give exactly one of layer, block and fraction")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FrozenPlan:
    """The backbone stays frozen."""

    name: Literal["none"] = "none"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class StagedPlan:
    """After the head, the listed stages, one after the other."""

    name: Literal["staged"] = "staged"
    stages: Annotated[tuple[StageConfig, ...], Field(min_length=1)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GradualPlan:
    """After the head, the top blocks one by one, each stage unfreezing one more."""

    name: Literal["gradual"] = "gradual"
    blocks: PositiveInt = 3
    epochs: PositiveInt = 3
    learning_rate: Rate = 1e-4
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = 0.5
    batch_norm: Literal["inference", "train"] = "inference"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TopPlan:
    """After the head, the top block, if there is a network and the head is trained in epochs."""

    name: Literal["top"] = "top"
    epochs: PositiveInt = 3
    learning_rate: Rate = 1e-4
    batch_norm: Literal["inference", "train"] = "inference"


FinetuneConfig = Annotated[FrozenPlan | TopPlan | StagedPlan | GradualPlan, Field(discriminator="name")]
