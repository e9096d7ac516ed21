"""Settings of a search, and the whole configuration of ``bloodcell search``."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from bloodcell.config.finetune import FinetuneConfig, FrozenPlan
from bloodcell.config.training import TrainConfig
from bloodcell.config.value_types import STRICT, NonEmpty, PositiveInt, Seed, one_of

Whole = int  # `SpaceEntry` has fields named int and float, which hide the types
Real = float


# Imported when needed: the modules that register names import SciPy.
def _objectives() -> list[str]:
    from bloodcell.evaluation.scores import SCORES

    return [f"val/{name}" for name in (*SCORES, "photograph_accuracy", "cohen_kappa", "ece", "calibration_error")]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SpaceEntry:
    """The values of one setting in a search: exactly one of ``choice``, ``int`` and ``float``."""

    choice: Annotated[tuple[Any, ...], Field(min_length=1)] | None = None
    int: tuple[Whole, Whole] | None = None
    float: tuple[Real, Real] | None = None
    step: Annotated[Real, Field(gt=0)] | None = None
    log: bool = False
    when: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_one_kind(self) -> "SpaceEntry":
        ranges = [ends for ends in (self.int, self.float) if ends is not None]
        if (self.choice is not None) + len(ranges) != 1:
            raise ValueError("give exactly one of choice, int and float")
        if ranges and not ranges[0][0] < ranges[0][1]:
            raise ValueError(f"the range [{ranges[0][0]}, {ranges[0][1]}] is empty; give the lower number first")
        if ranges and self.log and ranges[0][0] <= 0:
            raise ValueError("log: true needs a range above 0")
        if self.log and self.step is not None and self.step <= 1:
            raise ValueError("step must be above 1 with log: true, because it is a factor")
        if self.int is not None and self.step is not None and self.step % 1:
            raise ValueError(f"step: {self.step:g} must be a whole number for int")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TunerConfig:
    """Settings that every search has."""

    name: Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
    dir: NonEmpty = "searches"
    overwrite: bool = False
    objective: Annotated[str, one_of(_objectives)] = "val/accuracy"
    max_failures: PositiveInt = 3
    workers: PositiveInt = 1
    at_once: PositiveInt = 8
    final: bool = True
    final_test: bool = False
    seed: Seed = 0
    space: Annotated[dict[str, SpaceEntry], Field(min_length=1)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RandomTuner(TunerConfig):
    """Random values."""

    strategy: Literal["random"] = "random"
    max_trials: PositiveInt = 20


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BayesianTuner(TunerConfig):
    """Values for which a Gaussian process expects the best."""

    strategy: Literal["bayesian"] = "bayesian"
    max_trials: PositiveInt = 20
    at_once: PositiveInt = 4


@dataclass(frozen=True, kw_only=True, config=STRICT)
class HyperbandTuner(TunerConfig):
    """Many configurations for few epochs, the best for more."""

    strategy: Literal["hyperband"] = "hyperband"
    max_epochs: Annotated[int, Field(ge=3)] = 27
    factor: Annotated[int, Field(ge=2)] = 3
    iterations: PositiveInt = 1


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GridTuner(TunerConfig):
    """Every combination."""

    strategy: Literal["grid"] = "grid"
    max_trials: PositiveInt | None = None


AnyTuner = Annotated[RandomTuner | BayesianTuner | HyperbandTuner | GridTuner, Field(discriminator="strategy")]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SearchConfig(TrainConfig):
    """The configuration of ``bloodcell search``: that of a trial, and the search."""

    finetune: FinetuneConfig = FrozenPlan()
    evaluate_test: bool = False
    log_model: bool = False
    tuner: AnyTuner

    @model_validator(mode="after")
    def _is_sound(self) -> "SearchConfig":
        if self.evaluate_test:
            raise ValueError("evaluate_test=true: a search uses validation only; use tuner.final_test=true")
        if self.ensemble != "none":
            raise ValueError(f"ensemble={self.ensemble}: trials of a search are not combined; remove it")
        space = self.tuner.space
        for key, entry in space.items():
            for other, values in entry.when.items():
                known = space[other].choice if other in space else None
                if known is None or other == key or list(space).index(other) > list(space).index(key):
                    raise ValueError(f"tuner.space: {key} depends on {other}, which must be a choice above it")
                if missing := [value for value in values if value not in known]:
                    raise ValueError(
                        f"tuner.space: {key} depends on {other}={missing[0]}, which is not one of its choices"
                    )
            if isinstance(self.tuner, HyperbandTuner) and key == "hyperparameters.epochs":
                raise ValueError(f"tuner.space: {key} is set by hyperband; remove it")
        return self
