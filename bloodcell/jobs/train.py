"""Train one model on one split, evaluate it on validation and test, and keep everything in MLflow.

For example, with the Kaggle set as it is unpacked, another model and another plan, your own folders, and a sweep:

  bloodcell train data.root=~/blood-cells
  bloodcell train data.root=~/blood-cells backbone=xception finetune=staged hyperparameters.learning_rate=3e-4
  bloodcell train data=folder data.train_dir=cells/train data.test_dir=cells/test
  bloodcell train -m data.root=~/blood-cells backbone=mobilenetv2,xception hyperparameters.seed=0,1,2
"""

import logging
import time
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from bloodcell.config import BccdData, DataConfig, DebugConfig, FolderData, NotebookSplit, SplitConfig, TrainConfig
from bloodcell.data.augmentation import Augmentation
from bloodcell.data.images import read_image
from bloodcell.data.manifest import ImageSet, digest, write_manifest
from bloodcell.data.pipeline import Samples, views
from bloodcell.data.sources import load_bccd, load_folders
from bloodcell.data.splits import divides_groups, limit_per_class, notebook_split, random_split, same_images
from bloodcell.evaluation.architecture import architecture
from bloodcell.evaluation.gallery import augmentation_samples
from bloodcell.evaluation.plots import learning_curves
from bloodcell.evaluation.predictions import predictions_table, write_predictions
from bloodcell.evaluation.report import evaluate_majority, evaluate_table, per_class_of, save_figure, write_report
from bloodcell.models.backbones import build_backbone
from bloodcell.models.classifier import Classifier, build_classifier
from bloodcell.models.cost import measure_cost
from bloodcell.models.precision import precision
from bloodcell.models.summary import summarise
from bloodcell.tracking.environment import environment_tags
from bloodcell.tracking.run import TrackedRun, nested, readable, tracked_run
from bloodcell.training.determinism import make_deterministic
from bloodcell.training.stages import Stage, plan_stages
from bloodcell.training.trainer import Trained, predict, train

log = logging.getLogger(__name__)

HELD_OUT = ("val", "test")
N_SAMPLES = 4
N_VIEWS = 5
EXAMPLE_SIDE = 64
SHOWN = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "auroc": "AUROC, one against the rest",
    "cohen_kappa": "Cohen's kappa",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "expected calibration error",
}


def run(config: TrainConfig, *, output_dir: Path) -> float:
    """Train, evaluate and keep one model; return its accuracy on validation.

    Everything that a user can get wrong is found before the run starts, so a refused configuration leaves nothing.

    Raises
    ------
    UserError
        If the images, the weights or the store cannot be used.
    """
    images = _prepare_images(config)
    settings = config.hyperparameters
    make_deterministic(settings.seed)
    keras.utils.disable_interactive_logging()
    with precision(mixed=settings.mixed_precision):
        classifier = _build(config, n_classes=len(images.classes))
    stages = plan_stages(
        classifier.backbone.application,
        finetune=config.finetune,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
    )
    augmentation = Augmentation(**asdict(config.augmentation))
    samples = {split: _samples(images, split, config) for split in ("train", *HELD_OUT)}
    artifacts = output_dir / "artifacts"

    with tracked_run(
        tracking=config.tracking,
        name=readable(config.tracking.run_name or _default_name(config)),
        tags=_tags(config, images, classifier, output_dir),
        folder=output_dir,
    ) as tracked:
        _log_inputs(tracked, config, images, artifacts)
        _draw_inputs(images, samples["train"], classifier, stages, augmentation, settings.seed, artifacts)
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
            split: _predict(classifier, images, samples[split], split, batch_size=settings.batch_size)
            for split in HELD_OUT
        }
        write_predictions(pd.concat(tables.values(), ignore_index=True), artifacts / "predictions.parquet")
        metrics = _evaluate(tracked, config, images, tables, artifacts)
        model_uri = _log_model(tracked, classifier, images, samples["train"], seconds)
        tracked.log_folder(artifacts)
    if config.tracking.sweep_job is None:
        _show(config, images, metrics, tracked, model_uri)
    return metrics["val"]["accuracy"]


