"""The schema of every configuration.

The files under ``conf/`` give the values; the dataclasses here give their types and ranges, so a wrong key, type or
range is refused before any work starts. There are no defaults here: a value has one home, and that is its file.
"""

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticKnownError

from bloodcell.wording import PHOTOGRAPH

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

Fraction = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Rate = Annotated[float, Field(gt=0)]
Whole = int  # names that stay types where a setting is called int or float
Real = float
NonEmpty = Annotated[str, Field(min_length=1)]
MEASURED = ("majority", "colour_histogram", "morphology")
"""The backbones without a network, see `bloodcell.models.measured`."""
OnBadImage = Literal["error", "skip"]
GroupSource = Literal["known", "recover", "column", "pattern", "folder", "none"]
GIVEN = ("column", "pattern", "folder")
"""The choices of ``data.groups`` where the user gives the groups."""
OnSharedGroups = Literal["error", "drop", "allow"]
RareClasses = Literal["error", "train_only"]


def _one_of(names: Callable[[], Sequence[str]]) -> AfterValidator:
    """Allow names that are only known where they are registered, as `Literal` does those that are known here."""

    def check(value: str) -> str:
        known = [repr(name) for name in names()]
        if repr(value) not in known:
            raise PydanticKnownError("literal_error", {"expected": f"{', '.join(known[:-1])} or {known[-1]}"})
        return value

    return AfterValidator(check)


# What registers names imports OpenCV, pandas and SciPy, so only the jobs that need them wait for these.
def _crops() -> list[str]:
    from bloodcell.cells.crop import CROPS

    return ["none", *CROPS]


def _scores() -> list[str]:
    from bloodcell.evaluation.scores import SCORES

    return list(SCORES)


def _objectives() -> list[str]:
    return [f"val/{name}" for name in (*_scores(), "photograph_accuracy", "cohen_kappa", "ece", "calibration_error")]


@dataclass(frozen=True, config=STRICT)
class ImagesConfig:
    """What all sources of images have in common."""

    on_bad_image: OnBadImage
    groups: GroupSource
    groups_file: NonEmpty | None
    groups_column: NonEmpty
    groups_pattern: NonEmpty | None
    group_name: NonEmpty | None
    photographs: Literal["recover", "column", "pattern", "groups"] | None
    photographs_column: NonEmpty
    photographs_pattern: NonEmpty | None
    on_shared_groups: OnSharedGroups
    rare_classes: RareClasses

    @property
    def finds_photographs(self) -> bool:
        """Whether photographs are found in the pixels."""
        return self.groups == "recover" or (self.groups in GIVEN and self.photographs_from == "recover")

    @property
    def photographs_from(self) -> Literal["recover", "column", "pattern", "groups"]:
        """What gives the photographs where groups are given."""
        return self.photographs or ("groups" if self.called == PHOTOGRAPH else "recover")

    @property
    def called(self) -> str:
        """What a group is called in output."""
        return self.group_name or ("group" if self.groups in GIVEN else PHOTOGRAPH)

    @field_validator("groups_file", "groups_pattern", "photographs_pattern")
    @classmethod
    def _goes_with_the_choice(cls, value: str | None, info: ValidationInfo) -> str | None:
        level = "photographs" if info.field_name == "photographs_pattern" else "groups"
        chosen = info.data.get(level)
        needed, meaning = {
            "groups_file": ("column", "a CSV with the columns path and data.groups_column"),
            "groups_pattern": ("pattern", "a regular expression whose first capture group is the group"),
            "photographs_pattern": ("pattern", "a regular expression whose first capture group is the photograph"),
        }[str(info.field_name)]
        if chosen == needed and value is None:
            raise ValueError(f"is needed by data.{level}={needed}: {meaning}")
        if chosen not in (needed, None) and value is not None:
            raise ValueError(f"goes with data.{level}={needed}, not with data.{level}={chosen}; leave one of them out")
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> "ImagesConfig":
        if self.groups == "known" and not isinstance(self, SmearsData):
            raise ValueError("data.groups=known: only data=smears knows its photographs; use data.groups=recover")
        if self.photographs == "column" and self.groups != "column":
            raise ValueError("data.photographs=column: reads data.groups_file; use data.groups=column, too")
        if self.photographs is not None and self.groups not in GIVEN:
            raise ValueError(
                f"data.photographs={self.photographs}: is for groups that are given (data.groups={', '.join(GIVEN)}), "
                f"not for data.groups={self.groups}; leave it out"
            )
        return self

    @field_validator("groups_pattern", "photographs_pattern")
    @classmethod
    def _captures_a_group(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            captures = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"is no regular expression ({error})") from error
        if not captures:
            raise ValueError("captures nothing; put the part that is the name in parentheses")
        return value


