"""Recording the inputs of a run: configuration, images, model and augmentation."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from bloodcell.config.parameters import as_plain, parameters_of
from bloodcell.config.training import DebugConfig, TrainConfig
from bloodcell.data.augmentation import Augmentation
from bloodcell.data.labels import LABEL_BEFORE
from bloodcell.data.manifest import ImageSet
from bloodcell.data.pipeline import Samples, views
from bloodcell.experiment.environment import environment_tags
from bloodcell.experiment.fold import samples_for
from bloodcell.experiment.identity import experiment_digest
from bloodcell.experiment.images import Prepared
from bloodcell.experiment.recorder import Recorder
from bloodcell.models.classifier import Classifier
from bloodcell.models.summary import summarise
from bloodcell.plots.architecture import architecture
from bloodcell.plots.gallery import augmentation_samples
from bloodcell.training.learner import Learner
from bloodcell.training.stages import Stage, lowest_boundary

log = logging.getLogger(__name__)

N_SAMPLES = 4
N_VIEWS = 5


def tags_of(config: TrainConfig, prepared: Prepared, classifier: Classifier) -> dict[str, str]:
    """Return a run's tags: code, machine, images, groups, weights, seed, and whether the split leaks."""
    weights_digest = classifier.backbone.digest
    return environment_tags() | {
        "experiment_digest": experiment_digest(config, data_digest=prepared.digest, weights_digest=weights_digest),
        "data_digest": prepared.digest,
        "groups": config.data.groups,
        "group_name": config.data.group_noun,
        "leaky": prepared.leakage.leaky,
        "weights": classifier.backbone.weights,
        "weights_digest": weights_digest,
        "seed": str(config.hyperparameters.seed),
        "debug": str(config.debug != DebugConfig()).lower(),
        **_corrections(config, prepared),
    }


def _corrections(config: TrainConfig, prepared: Prepared) -> dict[str, str]:
    """Return tags of corrected labels; none without a file of them."""
    if config.data.labels_file is None:
        return {}
    manifest = prepared.images.manifest
    changed = int((manifest["label"] != manifest[LABEL_BEFORE]).sum())
    return {"labels_file": Path(config.data.labels_file).name, "labels_changed": str(changed)}


def keep_inputs(recorder: Recorder, config: TrainConfig, prepared: Prepared, learner: Learner) -> None:
    """Record the configuration, the images and the excluded images; draw the model and the augmentation."""
    images, artifacts = prepared.images, recorder.artifacts
    keep_images(recorder, config, prepared)
    text = yaml.safe_dump(as_plain(config), sort_keys=False, allow_unicode=True)
    (artifacts / "config.yaml").write_text(text, encoding="utf-8")
    for note in images.notes:
        log.warning("%s", note)
    if len(images.unreadable):
        images.unreadable.to_csv(artifacts / "unreadable_images.csv", index=False)
        log.warning("excluded, cannot be read: %s", "; ".join(map(": ".join, images.unreadable.to_numpy())))
    if len(images.excluded):
        images.excluded.to_csv(artifacts / "excluded_images.csv", index=False)
        log.warning("excluded by data.exclude_file: %s", "; ".join(map(": ".join, images.excluded.to_numpy())))
    if images.other_files:
        log.warning("excluded, without an image suffix: %s", ", ".join(images.other_files))
    if not recorder.draws:
        return
    _draw_model(recorder, learner.classifier, learner.stages)
    if not learner.classifier.backbone.takes_images:
        return
    samples = samples_for(learner, config, images, "train")
    _draw_augmentation(recorder, images, samples, learner.augmentation, config.hyperparameters.seed)


def keep_images(recorder: Recorder, config: TrainConfig, prepared: Prepared) -> None:
    """Record the manifest, the rows that were excluded because of leakage, counts, and all parameters."""
    images, artifacts = prepared.images, recorder.artifacts
    artifacts.mkdir(parents=True, exist_ok=True)
    if len(prepared.left_out):
        prepared.left_out.to_csv(artifacts / "shared_images.csv", index=False)
        log.warning("excluded, photograph or group in another split: %s", ", ".join(prepared.left_out["path"]))
    counts = {
        "images.unreadable": len(images.unreadable),
        "images.excluded": len(images.excluded),
        "images.left_out": len(prepared.left_out),
    }
    for split, rows in images.manifest.groupby("split"):
        counts |= {f"images.{split}": len(rows), f"photographs.{split}": rows["source"].nunique()}
        counts[f"groups.{split}"] = rows["group"].nunique()
    recorder.log_parameters(parameters_of(config) | counts)
    recorder.log_dataset(images.manifest, name=config.data.source, source=str(images.root), digest=prepared.digest)


def _draw_model(recorder: Recorder, classifier: Classifier, stages: Sequence[Stage]) -> None:
    blocks = summarise(classifier, boundary=lowest_boundary(stages))
    recorder.draw("architecture", architecture, blocks, title=f"{classifier.backbone.name} and its head")


def _draw_augmentation(
    recorder: Recorder, images: ImageSet, samples: Samples, augmentation: Augmentation, seed: int
) -> None:
    """Draw images of some classes with their training views."""
    n_views = N_VIEWS if augmentation.changes else 0
    chosen = [int(np.flatnonzero(samples.labels == label)[0]) for label in np.unique(samples.labels)[:N_SAMPLES]]
    rows = [views(samples, index=index, augmentation=augmentation, seed=seed, n_views=n_views) for index in chosen]
    names = [images.classes[samples.labels[index]] for index in chosen]
    originals = [row[0] for row in rows]
    recorder.draw("augmentation", augmentation_samples, originals, views=[row[1:] for row in rows], names=names)