def _prepare_images(config: TrainConfig) -> ImageSet:
    images = _load(config.data)
    manifest = images.manifest
    if config.debug.limit_per_class is not None:
        manifest = limit_per_class(manifest, limit=config.debug.limit_per_class)
    if "val" not in set(manifest["split"]):
        manifest = _split(manifest, config.split)
    if config.debug.overfit_images is not None:
        manifest = same_images(manifest, n_images=config.debug.overfit_images)
    return replace(images, manifest=manifest)


def _load(data: DataConfig) -> ImageSet:
    if isinstance(data, BccdData):
        return load_bccd(root=data.root, on_bad_image=data.on_bad_image)
    folders = {"train": data.train_dir, "test": data.test_dir} | ({"val": data.val_dir} if data.val_dir else {})
    return load_folders(folders=folders, on_bad_image=data.on_bad_image)


def _split(manifest: pd.DataFrame, split: SplitConfig) -> pd.DataFrame:
    if isinstance(split, NotebookSplit):
        return notebook_split(manifest, fraction=split.fraction)
    return random_split(manifest, fraction=split.fraction, seed=split.seed)


def _may_leak(config: TrainConfig, images: ImageSet) -> bool:
    """Whether copies of one photograph may be on two sides: surely looked for are exact copies only."""
    splits_files = not (isinstance(config.data, FolderData) and config.data.val_dir)
    return splits_files or divides_groups(images.manifest)


def _samples(images: ImageSet, split: str, config: TrainConfig) -> Samples:
    rows = images.part(split)
    return Samples(
        files=images.files(rows),
        labels=images.class_indices(rows),
        n_classes=len(images.classes),
        input_size=config.backbone.input_size,
        interpolation=config.backbone.interpolation,
    )


def _build(config: TrainConfig, *, n_classes: int) -> Classifier:
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


def _default_name(config: TrainConfig) -> str:
    plan = "frozen" if config.finetune.name == "none" else config.finetune.name
    return f"{config.backbone.name.lower()} {plan}, {config.split.name} split, seed {config.hyperparameters.seed}"


def _tags(config: TrainConfig, images: ImageSet, classifier: Classifier, output_dir: Path) -> dict[str, str]:
    return environment_tags() | {
        "data_digest": digest(images.manifest),
        "weights": classifier.backbone.weights,
        "weights_digest": classifier.backbone.digest,
        "seed": str(config.hyperparameters.seed),
        "leaky": str(_may_leak(config, images)).lower(),
        "debug": str(config.debug != DebugConfig(None, None, None)).lower(),
        "output_dir": str(output_dir.resolve()),
    }


def _log_inputs(tracked: TrackedRun, config: TrainConfig, images: ImageSet, artifacts: Path) -> None:
    tracked.log_parameters(config)
    artifacts.mkdir(parents=True, exist_ok=True)
    (artifacts / "config.yaml").write_text(
        yaml.safe_dump(nested(config), sort_keys=False, allow_unicode=True), encoding="utf-8"
    )
    write_manifest(images.manifest, artifacts / "manifest.parquet")
    counts = {f"{split}_images": float(len(images.part(split))) for split in ("train", *HELD_OUT)}
    tracked.log_metrics(counts | {"unreadable_images": float(len(images.unreadable))}, prefix="data")
    if len(images.unreadable):
        images.unreadable.to_csv(artifacts / "unreadable_images.csv", index=False)
        log.warning("left out, cannot be read: %s", "; ".join(map(" ".join, images.unreadable.to_numpy())))
    if images.other_files:
        log.warning("not images by their names, left out: %s", ", ".join(images.other_files))
    source = config.data.root if isinstance(config.data, BccdData) else config.data.train_dir
    tracked.log_data(images.manifest, name=config.data.source, source=source, digest=digest(images.manifest))


