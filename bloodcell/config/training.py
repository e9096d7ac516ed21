"""Settings of a training, and the whole configuration of ``bloodcell train``."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from bloodcell.config.data import DataConfig, FolderData
from bloodcell.config.finetune import FinetuneConfig, FrozenPlan, TopPlan
from bloodcell.config.model import MEASURED, BackboneConfig, CropConfig, HeadConfig
from bloodcell.config.split import GroupKfoldSplit, SplitConfig
from bloodcell.config.tracking import TrackingConfig
from bloodcell.config.value_types import STRICT, NonEmpty, PositiveInt, Rate, Seed, Share


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

    @property
    def stops_by_validation(self) -> bool:
        """Whether validation chooses the number of epochs; a head that is solved has none."""
        stopping = self.hyperparameters.early_stopping
        solved = self.head.solver == "lbfgs" and self.stays_frozen
        return not solved and (stopping.restore_best or stopping.patience is not None)

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
