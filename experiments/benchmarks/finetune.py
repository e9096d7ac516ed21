"""The time of an epoch of fine-tuning MobileNetV2's last block: in Keras, and in bloodcell on cached features.

    uv run python experiments/benchmarks/finetune.py path/to/blood-cells mobilenetv2.weights.h5

Both train the same layers at 224 pixels on images of TRAIN (by default 2,000), one after the other in one process; the
first epoch, which compiles, is not counted. Keras: `image_dataset_from_directory` and `fit`, with the layers below the
block frozen. bloodcell: the trainer's pipeline on cached features; the time to compute them is reported separately. One
JSON line has all numbers.
"""

import hashlib
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from pydantic import TypeAdapter

from bloodcell.config.composition import read_choice
from bloodcell.config.training import HyperparametersConfig
from bloodcell.data.augmentation import Augmentation
from bloodcell.data.pipeline import Samples
from bloodcell.models.backbones import build_backbone
from bloodcell.models.blocks import boundary_at_block
from bloodcell.models.classifier import build_classifier
from bloodcell.models.heads import build_head
from bloodcell.training.feature_store import FeatureStore
from bloodcell.training.features import FeatureCache
from bloodcell.training.learner import Learner
from bloodcell.training.stage_data import stage_data, stage_features
from bloodcell.training.stages import Stage

BLOCK, SIZE, BATCH, CLASSES = "block_16", 224, 32, ("EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL")


def main(root: Path, weights: Path, n_images: int = 2000) -> None:
    """Measure both and print the line."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = Path(folder, "images")
        files = choose(root, n_images, chosen)
        theirs = by_keras(chosen, weights)
        ours, computing = by_bloodcell(files, weights, Path(folder, "features"))
    figures = {
        "keras_epoch_seconds": theirs,
        "bloodcell_epoch_seconds": ours,
        "ratio": theirs / ours,
        "computing_features_once_seconds": computing,
        "images": len(files),
        "trained_from": BLOCK,
    }
    print(json.dumps(figures))


def choose(root: Path, n_images: int, folder: Path) -> list[Path]:
    """Link equally many images of each class into a new folder; return the links."""
    links = []
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for file in sorted((root / "TRAIN" / name).iterdir())[: n_images // len(CLASSES)]:
            links.append(folder / name / file.name)
            links[-1].symlink_to(file.resolve())
    return links


def by_keras(folder: Path, weights: Path) -> float:
    """Return the seconds of an epoch in Keras, with the layers below the block frozen."""
    images = keras.utils.image_dataset_from_directory(
        folder, label_mode="categorical", image_size=(SIZE, SIZE), batch_size=BATCH, verbose=False
    )
    application = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    application.load_weights(weights)
    boundary = boundary_at_block(application, BLOCK)
    for layer in application.layers[:boundary]:
        layer.trainable = False
    inputs = keras.Input((SIZE, SIZE, 3))
    maps = application(keras.applications.mobilenet_v2.preprocess_input(inputs), training=False)
    outputs = keras.layers.Dense(len(CLASSES), activation="softmax")(keras.layers.GlobalAveragePooling2D()(maps))
    return second_epoch(keras.Model(inputs, outputs), images.prefetch(2))


def by_bloodcell(files: list[Path], weights: Path, folder: Path) -> tuple[float, float]:
    """Return the seconds of an epoch on stored features, and of computing them."""
    backbone = build_backbone(name="MobileNetV2", input_size=SIZE, weights=str(weights))
    classifier = build_classifier(backbone, build_head(n_classes=len(CLASSES)))
    cache = FeatureCache(classifier, store=FeatureStore(folder, max_bytes=1e11), engine="auto", dtype="float32")
    stage = Stage(name="last block", boundary=boundary_at_block(backbone, BLOCK), epochs=2, learning_rate=1e-4)
    samples = Samples(
        files=files,
        digests=[hashlib.sha256(file.read_bytes()).hexdigest() for file in files],
        labels=np.array([CLASSES.index(file.parent.name) for file in files]),
        n_classes=len(CLASSES),
        input_size=SIZE,
        interpolation="bilinear",
    )
    steps = -(-len(samples) // BATCH)
    settings = TypeAdapter(HyperparametersConfig).validate_python(read_choice("hyperparameters", "default"))
    learner = Learner(
        classifier=classifier,
        stages=[stage],
        settings=replace(settings, batch_size=BATCH),
        augmentation=Augmentation(),
        cache=cache,
    )
    features = stage_features(learner, stage, train_samples=samples, val_samples=samples)
    data = stage_data(
        learner,
        stage,
        features=features,
        train_samples=samples,
        val_samples=samples,
        first_epoch=0,
        n_epochs=stage.epochs,
        steps_per_epoch=steps,
    )
    return second_epoch(data.model, data.training, steps_per_epoch=steps), cache.seconds


def second_epoch(model: keras.Model, batches: Any, **settings: Any) -> float:
    """Return how long the second epoch of a training takes."""
    ends = [0.0]
    on_end = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: ends.append(time.perf_counter()))
    model.compile(optimizer=keras.optimizers.Adam(1e-4), loss="categorical_crossentropy")
    model.fit(batches, epochs=2, verbose=0, callbacks=[on_end], **settings)
    return ends[-1] - ends[-2]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
