"""The configuration of every job: names, types and ranges of its settings."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from bloodcell.config.data import DataConfig, Folders
from bloodcell.config.model import BackboneConfig, CropConfig
from bloodcell.config.search import SearchConfig
from bloodcell.config.tracking import TrackingConfig
from bloodcell.config.training import FeaturesConfig, TrainConfig
from bloodcell.config.value_types import STRICT, Fraction, NonEmpty, PositiveInt, Seed, one_of


# Imported when needed: the modules that register names import SciPy.
def _scores() -> list[str]:
    from bloodcell.evaluation.scores import SCORES

    return list(SCORES)


def _require_one_model(run: str | None, model: str | None) -> None:
    if (run is None) == (model is None):
        raise ValueError("give exactly one of run=ID and model=ADDRESS")


@dataclass(frozen=True, config=STRICT)
class UiConfig:
    """The configuration of ``bloodcell ui``."""

    tracking: TrackingConfig
    host: NonEmpty
    port: Annotated[int, Field(gt=0, lt=65536)]


@dataclass(frozen=True, config=STRICT)
class DoctorConfig:
    """The configuration of ``bloodcell doctor``."""

    tracking: TrackingConfig
    folder: NonEmpty
    repair: bool


@dataclass(frozen=True, config=STRICT)
class SyncConfig:
    """The configuration of ``bloodcell sync``."""

    folder: NonEmpty
    uri: NonEmpty | None
    again: bool
    wait_seconds: Annotated[float, Field(ge=0)]


@dataclass(frozen=True, config=STRICT)
class DemoConfig:
    """The configuration of ``bloodcell demo``."""

    tracking: TrackingConfig
    backbones: Annotated[tuple[NonEmpty, ...], Field(min_length=1)]
    photographs: Annotated[int, Field(ge=20)]
    copies: Annotated[int, Field(ge=2)]
    folds: Annotated[int, Field(ge=2)]
    open: bool


@dataclass(frozen=True, config=STRICT)
class GroupsConfig:
    """The configuration of ``bloodcell groups``."""

    data: DataConfig
    output: NonEmpty


@dataclass(frozen=True, config=STRICT)
class AuditConfig:
    """The configuration of ``bloodcell audit``."""

    data: DataConfig
    fail_on: Literal["never", "error", "warning"]
    output: NonEmpty | None
    n_permutations: Annotated[int, Field(ge=999)]
    seed: Seed
    tracking: TrackingConfig


@dataclass(frozen=True, config=STRICT)
class ScreenConfig:
    """The configuration of ``bloodcell screen``."""

    data: DataConfig
    crop: CropConfig
    backbone: BackboneConfig
    features: FeaturesConfig
    other_backbones: tuple[NonEmpty, ...]
    poolings: Annotated[tuple[Literal["average", "max", "both"], ...], Field(min_length=1)]
    method: Literal["ridge", "lda"]
    permutations: Annotated[int, Field(ge=0)]
    influence: bool
    output: NonEmpty | None
    seed: Seed


@dataclass(frozen=True, config=STRICT)
class PredictConfig:
    """The configuration of ``bloodcell predict``."""

    images: NonEmpty | Annotated[tuple[NonEmpty, ...], Field(min_length=1)]
    run: NonEmpty | None
    model: NonEmpty | None
    max_error: Fraction | None
    output: Annotated[str, Field(pattern=r"\.(csv|parquet)$")] | None
    explain: bool
    tracking: TrackingConfig

    @model_validator(mode="after")
    def _names_one_model(self) -> "PredictConfig":
        _require_one_model(self.run, self.model)
        return self


@dataclass(frozen=True, config=STRICT)
class ExportConfig:
    """The configuration of ``bloodcell export``."""

    run: NonEmpty | None
    model: NonEmpty | None
    format: Literal["onnx", "openvino", "tflite", "keras"]
    images: NonEmpty | Annotated[tuple[NonEmpty, ...], Field(min_length=1)] | None
    n_images: PositiveInt
    tolerance: Fraction
    output: NonEmpty | None
    tracking: TrackingConfig

    @model_validator(mode="after")
    def _names_one_model(self) -> "ExportConfig":
        _require_one_model(self.run, self.model)
        return self


@dataclass(frozen=True, config=STRICT)
class GreedyConfig:
    """Greedy selection of members, with replacement."""

    rounds: PositiveInt
    bags: PositiveInt


@dataclass(frozen=True, config=STRICT)
class StackingConfig:
    """A logistic regression on the members' predictions."""

    l2: Annotated[float, Field(gt=0)]


