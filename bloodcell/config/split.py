"""Settings of the split into training and validation."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from bloodcell.config.value_types import STRICT, Fraction, PositiveInt, Seed


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GroupHoldoutSplit:
    """Validation is a random fraction of each class's groups, whole."""

    name: Literal["group_holdout"] = "group_holdout"
    fraction: Fraction = 0.2
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GroupKfoldSplit:
    """Cross-validation: every group is validated on once in each repeat, by a model of its own fold."""

    name: Literal["group_kfold"] = "group_kfold"
    folds: Annotated[int, Field(ge=2)] = 5
    repeats: PositiveInt = 1
    fold: PositiveInt | None = None
    refit: bool = False
    seed: Seed = 0

    @model_validator(mode="after")
    def _has_this_fold(self) -> "GroupKfoldSplit":
        if self.fold is not None and self.fold > self.folds * self.repeats:
            raise ValueError(f"split.fold={self.fold}: is more than split.folds x split.repeats; give 1 to that")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GivenSplit:
    """Cross-validation with the folds, or the validation images, that the images' folders or table give."""

    name: Literal["given"] = "given"
    fold: PositiveInt | None = None
    refit: bool = False


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RandomSplit:
    """Validation is a random fraction of each class's training images."""

    name: Literal["random"] = "random"
    fraction: Fraction = 0.2
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NotebookSplit:
    """Validation is the first fraction of each class's sorted file names."""

    name: Literal["notebook"] = "notebook"
    fraction: Fraction = 0.2


CrossValidation = GroupKfoldSplit | GivenSplit
"""Splits that may have folds."""
SplitConfig = Annotated[
    GroupHoldoutSplit | GroupKfoldSplit | GivenSplit | RandomSplit | NotebookSplit, Field(discriminator="name")
]
