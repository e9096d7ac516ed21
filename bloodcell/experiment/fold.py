"""Training on one split, from images to predictions and metrics."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from bloodcell.cells.places import cell_places
from bloodcell.config.finetune import FrozenPlan
from bloodcell.config.training import FeaturesConfig, OnTheFly, StoredFeatures, TrainConfig
from bloodcell.console.progress import SHOW_ALL, Reporting, phase
from bloodcell.data.augmentation import Augmentation
from bloodcell.data.manifest import ImageSet
from bloodcell.data.orientations import N_ORIENTATIONS
from bloodcell.data.pipeline import Samples, samples_of
from bloodcell.errors import UserError
from bloodcell.evaluation.outcome import Outcome, evaluate_outcome
from bloodcell.evaluation.predictions import predictions_table
from bloodcell.experiment.evidence import evidence_of
from bloodcell.experiment.explanation import explain_run, is_explained
from bloodcell.experiment.identity import experiment_digest
from bloodcell.experiment.images import Prepared
from bloodcell.experiment.keeping import keep_trained_model
from bloodcell.experiment.outcome import keep_outcome
from bloodcell.experiment.recorder import Recorder
from bloodcell.files import atomic_write
from bloodcell.models.classifier import Classifier, build_classifier
from bloodcell.models.cost import measure_cost
from bloodcell.models.feature_sets import compute_features
from bloodcell.models.heads import build_head
from bloodcell.models.kept_backbones import backbone_of, keep_backbone
from bloodcell.models.precision import precision
from bloodcell.plots.training import Monitor, learning_curves
from bloodcell.training.determinism import make_deterministic
from bloodcell.training.feature_store import FeatureStore, features_dir, release_pages, require_usable
from bloodcell.training.features import FeatureCache
from bloodcell.training.learner import Learner
from bloodcell.training.stages import plan_stages
from bloodcell.training.trainer import Epoch, Training, predict_orientations

RESULT_FILE = "result.json"
"""The file in a run's folder with what `bloodcell.experiment.finished.load_fold` finds in no other file."""


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """Predictions tables of a split: of the images as they are, and of several views.

    Attributes
    ----------
    single
        Predictions table of the unchanged images.
    views
        Predictions table of the mean over several views of each image; None if there is only one view.
    """

    single: pd.DataFrame
    views: pd.DataFrame | None


@dataclass(frozen=True, kw_only=True)
class FoldResult:
    """The result of one training.

    Attributes
    ----------
    outcome
        Predictions and metrics.
    cost
        Parameters, FLOPs, megabytes, images per second, seconds of training.
    history
        See `bloodcell.training.trainer.Trained`.
    best_epoch
        Counted from 0 over all stages.
    features
        The origin of the input of each stage, as text.
    model_uri
        The address of its model from the recorder; empty if no model is saved.
    """

    outcome: Outcome
    cost: Mapping[str, float]
    history: pd.DataFrame
    best_epoch: int
    features: str
    model_uri: str


def build_learner(config: TrainConfig, *, n_classes: int, backbone_seed: int) -> Learner:
    """Seed every random number generator and build the learner of a configuration.

    Parameters
    ----------
    config
        The configuration; its seed is that of everything except the backbone.
    n_classes
        The number of classes.
    backbone_seed
        The seed of random backbone weights, the same for all folds, so they share features.

    Raises
    ------
    UserError
        If the weights cannot be used, a stage names a missing layer or block, or features cannot be cached.
    """
    settings, head = config.hyperparameters, config.head
    _seed_all(backbone_seed)
    with precision(mixed=settings.mixed_precision):
        backbone = backbone_of(
            name=config.backbone.name,
            input_size=config.backbone.input_size,
            weights=config.backbone.weights,
            taps=config.backbone.taps,
            seed=backbone_seed,
            stays_frozen=config.stays_frozen,
        )
        if settings.seed != backbone_seed:
            keras.utils.set_random_seed(settings.seed)
        classifier = build_classifier(
            backbone,
            build_head(
                n_classes=n_classes,
                pooling=head.pooling,
                hidden_units=head.hidden_units,
                dropout=head.dropout,
                standardise=head.standardise,
                projection=head.projection,
                l2=head.l2_in_loss,
            ),
            interpolation=config.backbone.interpolation,
            crop=config.crop.name,
            extra_features=head.extra_features,
        )
    stages = plan_stages(
        backbone,
        finetune=FrozenPlan() if config.stays_frozen else config.finetune,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        max_finetune_epochs=config.debug.finetune_epochs,
    )
    return Learner(
        classifier=classifier,
        stages=stages,
        settings=settings,
        augmentation=Augmentation(**asdict(config.augmentation)),
        cache=_cache(config.features, classifier),
        n_views=config.features.views if isinstance(config.features, StoredFeatures) else 1,
        solver=head.solver,
        l2=head.l2,
        steps_per_epoch=config.debug.steps_per_epoch,
    )