@dataclass(frozen=True, config=STRICT)
class FolderData(ImagesConfig):
    """Images in one folder per class, under a folder for training and perhaps one for testing."""

    source: Literal["folder"]
    train_dir: NonEmpty
    test_dir: NonEmpty | None
    test_fraction: Fraction
    test_seed: Seed
    val_dir: NonEmpty | None


@dataclass(frozen=True, config=STRICT)
class BccdData(ImagesConfig):
    """The Kaggle "Blood Cell Images" set as it is unpacked: ``TRAIN/<class>`` and ``TEST/<class>`` under a root."""

    source: Literal["bccd"]
    root: NonEmpty


@dataclass(frozen=True, config=STRICT)
class SmearsData(ImagesConfig):
    """Blood smears that we render: which photograph each image is a copy of is known."""

    source: Literal["smears"]
    train_photographs: Annotated[int, Field(ge=20)]
    test_photographs: Annotated[int, Field(ge=20)]
    copies: Annotated[int, Field(ge=2)]
    slides: Annotated[int, Field(ge=2, le=1000)]
    seed: Annotated[int, Field(ge=0, lt=100)]  # others have slides that our own weights were trained on


DataConfig = Annotated[SmearsData | FolderData | BccdData, Field(discriminator="source")]


@dataclass(frozen=True, config=STRICT)
class GroupHoldoutSplit:
    """Validation is a random fraction of each class's groups, whole."""

    name: Literal["group_holdout"]
    fraction: Fraction
    seed: Seed


@dataclass(frozen=True, config=STRICT)
class GroupKfoldSplit:
    """Cross-validation: every group is validated on once in each repeat, by a model of its own fold."""

    name: Literal["group_kfold"]
    folds: Annotated[int, Field(ge=2)]
    repeats: PositiveInt
    refit: bool
    seed: Seed


@dataclass(frozen=True, config=STRICT)
class RandomSplit:
    """Validation is a random fraction of each class's training images."""

    name: Literal["random"]
    fraction: Fraction
    seed: Seed


@dataclass(frozen=True, config=STRICT)
class NotebookSplit:
    """Validation is the first fraction of each class's sorted file names."""

    name: Literal["notebook"]
    fraction: Fraction


SplitConfig = Annotated[GroupHoldoutSplit | GroupKfoldSplit | RandomSplit | NotebookSplit, Field(discriminator="name")]


@dataclass(frozen=True, config=STRICT)
class BackboneConfig:
    """A class of ``keras.applications`` without its top; or what is measured, where there is no network."""

    name: NonEmpty
    input_size: Annotated[int, Field(ge=16, le=2048)]
    weights: NonEmpty | None
    interpolation: Literal["nearest", "bilinear", "bicubic"]
    taps: tuple[NonEmpty, ...]


@dataclass(frozen=True, config=STRICT)
class CropConfig:
    """What of an image a model looks at."""

    name: Annotated[str, _one_of(_crops)]


@dataclass(frozen=True, config=STRICT)
class StoredFeatures:
    """What is frozen in a stage is computed once for every image and view, and kept."""

    name: Literal["stored"]
    views: PositiveInt
    engine: Literal["auto", "tensorflow", "openvino"]
    dtype: Literal["float32", "float16"]
    dir: NonEmpty | None
    max_gigabytes: Annotated[float, Field(gt=0)]


