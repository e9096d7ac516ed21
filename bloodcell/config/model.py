"""Settings of a model: crop, backbone and head."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, WrapValidator, model_validator
from pydantic.dataclasses import dataclass

from bloodcell.config.value_types import STRICT, NonEmpty, PositiveInt, one_of
from bloodcell.models.applications import application_name

Solver = Literal["gradient", "lbfgs", "ridge", "lda"]
CLOSED_FORM = ("ridge", "lda")
"""The solvers of `bloodcell.training.closed_form`, which choose ``head.l2=auto``."""


def _number_or_auto(value: Any, validate: Callable[[Any], float | Literal["auto"]]) -> float | Literal["auto"]:
    """Say what is wrong once, not for each of the two."""
    try:
        return validate(value)
    except ValidationError as error:
        raise ValueError("must be a number of at least 0, or auto") from error


# Imported when needed: the modules that register names import OpenCV.
def _crops() -> list[str]:
    from bloodcell.cells.crop import CROPS

    return ["none", *CROPS]


def feature_sets() -> list[str]:
    """Return the names of all hand-made features."""
    from bloodcell.models.feature_sets import FEATURE_SETS

    return list(FEATURE_SETS)


def _extra_features() -> list[str]:
    from bloodcell.models.feature_sets import MAJORITY

    return [name for name in feature_sets() if name != MAJORITY]


def _backbone_name(name: str) -> str:
    return name if name in feature_sets() else application_name(name)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BackboneConfig:
    """A class of ``keras.applications`` without its top, in upper or lower case; or a set of hand-made features."""

    name: Annotated[NonEmpty, AfterValidator(_backbone_name)] = "MobileNetV2"
    input_size: Annotated[int, Field(ge=16, le=2048)] = 224
    weights: NonEmpty | None = "auto"
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    taps: tuple[NonEmpty, ...] = ()

    @property
    def is_network(self) -> bool:
        """Whether it takes images and can be fine-tuned; hand-made features do not."""
        return self.name not in feature_sets()


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CropConfig:
    """The part of an image that a model gets."""

    name: Annotated[str, one_of(_crops)] = "none"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class HeadConfig:
    """The classifier on top of the backbone."""

    pooling: Literal["average", "max", "both", "cell"] = "average"
    extra_features: tuple[Annotated[str, one_of(_extra_features)], ...] = ()
    standardise: bool = False
    projection: PositiveInt | None = None
    hidden_units: tuple[PositiveInt, ...] = ()
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    l2: Annotated[Annotated[float, Field(ge=0)] | Literal["auto"], WrapValidator(_number_or_auto)] = 0.0
    solver: Solver = "gradient"

    @property
    def is_solved(self) -> bool:
        """Whether the head is solved, without epochs."""
        return self.solver != "gradient"

    @property
    def l2_in_loss(self) -> float:
        """The L2 penalty in the loss of the cross-entropy; 0 for heads of another loss."""
        return 0.0 if self.solver in CLOSED_FORM or self.l2 == "auto" else self.l2

    @model_validator(mode="after")
    def _can_be_solved(self) -> "HeadConfig":
        if self.is_solved and self.hidden_units:
            raise ValueError(
                f"head.hidden_units={list(self.hidden_units)}: head.solver={self.solver} is only for linear heads; use "
                "head.hidden_units=[] or head.solver=gradient"
            )
        if self.is_solved and self.dropout:
            raise ValueError(
                f"head.dropout={self.dropout:g}: head.solver={self.solver} has no dropout; use head.dropout=0 and "
                "head.l2, or head.solver=gradient"
            )
        if self.l2 == "auto" and self.solver not in CLOSED_FORM:
            raise ValueError(
                f"head.l2=auto: head.solver={self.solver} needs a number; give one, or use head.solver=ridge or "
                "head.solver=lda"
            )
        return self