def prepare_backbone(config: TrainConfig) -> None:
    """Build the backbone of a configuration for the next `build_learner`: errors are found before images are read.

    Raises
    ------
    UserError
        If the weights cannot be used.
    """
    seed = config.hyperparameters.seed
    _seed_all(seed)
    with precision(mixed=config.hyperparameters.mixed_precision):
        keep_backbone(
            name=config.backbone.name,
            input_size=config.backbone.input_size,
            weights=config.backbone.weights,
            taps=config.backbone.taps,
            seed=seed,
        )


def _seed_all(seed: int) -> None:
    make_deterministic(seed)
    keras.utils.disable_interactive_logging()  # afterwards, because clearing Keras's session enables it again


def samples_for(learner: Learner, config: TrainConfig, images: ImageSet, split: str) -> Samples:
    """Return a split's images for a learner's classifier."""
    names = learner.classifier.feature_sets
    # A crop has its cell in the centre.
    keeps_cells = split == "train" and learner.augmentation.displaces and config.crop.name == "none"
    size, interpolation = config.backbone.input_size, config.backbone.interpolation
    key = ("samples", split, size, interpolation, config.crop.name, names, keeps_cells)
    if key not in images.computed:
        images.computed[key] = _samples(config, images, split, names=names, keeps_cells=keeps_cells)
    samples: Samples = images.computed[key]
    return samples


def _samples(
    config: TrainConfig, images: ImageSet, split: str, *, names: tuple[str, ...], keeps_cells: bool
) -> Samples:
    rows = images.part(split)
    files, sha256s = images.files(rows), rows["sha256"].tolist()
    return samples_of(
        images,
        rows,
        input_size=config.backbone.input_size,
        interpolation=config.backbone.interpolation,
        crop=config.crop.name,
        extra_features=compute_features(files, sha256s, names) if names else None,
        cells=cell_places(files, sha256s) if keeps_cells else None,
    )


def _cache(features: FeaturesConfig, classifier: Classifier) -> FeatureCache | None:
    if isinstance(features, OnTheFly):
        return None
    folder = features_dir(features.dir)
    try:
        require_usable(folder)
    except OSError as error:
        raise UserError(
            f"features.dir={folder}: cannot be written ({error.strerror}); give another, or use features=on_the_fly"
        ) from error
    store = FeatureStore(folder, max_bytes=features.max_gigabytes * 1e9)
    return FeatureCache(classifier, store=store, engine=features.engine, dtype=features.dtype)


def training_of(
    learner: Learner,
    samples: Mapping[str, Samples],
    prepared: Prepared,
    config: TrainConfig,
    *,
    folder: Path,
    listeners: Sequence[Callable[[Epoch], Any]] | None = None,
    reporting: Reporting = SHOW_ALL,
) -> Training:
    """Return the training of a learner on the samples ``train`` and ``val``, with its state in a run's folder."""
    digest = experiment_digest(config, data_digest=prepared.digest, weights_digest=learner.classifier.backbone.digest)
    return Training(
        learner,
        train_samples=samples["train"],
        val_samples=samples["val"],
        folder=folder / "checkpoints",
        listeners=listeners,
        reporting=reporting,
        digest=digest,
    )