def _draw_inputs(
    images: ImageSet,
    samples: Samples,
    classifier: Classifier,
    stages: list[Stage],
    augmentation: Augmentation,
    seed: int,
    artifacts: Path,
) -> None:
    """Draw what can be drawn before training: the model, and what augmentation makes of some images."""
    cuts = [stage.boundary for stage in stages if stage.boundary is not None]
    blocks = summarise(classifier, boundary=min(cuts, default=None))
    save_figure(architecture(blocks, title=f"{classifier.backbone.name} and its head"), artifacts, "architecture")
    chosen = [int(np.flatnonzero(samples.labels == label)[0]) for label in np.unique(samples.labels)[:N_SAMPLES]]
    shown = [
        views(
            samples, index=index, augmentation=augmentation, seed=seed, n_views=N_VIEWS if augmentation.changes else 0
        )
        for index in chosen
    ]
    names = [images.classes[samples.labels[index]] for index in chosen]
    figure = augmentation_samples([row[0] for row in shown], views=[row[1:] for row in shown], names=names)
    save_figure(figure, artifacts, "augmentation")


def _draw_history(trained: Trained, config: TrainConfig, artifacts: Path) -> None:
    trained.history.to_csv(artifacts / "history.csv", index=False)
    figure = learning_curves(trained.history, monitor=config.hyperparameters.early_stopping.monitor)
    save_figure(figure, artifacts, "learning_curves")


def _predict(
    classifier: Classifier, images: ImageSet, samples: Samples, split: str, *, batch_size: int
) -> pd.DataFrame:
    probabilities = predict(classifier.core, samples, batch_size=batch_size, description=f"predicting {split}")
    return predictions_table(manifest=images.part(split), probabilities=probabilities, classes=images.classes)


def _evaluate(
    tracked: TrackedRun, config: TrainConfig, images: ImageSet, tables: dict[str, pd.DataFrame], artifacts: Path
) -> dict[str, dict[str, float]]:
    """Measure each split and the majority class beside it; write, log and return the figures."""
    smoothing = config.hyperparameters.label_smoothing
    training_labels = images.class_indices(images.part("train"))
    metrics: dict[str, dict[str, float]] = {}
    for split, table in tables.items():
        metrics[split] = evaluate_table(table, classes=images.classes, label_smoothing=smoothing)
        metrics[f"baseline/{split}"] = evaluate_majority(
            table, training_labels=training_labels, classes=images.classes, label_smoothing=smoothing
        )
        write_report(
            table,
            classes=images.classes,
            name=split,
            folder=artifacts,
            read=lambda path: read_image(images.root / path),
        )
        tracked.log_table(per_class_of(table, classes=images.classes), f"report/{split}.json")
    for prefix, values in metrics.items():
        tracked.log_metrics(values, prefix=prefix)
    return metrics


def _log_model(tracked: TrackedRun, classifier: Classifier, images: ImageSet, samples: Samples, seconds: float) -> str:
    cost = measure_cost(classifier.core)
    tracked.log_metrics(asdict(cost) | {"train_seconds": seconds}, prefix="cost")
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


def _show(
    config: TrainConfig,
    images: ImageSet,
    metrics: dict[str, dict[str, float]],
    tracked: TrackedRun,
    model_uri: str,
) -> None:
    """Print what came out and where to look next."""
    console = Console(highlight=False, soft_wrap=True)
    table = Table(title=f"{config.backbone.name}, {config.split.name} split", title_justify="left")
    table.add_column("")
    for heading in ("validation", "test", "majority class on test"):
        table.add_column(heading, justify="right")
    columns = [metrics["val"], metrics["test"], metrics["baseline/test"]]
    for name, label in SHOWN.items():
        table.add_row(label, *(f"{column[name]:.3f}" for column in columns))
    table.add_row("images", *(str(len(images.part(split))) for split in ("val", "test", "test")))
    console.print(table)
    if len(images.unreadable):
        console.print(f"Left out because they cannot be read: {len(images.unreadable)} images, listed in the run.")
    if images.other_files:
        console.print(
            f"Left out because their names are not images': {len(images.other_files)} files, listed in the log."
        )
    if _may_leak(config, images):
        console.print(
            "Careful: copies of one photograph may be on both sides of this split; if so, validation says too much."
        )
    console.print(f"Look at it  {'bloodcell ui' if not tracked.store.is_server else tracked.store.label}")
    console.print(f"Load it     mlflow.tensorflow.load_model({model_uri!r}), from {tracked.store.label}")
    console.print(f"Its files   {tracked.folder}")