@dataclass(frozen=True, config=STRICT)
class OnTheFly:
    """Every epoch pushes every image through the whole model."""

    name: Literal["on_the_fly"]


FeaturesConfig = Annotated[StoredFeatures | OnTheFly, Field(discriminator="name")]


@dataclass(frozen=True, config=STRICT)
class HeadConfig:
    """What is trained on top of the backbone."""

    pooling: Literal["average", "max", "both", "cell"]
    beside: tuple[Literal["colour_histogram", "morphology"], ...]
    standardise: bool
    hidden_units: tuple[PositiveInt, ...]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    l2: Annotated[float, Field(ge=0)]
    solver: Literal["gradient", "lbfgs"]

    @model_validator(mode="after")
    def _can_be_solved(self) -> "HeadConfig":
        if self.solver == "lbfgs" and self.hidden_units:
            raise ValueError(
                f"head.hidden_units={list(self.hidden_units)}: only a linear head can be solved; leave "
                "them out, or head.solver=gradient"
            )
        if self.solver == "lbfgs" and self.dropout:
            raise ValueError(
                f"head.dropout={self.dropout:g}: nothing is dropped where a head is solved; use "
                "head.dropout=0 and head.l2, or head.solver=gradient"
            )
        return self


@dataclass(frozen=True, config=STRICT)
class EarlyStoppingConfig:
    """When a stage ends before its last epoch; ``patience: null`` never does."""

    monitor: Literal["val_loss", "val_accuracy"]
    counts: Literal["images", "photographs"]
    patience: Annotated[int, Field(ge=1)] | None
    restore_best: bool


@dataclass(frozen=True, config=STRICT)
class HyperparametersConfig:
    """How the head is trained, and what later stages take over unless they say otherwise."""

    optimizer: Literal["adam", "adamw", "sgd"]
    learning_rate: Rate
    schedule: Literal["constant", "cosine"]
    warmup: Share
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    batch_size: PositiveInt
    epochs: PositiveInt
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    class_weights: Literal["none", "balanced"]
    sampling: Literal["images", "photographs"]
    mixup: Annotated[float, Field(ge=0)]
    cutmix: Annotated[float, Field(ge=0)]
    weight_averaging: Annotated[float, Field(ge=0, lt=1)]
    early_stopping: EarlyStoppingConfig
    mixed_precision: bool
    seed: Seed


@dataclass(frozen=True, config=STRICT)
class AugmentationConfig:
    """Random changes of a training image; zeros change nothing."""

    horizontal_flip: bool
    vertical_flip: bool
    rotation: Annotated[float, Field(ge=0, le=180)]
    shift: Annotated[float, Field(ge=0, lt=1)]
    zoom: Annotated[float, Field(ge=0, lt=1)]
    brightness: Annotated[float, Field(ge=0, lt=1)]
    contrast: Annotated[float, Field(ge=0, lt=1)]
    hue: Annotated[float, Field(ge=0, le=0.5)]
    fill: Literal["constant", "reflect", "nearest"]