def train_fold(
    recorder: Recorder,
    learner: Learner,
    *,
    prepared: Prepared,
    config: TrainConfig,
    fold: int | None = None,
    reporting: Reporting = SHOW_ALL,
    resume: bool = False,
    head_is_trained: bool = False,
) -> FoldResult:
    """Train on one split, evaluate on validation and test, and record everything except the inputs.

    The caller calls `Recorder.log_artifacts` afterwards. `bloodcell.experiment.finished.load_fold` reads the result
    from the folder.

    Parameters
    ----------
    recorder
        Receives the results.
    learner
        Trained in place.
    prepared
        Training, validation and test images.
    config
        The run's configuration, with the learner's seed.
    fold
        The number of the fold of a cross-validation, from 1, or None.
    reporting
        How progress is shown.
    resume
        Whether to continue an interrupted training in the recorder's folder, see `bloodcell.training.trainer.train`.
    head_is_trained
        Whether `bloodcell.experiment.side_by_side.train_heads` trained it, up to a state in that folder.
    """
    images, settings = prepared.images, config.hyperparameters
    recorder.artifacts.mkdir(parents=True, exist_ok=True)
    evaluated = ("val", "test") if config.evaluate_test else ("val",)
    samples = {split: samples_for(learner, config, images, split) for split in ("train", *evaluated)}
    training = training_of(
        learner,
        samples,
        prepared,
        config,
        folder=recorder.folder,
        listeners=[recorder.log_epoch],
        reporting=reporting,
    )
    trained = training.run(training.restore() if resume or head_is_trained else None)
    keep_history(recorder, trained.history, monitor=settings.early_stopping.monitor)
    held_out = {
        split: predicted(learner, samples[split], images, split, config=config, fold=fold, label=reporting.label)
        for split in evaluated
    }
    with phase(f"{reporting.label}computing metrics", quiet=reporting.quiet):
        outcome = evaluate_outcome(
            {split: each.single for split, each in held_out.items()},
            classes=images.classes,
            training=images.part("train"),
            leakage=prepared.leakage,
            evidence=evidence_of(config, fold=fold),
            label_smoothing=settings.label_smoothing,
            views={split: each.views for split, each in held_out.items() if each.views is not None},
            test_sets=images.test_sets,
        )
        with recorder.written_once():
            keep_outcome(recorder, outcome, images=images)
    with phase(f"{reporting.label}measuring speed and size", quiet=reporting.quiet):
        cost = cost_of(learner, seconds=trained.seconds)
    with recorder.written_once():
        recorder.tag("features", trained.features)
        recorder.log_metrics(cost, prefix="cost")
    model_uri = ""
    if config.log_model:
        model_uri = keep_trained_model(
            recorder, learner.classifier.whole, images=images, held_out=outcome.val.table, evidence=outcome.evidence
        )
    # Last, because it can fail: the model is already saved.
    if is_explained(config, learner.classifier, fold=fold, quiet=reporting.quiet):
        release_pages()
        with phase(f"{reporting.label}explaining predictions", quiet=reporting.quiet):
            pointing = explain_run(recorder, learner.classifier.whole, outcome.val.table, images=images)
        recorder.log_metrics(pointing, prefix="explain")
    result = FoldResult(
        outcome=outcome,
        cost=cost,
        history=trained.history,
        best_epoch=trained.best_epoch,
        features=trained.features,
        model_uri=model_uri,
    )
    _write_result(result, recorder.folder / RESULT_FILE)
    return result


def _write_result(result: FoldResult, path: Path) -> None:
    """Write everything except the outcome, which the predictions tables have."""
    values = {name: getattr(result, name) for name in ("cost", "best_epoch", "features", "model_uri")}
    # Not as CSV: not every reader returns the floats that were written.
    text = json.dumps(values | {"history": result.history.to_dict("list")}, indent=2)
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


def predicted(
    learner: Learner,
    samples: Samples,
    images: ImageSet,
    split: str,
    *,
    config: TrainConfig,
    fold: int | None = None,
    label: str = "",
) -> Predicted:
    """Return the predictions of a split's images, ``samples``."""
    by_orientation = predict_orientations(
        learner,
        samples,
        n_orientations=N_ORIENTATIONS[config.views_at_test],
        description=f"{label}predicting {split}",
    )
    table = functools.partial(predictions_table, manifest=images.part(split), classes=images.classes, fold=fold)
    return Predicted(
        single=table(probabilities=by_orientation[0]),
        views=table(probabilities=by_orientation.mean(axis=0)) if len(by_orientation) > 1 else None,
    )


def keep_history(recorder: Recorder, history: pd.DataFrame, *, monitor: Monitor) -> None:
    """Write ``history.csv``, and draw the learning curves."""
    epochs_from_one(history).to_csv(recorder.artifacts / "history.csv", index=False)
    recorder.draw("learning_curves", learning_curves, history, monitor=monitor)


def epochs_from_one(history: pd.DataFrame) -> pd.DataFrame:
    """Return a history whose epochs count from 1, as on the terminal and in plots."""
    return history.assign(epoch=history["epoch"] + 1)


def cost_of(learner: Learner, *, seconds: float) -> dict[str, float]:
    """Return the cost of a model and of its training (``seconds``)."""
    cost = asdict(measure_cost(learner.classifier)) | {"train_seconds": seconds}
    if (cache := learner.cache) is not None:
        cost |= {"features_computed": float(cache.n_computed), "feature_seconds": cache.seconds}
    return cost