@dataclass(frozen=True, config=STRICT)
class EnsembleConfig:
    """The configuration of ``bloodcell ensemble``."""

    runs: tuple[NonEmpty, ...]
    study: NonEmpty | None
    columns: dict[str, NonEmpty] | None
    classes: tuple[NonEmpty, ...]
    groups_file: NonEmpty | None
    method: Literal["soft", "weighted", "greedy", "stacking"]
    greedy: GreedyConfig
    stacking: StackingConfig
    folds: Annotated[int, Field(ge=2)]
    seed: Seed
    evaluate_test: bool
    log_model: bool
    tracking: TrackingConfig

    @model_validator(mode="after")
    def _names_its_members_once(self) -> "EnsembleConfig":
        if bool(self.runs) == (self.study is not None):
            raise ValueError("runs and study: give exactly one, runs=[ID,ID] or study=ID")
        return self


@dataclass(frozen=True, config=STRICT)
class CompareConfig:
    """The configuration of ``bloodcell compare``."""

    study: NonEmpty | None
    experiment: NonEmpty | None
    runs: tuple[NonEmpty, ...]
    columns: dict[str, NonEmpty] | None
    classes: tuple[NonEmpty, ...]
    groups_file: NonEmpty | None
    metrics: Annotated[tuple[Annotated[str, one_of(_scores)], ...], Field(min_length=1)]
    predictions: Literal["val", "test"] | None
    equivalence: Annotated[float, Field(ge=0)]
    n_resamples: PositiveInt
    pool_seeds: bool
    output: NonEmpty | None
    seed: Seed
    tracking: TrackingConfig

    @model_validator(mode="after")
    def _names_its_runs_once(self) -> "CompareConfig":
        if sum(map(bool, (self.study, self.experiment, self.runs))) != 1:
            raise ValueError("study, experiment and runs: give exactly one, study=ID, experiment=NAME or runs=[ID,ID]")
        return self


@dataclass(frozen=True, config=STRICT)
class GateConfig:
    """The configuration of ``bloodcell gate``."""

    ledger: NonEmpty
    incumbent: NonEmpty | Annotated[tuple[NonEmpty, ...], Field(min_length=1)] | None
    candidate: NonEmpty | Annotated[tuple[NonEmpty, ...], Field(min_length=1)] | None
    study: NonEmpty | None
    predictions: Literal["val", "test"] | None
    metric: Annotated[str, one_of(_scores)]
    alpha: Fraction
    max_trainings: PositiveInt
    expected: PositiveInt
    test_budget: Annotated[int, Field(ge=0)]
    columns: dict[str, NonEmpty] | None
    classes: tuple[NonEmpty, ...]
    groups_file: NonEmpty | None
    tracking: TrackingConfig

    @model_validator(mode="after")
    def _names_two_models(self) -> "GateConfig":
        if (self.candidate is None) == (self.study is None):
            raise ValueError("candidate and study: give exactly one, candidate=ID or study=ID")
        if (self.incumbent is None) != (self.predictions == "test"):
            raise ValueError(
                "incumbent: give the model that the candidate may replace; with predictions=test give none, because "
                "the ledger knows the best so far"
            )
        return self


@dataclass(frozen=True, config=STRICT)
class ExploreConfig:
    """The configuration of ``bloodcell explore``."""

    runs: tuple[NonEmpty, ...]
    study: NonEmpty | None
    images: NonEmpty | None
    columns: dict[str, NonEmpty] | None
    classes: tuple[NonEmpty, ...]
    groups_file: NonEmpty | None
    output: NonEmpty
    export: Literal["fiftyone"] | None
    port: Annotated[int, Field(ge=0, lt=65536)]
    open: bool
    tracking: TrackingConfig

    @model_validator(mode="after")
    def _names_its_runs_once(self) -> "ExploreConfig":
        if bool(self.runs) == (self.study is not None):
            raise ValueError("runs and study: give exactly one, runs=[ID,other.csv] or study=ID")
        return self


@dataclass(frozen=True, config=STRICT)
class RegisterConfig:
    """The configuration of ``bloodcell register``."""

    run: NonEmpty
    name: NonEmpty
    alias: NonEmpty
    force: bool
    tracking: TrackingConfig

    @field_validator("alias")
    @classmethod
    def _is_an_alias(cls, alias: str) -> str:
        # MLflow also refuses these, but only after it has created the version.
        if not re.fullmatch(r"[\w-]+", alias, flags=re.ASCII):
            raise ValueError("must have only letters, digits, _ and -")
        if alias.lower() == "latest" or re.fullmatch(r"[vV]\d+", alias):
            raise ValueError("is reserved by MLflow for versions; use another")
        return alias