@dataclass(frozen=True, config=STRICT)
class StageConfig:
    """One stage of fine-tuning: what is unfrozen, for how long, at which learning rate.

    Exactly one of ``layer``, ``block`` and ``fraction`` says from where on the backbone is trained.
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


@dataclass(frozen=True, config=STRICT)
class FrozenPlan:
    """The backbone stays frozen."""

    name: Literal["none"]


@dataclass(frozen=True, config=STRICT)
class StagedPlan:
    """After the head, the stages that are listed, one after the other."""

    name: Literal["staged"]
    stages: Annotated[tuple[StageConfig, ...], Field(min_length=1)]


@dataclass(frozen=True, config=STRICT)
class GradualPlan:
    """After the head, the top blocks one by one, each stage unfreezing one more."""

    name: Literal["gradual"]
    blocks: PositiveInt
    epochs: PositiveInt
    learning_rate: Rate
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)]
    batch_norm: Literal["inference", "train"]


@dataclass(frozen=True, config=STRICT)
class TopPlan:
    """After the head, the top block, where there is a network and the head is trained in epochs."""

    name: Literal["top"]
    epochs: PositiveInt
    learning_rate: Rate
    batch_norm: Literal["inference", "train"]


FinetuneConfig = Annotated[FrozenPlan | TopPlan | StagedPlan | GradualPlan, Field(discriminator="name")]


@dataclass(frozen=True, config=STRICT)
class TrackingConfig:
    """Where MLflow keeps the runs."""

    store: Literal["local", "server"]
    dir: NonEmpty
    uri: NonEmpty | None
    experiment_name: NonEmpty
    run_name: NonEmpty | None
    parent_run: NonEmpty | None
    run_id: NonEmpty | None
    sweep_job: Annotated[int, Field(ge=0)] | None


@dataclass(frozen=True, config=STRICT)
class DebugConfig:
    """Ways to make a run small; all null is a real run."""

    limit_per_class: Annotated[int, Field(ge=2)] | None
    overfit_images: PositiveInt | None
    finetune_epochs: PositiveInt | None
    steps_per_epoch: PositiveInt | None


@dataclass(frozen=True, config=STRICT)
class TrainConfig:
    """The configuration of ``bloodcell train``."""

    data: DataConfig
    split: SplitConfig
    crop: CropConfig
    backbone: BackboneConfig
    head: HeadConfig
    hyperparameters: HyperparametersConfig
    augmentation: AugmentationConfig
    finetune: FinetuneConfig
    features: FeaturesConfig
    tracking: TrackingConfig
    debug: DebugConfig
    views_at_test: Literal["none", "flips", "flips_and_rotations"]
    evaluate_test: bool
    log_model: bool
    baselines: tuple[Literal["majority", "colour_histogram", "morphology"], ...]
    ensemble: Literal["none", "soft", "weighted", "greedy", "stacking"]
    explain: Literal["none", "single", "every"]

    @property
    def stays_frozen(self) -> bool:
        """Whether the backbone stays as it is, by its plan or because the plan finds nothing to tune."""
        if isinstance(self.finetune, TopPlan):
            return self.backbone.name in MEASURED or self.head.solver == "lbfgs"
        return isinstance(self.finetune, FrozenPlan)

    @model_validator(mode="after")
    def _folds_are_of_training_images(self) -> "TrainConfig":
        if isinstance(self.split, GroupKfoldSplit):
            if isinstance(self.data, FolderData) and self.data.val_dir is not None:
                raise ValueError(
                    f"data.val_dir={self.data.val_dir}: leaves no folds to make; leave it out, or split=group_kfold"
                )
            if self.debug.overfit_images is not None:
                raise ValueError(
                    f"debug.overfit_images={self.debug.overfit_images}: validates on the training images, so there "
                    "are no folds to make; leave it out, or split=group_kfold"
                )
        return self

    @model_validator(mode="after")
    def _has_predictions_to_combine(self) -> "TrainConfig":
        if self.ensemble not in ("none", "soft") and not isinstance(self.split, GroupKfoldSplit):
            raise ValueError(
                f"ensemble={self.ensemble}: is fitted to out-of-fold predictions, of which split={self.split.name} "
                "has none; use split=group_kfold, or ensemble=soft"
            )
        return self

    @model_validator(mode="after")
    def _has_pixels_to_cut(self) -> "TrainConfig":
        if self.hyperparameters.cutmix and self.features.name != "on_the_fly":
            raise ValueError(
                f"hyperparameters.cutmix={self.hyperparameters.cutmix:g}: stored features have no pixels to cut; use "
                "features=on_the_fly, or hyperparameters.mixup"
            )
        return self

    @model_validator(mode="after")
    def _can_be_solved(self) -> "TrainConfig":
        if self.head.solver != "lbfgs":
            return self
        smoothing = self.hyperparameters.label_smoothing
        if smoothing:
            raise ValueError(
                f"hyperparameters.label_smoothing={smoothing:g}: a head is solved for the labels as they are; use 0 "
                "and head.l2, or head.solver=gradient"
            )
        if self.stays_frozen:
            for name in ("mixup", "cutmix", "weight_averaging", "weight_decay"):
                if value := getattr(self.hyperparameters, name):
                    raise ValueError(
                        f"hyperparameters.{name}={value:g}: is of training in epochs, which a head that is "
                        "solved has none of; use 0 and head.l2, or head.solver=gradient"
                    )
        return self

    @model_validator(mode="after")
    def _fits_the_backbone(self) -> "TrainConfig":
        if self.backbone.name not in MEASURED:
            return self
        if self.hyperparameters.cutmix:
            raise ValueError(
                f"hyperparameters.cutmix: backbone={self.backbone.name} is given no pixels to cut; leave it out"
            )
        if not self.stays_frozen:
            raise ValueError(
                f"finetune={self.finetune.name}: backbone={self.backbone.name} has no network to tune; leave it out"
            )
        return self


@dataclass(frozen=True, config=STRICT)
class SpaceEntry:
    """The values of one setting that a search chooses from: exactly one of ``choice``, ``int`` and ``float``."""

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
            raise ValueError(f"its range [{ranges[0][0]}, {ranges[0][1]}] is empty; give the lower end first")
        if ranges and self.log and ranges[0][0] <= 0:
            raise ValueError("log: true needs a range above zero")
        if self.log and self.step is not None and self.step <= 1:
            raise ValueError("with log: true each step multiplies by step, which must be above 1")
        if self.int is not None and self.step is not None and self.step % 1:
            raise ValueError(f"step: {self.step:g} is no whole number, as the steps of int must be")
        return self


@dataclass(frozen=True, config=STRICT)
class TunerConfig:
    """What all searches have in common."""

    name: Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
    dir: NonEmpty
    overwrite: bool
    objective: Annotated[str, _one_of(_objectives)]
    max_failures: PositiveInt
    workers: PositiveInt
    final: bool
    final_test: bool
    seed: Seed
    space: Annotated[dict[str, SpaceEntry], Field(min_length=1)]


@dataclass(frozen=True, config=STRICT)
class RandomTuner(TunerConfig):
    """Values at random."""

    strategy: Literal["random"]
    max_trials: PositiveInt


@dataclass(frozen=True, config=STRICT)
class BayesianTuner(TunerConfig):
    """Values where a Gaussian process expects the most."""

    strategy: Literal["bayesian"]
    max_trials: PositiveInt


@dataclass(frozen=True, config=STRICT)
class HyperbandTuner(TunerConfig):
    """Many configurations for few epochs, the best for more."""

    strategy: Literal["hyperband"]
    max_epochs: Annotated[int, Field(ge=3)]
    factor: Annotated[int, Field(ge=2)]
    iterations: PositiveInt


@dataclass(frozen=True, config=STRICT)
class GridTuner(TunerConfig):
    """Every combination."""

    strategy: Literal["grid"]
    max_trials: PositiveInt | None


AnyTuner = Annotated[RandomTuner | BayesianTuner | HyperbandTuner | GridTuner, Field(discriminator="strategy")]


@dataclass(frozen=True, config=STRICT)
class SearchConfig(TrainConfig):
    """The configuration of ``bloodcell search``: that of its trials, and how they are chosen."""

    tuner: AnyTuner

    @model_validator(mode="after")
    def _is_sound(self) -> "SearchConfig":
        if self.evaluate_test:
            raise ValueError("evaluate_test=true: a search looks at validation only; use tuner.final_test=true")
        if self.ensemble != "none":
            raise ValueError(f"ensemble={self.ensemble}: a search's trials are not combined; leave it out")
        space = self.tuner.space
        for key, entry in space.items():
            for other, values in entry.when.items():
                known = space[other].choice if other in space else None
                if known is None or other == key or list(space).index(other) > list(space).index(key):
                    raise ValueError(f"tuner.space: {key} depends on {other}, which is no choice above it")
                if missing := [value for value in values if value not in known]:
                    raise ValueError(
                        f"tuner.space: {key} depends on {other}={missing[0]}, which is not among its choices"
                    )
            if isinstance(self.tuner, HyperbandTuner) and key == "hyperparameters.epochs":
                raise ValueError(f"tuner.space: {key} is what hyperband itself decides; leave it out")
        return self


@dataclass(frozen=True, config=STRICT)
class UiConfig:
    """The configuration of ``bloodcell ui``."""

    tracking: TrackingConfig
    host: NonEmpty
    port: Annotated[int, Field(gt=0, lt=65536)]


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
        if (self.run is None) == (self.model is None):
            raise ValueError("give exactly one of run=ID and model=ADDRESS")
        return self


@dataclass(frozen=True, config=STRICT)
class GreedyConfig:
    """Choosing members one by one, with replacement."""

    rounds: PositiveInt
    bags: PositiveInt


@dataclass(frozen=True, config=STRICT)
class StackingConfig:
    """A logistic regression on top of the members."""

    l2: Annotated[float, Field(gt=0)]


@dataclass(frozen=True, config=STRICT)
class EnsembleConfig:
    """The configuration of ``bloodcell ensemble``."""

    runs: tuple[NonEmpty, ...]
    study: NonEmpty | None
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
            said = "both are" if self.runs else "none is"
            raise ValueError(f"runs and study: {said} given; give runs=[ID,ID] or study=ID")
        return self


@dataclass(frozen=True, config=STRICT)
class CompareConfig:
    """The configuration of ``bloodcell compare``."""

    study: NonEmpty | None
    experiment: NonEmpty | None
    runs: tuple[NonEmpty, ...]
    metrics: Annotated[tuple[Annotated[str, _one_of(_scores)], ...], Field(min_length=1)]
    predictions: Literal["val", "test"] | None
    equivalence: Annotated[float, Field(ge=0)]
    n_resamples: PositiveInt
    pool_seeds: bool
    output: NonEmpty | None
    seed: Seed
    tracking: TrackingConfig

    @model_validator(mode="after")
    def _names_its_runs_once(self) -> "CompareConfig":
        given = [name for name in ("study", "experiment", "runs") if getattr(self, name)]
        if len(given) != 1:
            said = " and ".join(given) + " are" if given else "none is"
            raise ValueError(
                f"study, experiment and runs: {said} given; give study=ID, experiment=NAME or runs=[ID,ID]"
            )
        return self


@dataclass(frozen=True, config=STRICT)
class RegisterConfig:
    """The configuration of ``bloodcell register``."""

    run: NonEmpty
    name: NonEmpty
    alias: NonEmpty
    tracking: TrackingConfig

    @field_validator("alias")
    @classmethod
    def _is_an_alias(cls, alias: str) -> str:
        # MLflow refuses these, too, but only when it has made the version.
        if not re.fullmatch(r"[\w-]+", alias, flags=re.ASCII):
            raise ValueError("may have letters, digits, _ and - only")
        if alias.lower() == "latest" or re.fullmatch(r"[vV]\d+", alias):
            raise ValueError("is what MLflow calls versions by; take another")
        return alias


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
    look_at: PositiveInt

    @field_validator("output")
    @classmethod
    def _is_found_by_hydra(cls, output: str) -> str:
        if not re.search(r"(^|/)data/[\w-]+\.yaml$", output, flags=re.ASCII):
            raise ValueError("must be DIR/data/NAME.yaml, as it is used with -cd DIR data=NAME; no dots or blanks")
        return output


SCHEMAS: dict[str, type] = {
    "audit": AuditConfig,
    "cache": CacheConfig,
    "compare": CompareConfig,
    "demo": DemoConfig,
    "data_fetch": DataFetchConfig,
    "ensemble": EnsembleConfig,
    "groups": GroupsConfig,
    "init": InitConfig,
    "predict": PredictConfig,
    "register": RegisterConfig,
    "search": SearchConfig,
    "train": TrainConfig,
    "ui": UiConfig,
}
