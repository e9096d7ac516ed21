"""Train one model on one split, evaluate it on validation and test, and keep everything in MLflow.

For example, with the Kaggle set as it is unpacked, another model and another plan, your own folders, and a sweep:

  bloodcell train data.root=~/blood-cells
  bloodcell train data.root=~/blood-cells backbone=xception finetune=staged hyperparameters.learning_rate=3e-4
  bloodcell train data=folder data.train_dir=cells/train data.test_dir=cells/test
  bloodcell train -m data.root=~/blood-cells backbone=mobilenetv2,xception hyperparameters.seed=0,1,2
"""

import logging
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from bloodcell.config import BccdData, DebugConfig, TrainConfig
from bloodcell.data.augmentation import Augmentation
from bloodcell.data.images import read_image
from bloodcell.data.manifest import ImageSet, digest, write_manifest
from bloodcell.data.pipeline import Samples, views
from bloodcell.evaluation.architecture import architecture
from bloodcell.evaluation.gallery import augmentation_samples
from bloodcell.evaluation.plots import learning_curves
from bloodcell.evaluation.predictions import predictions_table
from bloodcell.evaluation.report import save_figure
from bloodcell.jobs._images import may_leak, prepare_images, samples_of
from bloodcell.jobs._outcome import keep_outcome, measure, show_outcome, write_outcome
from bloodcell.models.backbones import build_backbone
from bloodcell.models.classifier import Classifier, build_classifier
from bloodcell.models.cost import measure_cost
from bloodcell.models.precision import precision
from bloodcell.models.summary import summarise
from bloodcell.tracking.environment import environment_tags
from bloodcell.tracking.run import TrackedRun, nested, parameters_of, readable, tracked_run
from bloodcell.tracking.store import find_store
from bloodcell.training.determinism import make_deterministic
from bloodcell.training.stages import Stage, plan_stages
from bloodcell.training.trainer import Trained, predict, train

log = logging.getLogger(__name__)

HELD_OUT = ("val", "test")
N_SAMPLES = 4
N_VIEWS = 5
EXAMPLE_SIDE = 64


def run(config: TrainConfig, *, output_dir: Path) -> float:
    """Train, evaluate and keep one model; return its accuracy on validation.

    Everything that a user can get wrong is found before the run starts, so a refused configuration leaves nothing.
    The run's folder is written first, MLflow second, so a lost store loses nothing.

    Raises
    ------
    UserError
        If the images, the weights or the store cannot be used.
    """
    find_store(config.tracking)  # a store that is not named is refused before anything is read
    images = prepare_images(config)
    settings = config.hyperparameters
    make_deterministic(settings.seed)
    keras.utils.disable_interactive_logging()
    classifier = _build(config, n_classes=len(images.classes))
    stages = plan_stages(
        classifier.backbone.application,
        finetune=config.finetune,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        max_finetune_epochs=config.debug.finetune_epochs,
    )
    augmentation = Augmentation(**asdict(config.augmentation))
    samples = {split: samples_of(images, split, config) for split in ("train", *HELD_OUT)}
    leaky = may_leak(config, images)
    artifacts = output_dir / "artifacts"

    with tracked_run(
        tracking=config.tracking,
        name=_name(config),
        tags=_tags(config, images, classifier) | {"leaky": str(leaky).lower(), "output_dir": str(output_dir)},
        folder=output_dir,
    ) as tracked:
        _write_inputs(config, images, artifacts)
        _draw_model(classifier, stages, artifacts)
        _draw_augmentation(images, samples["train"], augmentation, settings.seed, artifacts)
        _keep_inputs(tracked, config, images)
        started = time.perf_counter()
        trained = train(
            classifier,
            train_samples=samples["train"],
            val_samples=samples["val"],
            augmentation=augmentation,
            stages=stages,
            settings=settings,
            folder=output_dir / "checkpoints",
            steps_per_epoch=config.debug.steps_per_epoch,
            listeners=[tracked.log_epoch],
            label="" if config.tracking.sweep_job is None else f"{config.tracking.sweep_job}: ",
        )
        seconds = time.perf_counter() - started
        _draw_history(trained, config, artifacts)
        tables = {
            split: predictions_table(
                manifest=images.part(split),
                probabilities=predict(
                    classifier.core, samples[split], batch_size=settings.batch_size, description=f"predicting {split}"
                ),
                classes=images.classes,
            )
            for split in HELD_OUT
        }
        outcome = measure(tables, images=images, label_smoothing=settings.label_smoothing, leaky=leaky)
        write_outcome(outcome, images=images, folder=artifacts)
        keep_outcome(tracked, outcome, images=images)
        tracked.log_metrics(asdict(measure_cost(classifier.core)) | {"train_seconds": seconds}, prefix="cost")
        tracked.log_folder(artifacts)
        model_uri = _keep_model(tracked, classifier, images, samples["train"])
    if config.tracking.sweep_job is None:
        show_outcome(outcome, config=config, images=images, tracked=tracked, model_uri=model_uri)
    return outcome.metrics["val"]["accuracy"]


