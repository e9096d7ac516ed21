"""Settings of a training, and the whole configuration of ``bloodcell train``."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from bloodcell.config.data import DataConfig, FolderData, SmearsData
from bloodcell.config.finetune import FinetuneConfig, FrozenPlan, TopPlan
from bloodcell.config.model import BackboneConfig, CropConfig, HeadConfig, feature_sets
from bloodcell.config.split import CrossValidation, GroupHoldoutSplit, SplitConfig
from bloodcell.config.tracking import TrackingConfig
from bloodcell.config.value_types import STRICT, NonEmpty, PositiveInt, Rate, Seed, Share, one_of


@dataclass(frozen=True, kw_only=True, config=STRICT)
class StoredFeatures:
    """Compute the frozen layers of a stage once for each image and view, and cache the result."""

    name: Literal["stored"] = "stored"
    views: PositiveInt = 4
    engine: Literal["auto", "tensorflow", "openvino"] = "auto"
    dtype: Literal["float32", "float16"] = "float32"
    dir: NonEmpty | None = None
    max_gigabytes: Annotated[float, Field(gt=0)] = 20


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OnTheFly:
    """Compute every image through the whole model in every epoch."""

    name: Literal["on_the_fly"] = "on_the_fly"


FeaturesConfig = Annotated[StoredFeatures | OnTheFly, Field(discriminator="name")]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EarlyStoppingConfig:
    """When a stage ends before its last epoch; with ``patience: null`` it never does."""

    monitor: Literal["val_loss", "val_accuracy"] = "val_loss"
    counts: Literal["images", "photographs"] = "images"
    patience: Annotated[int, Field(ge=1)] | None = 5
    restore_best: bool = True


@dataclass(frozen=True, kw_only=True, config=STRICT)
class HyperparametersConfig:
    """How the head is trained; later stages use the same, except for their own settings."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: Rate = 1e-3
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: Share = 0.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    batch_size: PositiveInt = 32
    epochs: PositiveInt = 15
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    sampling: Literal["images", "photographs"] = "images"
    mixup: Annotated[float, Field(ge=0)] = 0.0
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    weight_averaging: Annotated[float, Field(ge=0, lt=1)] = 0.0
    early_stopping: EarlyStoppingConfig = EarlyStoppingConfig()
    mixed_precision: bool = False
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AugmentationConfig:
    """Random changes of a training image; 0 is no change."""

    horizontal_flip: bool = True
    vertical_flip: bool = True
    rotation: Annotated[float, Field(ge=0, le=180)] = 180
    shift: Annotated[float, Field(ge=0, lt=1)] = 0.1
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.1
    brightness: Annotated[float, Field(ge=0, lt=1)] = 0.1
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.1
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    fill: Literal["constant", "reflect", "nearest"] = "reflect"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DebugConfig:
    """Limits that make a run small; all null is a real run."""

    limit_per_class: Annotated[int, Field(ge=2)] | None = None
    overfit_images: PositiveInt | None = None
    finetune_epochs: PositiveInt | None = None
    steps_per_epoch: PositiveInt | None = None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainConfig:
    """The configuration of ``bloodcell train``."""

    data: DataConfig = SmearsData()
    split: SplitConfig = GroupHoldoutSplit()
    crop: CropConfig = CropConfig()
    backbone: BackboneConfig = BackboneConfig()
    head: HeadConfig = HeadConfig()
    hyperparameters: HyperparametersConfig = HyperparametersConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    finetune: FinetuneConfig = TopPlan()
    features: FeaturesConfig = StoredFeatures()
    tracking: TrackingConfig = TrackingConfig()
    debug: DebugConfig = DebugConfig()
    views_at_test: Literal["none", "flips", "flips_and_rotations"] = "none"
    evaluate_test: bool = True
    log_model: bool = True
    baselines: tuple[Annotated[str, one_of(feature_sets)], ...] = ("majority", "colour_histogram", "morphology")
    ensemble: Literal["none", "soft", "weighted", "greedy", "stacking"] = "none"
    explain: Literal["none", "single", "every"] = "single"
    resume: bool | NonEmpty = False

    @property
    def stays_frozen(self) -> bool:
        """Whether the backbone is not trained."""
        if isinstance(self.finetune, TopPlan):
            return not self.backbone.is_network or self.head.is_solved
        return isinstance(self.finetune, FrozenPlan)

    @property
    def stops_by_validation(self) -> bool:
        """Whether validation chooses the number of epochs."""
        stopping = self.hyperparameters.early_stopping
        solved = self.head.is_solved and self.stays_frozen
        return not solved and (stopping.restore_best or stopping.patience is not None)

    @model_validator(mode="after")
    def _folds_are_of_training_images(self) -> "TrainConfig":
        name, few = self.split.name, self.debug.overfit_images
        if name == "group_kfold" and isinstance(self.data, FolderData) and self.data.val_dir is not None:
            raise ValueError(
                f"data.val_dir={self.data.val_dir}: split=group_kfold makes its own validation sets; remove one of them"
            )
        if isinstance(self.split, CrossValidation) and few is not None:
            raise ValueError(
                f"debug.overfit_images={few}: validates on the training images, and split={name} never does; remove "
                "one of them"
            )
        return self

    @model_validator(mode="after")
    def _has_predictions_to_combine(self) -> "TrainConfig":
        if self.ensemble not in ("none", "soft") and not isinstance(self.split, CrossValidation):
            raise ValueError(
                f"ensemble={self.ensemble}: is fitted to out-of-fold predictions, and split={self.split.name} has "
                "none; use split=group_kfold or ensemble=soft"
            )
        return self

    @model_validator(mode="after")
    def _has_pixels_to_cut(self) -> "TrainConfig":
        if self.hyperparameters.cutmix and self.features.name != "on_the_fly":
            raise ValueError(
                f"hyperparameters.cutmix={self.hyperparameters.cutmix:g}: needs pixels, and stored features have none; "
                "use features=on_the_fly or hyperparameters.mixup"
            )
        return self

    @model_validator(mode="after")
    def _can_be_solved(self) -> "TrainConfig":
        solver = self.head.solver
        if not self.head.is_solved:
            return self
        smoothing = self.hyperparameters.label_smoothing
        if smoothing:
            raise ValueError(
                f"hyperparameters.label_smoothing={smoothing:g}: head.solver={solver} does not support it; use 0 and "
                "head.l2, or head.solver=gradient"
            )
        if self.stays_frozen:
            for name in ("mixup", "cutmix", "weight_averaging", "weight_decay"):
                if value := getattr(self.hyperparameters, name):
                    raise ValueError(
                        f"hyperparameters.{name}={value:g}: is only for training in epochs, and head.solver={solver} "
                        "has none; use 0 and head.l2, or head.solver=gradient"
                    )
        return self

    @model_validator(mode="after")
    def _fits_the_backbone(self) -> "TrainConfig":
        if self.backbone.is_network:
            return self
        if self.hyperparameters.cutmix:
            raise ValueError(
                f"hyperparameters.cutmix: needs pixels, and backbone={self.backbone.name} gets none; remove it"
            )
        if not self.stays_frozen:
            raise ValueError(
                f"finetune={self.finetune.name}: backbone={self.backbone.name} has no network to fine-tune; remove it"
            )
        return self