@dataclass(frozen=True, config=STRICT)
class PromoteConfig:
    """The configuration of ``bloodcell promote``."""

    model: NonEmpty
    candidate: NonEmpty | None
    to: PositiveInt | None
    reason: Annotated[str, Field(max_length=1000)] | None
    metrics: Annotated[tuple[Annotated[str, one_of(_scores)], ...], Field(min_length=1)]
    equivalence: Annotated[float, Field(ge=0)]
    n_resamples: PositiveInt
    seed: Seed
    force: bool
    output: NonEmpty | None
    tracking: TrackingConfig

    @field_validator("model")
    @classmethod
    def _is_a_name(cls, model: str) -> str:
        if re.search("[/:]", model):
            raise ValueError("must be the name of a registered model, without models:/ and without a version")
        return model

    @model_validator(mode="after")
    def _promotes_or_rolls_back(self) -> "PromoteConfig":
        if (self.candidate is None) == (self.to is None):
            raise ValueError("candidate and to: give exactly one, candidate=RUN_ID, or to=VERSION to roll back")
        if (self.to is not None) != bool(self.reason and self.reason.strip()):
            raise ValueError("reason: belongs to to=VERSION; give both, to=VERSION reason='...', or neither")
        return self


@dataclass(frozen=True, config=STRICT)
class ReportConfig:
    """The configuration of ``bloodcell report``."""

    run: NonEmpty | None
    study: NonEmpty | None
    checklist: Literal["claim", "tripod-ai"]
    answers: NonEmpty | None
    audit: NonEmpty | None
    output: NonEmpty | None
    tracking: TrackingConfig

    @model_validator(mode="after")
    def _names_one_run(self) -> "ReportConfig":
        if (self.run is None) == (self.study is None):
            raise ValueError("run and study: give exactly one, run=ID or study=ID")
        return self


@dataclass(frozen=True, config=STRICT)
class CacheConfig:
    """The configuration of ``bloodcell cache``."""

    dir: NonEmpty | None
    remove: tuple[NonEmpty, ...]
    unused_days: Annotated[float, Field(ge=0)] | None


@dataclass(frozen=True, config=STRICT)
class DataFetchConfig:
    """The configuration of ``bloodcell data fetch``."""

    root: NonEmpty | None
    dir: NonEmpty | None
    force: bool


@dataclass(frozen=True, config=STRICT)
class InitConfig:
    """The configuration of ``bloodcell init``."""

    folder: NonEmpty
    output: NonEmpty
    overwrite: bool
    max_images: PositiveInt
    folders: Folders | None

    @field_validator("output")
    @classmethod
    def _is_found_by_hydra(cls, output: str) -> str:
        if not re.search(r"(^|/)data/[\w-]+\.yaml$", output, flags=re.ASCII):
            raise ValueError(
                "must be DIR/data/NAME.yaml, for -cd DIR data=NAME; NAME has only letters, digits, _ and -"
            )
        return output


@dataclass(frozen=True, config=STRICT)
class LimitsConfig:
    """What a server accepts."""

    megabytes: Annotated[float, Field(gt=0, le=1000)]
    images: Annotated[int, Field(gt=0, le=10_000)]
    megapixels: Annotated[float, Field(gt=0, le=1000)]
    seconds: Annotated[float, Field(gt=0, le=3600)]
    waiting: Annotated[int, Field(gt=0, le=100)]


@dataclass(frozen=True, config=STRICT)
class ServeConfig:
    """The configuration of ``bloodcell serve``."""

    run: NonEmpty | None
    model: NonEmpty | None
    host: NonEmpty
    port: Annotated[int, Field(ge=0, lt=65536)]
    hosts: tuple[NonEmpty, ...]
    limits: LimitsConfig
    tracking: TrackingConfig

    @model_validator(mode="after")
    def _names_one_model(self) -> "ServeConfig":
        _require_one_model(self.run, self.model)
        return self


SCHEMAS: dict[str, type] = {
    "audit": AuditConfig,
    "cache": CacheConfig,
    "compare": CompareConfig,
    "demo": DemoConfig,
    "data_fetch": DataFetchConfig,
    "doctor": DoctorConfig,
    "ensemble": EnsembleConfig,
    "explore": ExploreConfig,
    "export": ExportConfig,
    "gate": GateConfig,
    "groups": GroupsConfig,
    "init": InitConfig,
    "predict": PredictConfig,
    "promote": PromoteConfig,
    "register": RegisterConfig,
    "report": ReportConfig,
    "screen": ScreenConfig,
    "search": SearchConfig,
    "serve": ServeConfig,
    "train": TrainConfig,
    "sync": SyncConfig,
    "ui": UiConfig,
}