def _build(config: TrainConfig, *, n_classes: int) -> Classifier:
    with precision(mixed=config.hyperparameters.mixed_precision):
        backbone = build_backbone(
            name=config.backbone.name, input_size=config.backbone.input_size, weights=config.backbone.weights
        )
        return build_classifier(
            backbone=backbone,
            pooling=config.head.pooling,
            hidden_units=config.head.hidden_units,
            dropout=config.head.dropout,
            n_classes=n_classes,
            interpolation=config.backbone.interpolation,
        )


def _name(config: TrainConfig) -> str:
    """Name a run of a sweep after what is swept, any other after what it is, unless it was given a name."""
    if config.tracking.run_name is not None:
        return config.tracking.run_name if config.tracking.sweep_job is None else readable(config.tracking.run_name)
    plan = "frozen" if config.finetune.name == "none" else config.finetune.name
    return f"{config.backbone.name.lower()} {plan}, {config.split.name} split, seed {config.hyperparameters.seed}"


def _tags(config: TrainConfig, images: ImageSet, classifier: Classifier) -> dict[str, str]:
    return environment_tags() | {
        "data_digest": digest(images.manifest),
        "weights": classifier.backbone.weights,
        "weights_digest": classifier.backbone.digest,
        "seed": str(config.hyperparameters.seed),
        "debug": str(config.debug != DebugConfig(None, None, None, None)).lower(),
    }


def _write_inputs(config: TrainConfig, images: ImageSet, artifacts: Path) -> None:
    artifacts.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(nested(config), sort_keys=False, allow_unicode=True)
    (artifacts / "config.yaml").write_text(text, encoding="utf-8")
    write_manifest(images.manifest, artifacts / "manifest.parquet")
    if len(images.unreadable):
        images.unreadable.to_csv(artifacts / "unreadable_images.csv", index=False)
        log.warning("left out, cannot be read: %s", "; ".join(map(": ".join, images.unreadable.to_numpy())))
    if images.other_files:
        log.warning("left out, not images by their names: %s", ", ".join(images.other_files))


def _draw_model(classifier: Classifier, stages: list[Stage], artifacts: Path) -> None:
    boundaries = [stage.boundary for stage in stages if stage.boundary is not None]
    blocks = summarise(classifier, boundary=min(boundaries, default=None))
    save_figure(architecture(blocks, title=f"{classifier.backbone.name} and its head"), artifacts, "architecture")


def _draw_augmentation(
    images: ImageSet, samples: Samples, augmentation: Augmentation, seed: int, artifacts: Path
) -> None:
    """Draw an image of each of some classes, as it is and as it is trained on."""
    n_views = N_VIEWS if augmentation.changes else 0
    chosen = [int(np.flatnonzero(samples.labels == label)[0]) for label in np.unique(samples.labels)[:N_SAMPLES]]
    rows = [views(samples, index=index, augmentation=augmentation, seed=seed, n_views=n_views) for index in chosen]
    names = [images.classes[samples.labels[index]] for index in chosen]
    figure = augmentation_samples([row[0] for row in rows], views=[row[1:] for row in rows], names=names)
    save_figure(figure, artifacts, "augmentation")


def _keep_inputs(tracked: TrackedRun, config: TrainConfig, images: ImageSet) -> None:
    counts = {f"images.{split}": len(images.part(split)) for split in ("train", *HELD_OUT)}
    tracked.log_parameters(parameters_of(config) | counts | {"images.unreadable": len(images.unreadable)})
    source = config.data.root if isinstance(config.data, BccdData) else config.data.train_dir
    tracked.log_data(images.manifest, name=config.data.source, source=source, digest=digest(images.manifest))


def _draw_history(trained: Trained, config: TrainConfig, artifacts: Path) -> None:
    trained.history.to_csv(artifacts / "history.csv", index=False)
    figure = learning_curves(trained.history, monitor=config.hyperparameters.early_stopping.monitor)
    save_figure(figure, artifacts, "learning_curves")


def _keep_model(tracked: TrackedRun, classifier: Classifier, images: ImageSet, samples: Samples) -> str:
    return tracked.log_model(
        classifier.whole,
        classes=images.classes,
        example=_example(read_image(samples.files[0])),
        requirements=[f"{package}=={version(package)}" for package in ("tensorflow", "keras", "numpy")],
    )


def _example(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Make an image small, since MLflow keeps the example as text; the model takes any size."""
    small = Image.fromarray(image)
    small.thumbnail((EXAMPLE_SIDE, EXAMPLE_SIDE))
    return np.asarray(small)[np.newaxis]
