"""A training that takes a second: a backbone of three blocks on a few dozen images of 32 pixels.

Run as a program, it prints what the training came to: ``tiny.py IMAGES FOLDER SEED``.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from bloodcell.config.training import EarlyStoppingConfig, HyperparametersConfig
from bloodcell.data.augmentation import Augmentation
from bloodcell.data.loading import load_bccd
from bloodcell.data.manifest import ImageSet
from bloodcell.data.pipeline import Samples, samples_of
from bloodcell.models.backbones import Backbone
from bloodcell.models.classifier import Classifier, build_classifier
from bloodcell.training.determinism import make_deterministic
from bloodcell.training.feature_store import FeatureStore
from bloodcell.training.features import FeatureSource
from bloodcell.training.stages import Stage, lowest_boundary
from bloodcell.training.trainer import Trained, predict, train

SIZE = 32
NOTHING = 1e-30
"""A learning rate that changes no weight."""


class Data(NamedTuple):
    """Forty images to train on and twenty to validate with."""

    train: Samples
    val: Samples


def samples(images: ImageSet, split: str) -> Samples:
    return samples_of(images, images.part(split), input_size=SIZE, interpolation="bilinear")


def data(root: Path) -> Data:
    images = load_bccd(root=root, on_bad_image="error")
    return Data(samples(images, "train"), samples(images, "test"))


def backbone() -> Backbone:
    """Three blocks of a convolution, its normalisation and dropout."""
    image = tensor = keras.Input((SIZE, SIZE, 3))
    for number, filters in enumerate((8, 12, 16), start=1):
        tensor = keras.layers.Conv2D(filters, 3, strides=2, name=f"block_{number}_conv")(tensor)
        tensor = keras.layers.BatchNormalization(name=f"block_{number}_bn")(tensor)
        tensor = keras.layers.ReLU(name=f"block_{number}_relu")(tensor)
        tensor = keras.layers.Dropout(0.2, name=f"block_{number}_dropout")(tensor)
    return Backbone(
        name="Tiny",
        application=keras.Model(image, tensor, name="tiny"),
        preprocess=keras.applications.mobilenet_v2.preprocess_input,
        input_size=SIZE,
        weights="random",
        digest="",
    )


def classifier(*, dropout: float = 0.0, standardise: bool = False) -> Classifier:
    return build_classifier(
        backbone=backbone(),
        pooling="average",
        hidden_units=(),
        dropout=dropout,
        n_classes=4,
        interpolation="bilinear",
        standardise=standardise,
    )


def source(model: Classifier, folder: Path, **changes: Any) -> FeatureSource:
    store = FeatureStore(folder, max_bytes=changes.pop("max_bytes", 1e9))
    return FeatureSource(model, store=store, **{"engine": "tensorflow", "dtype": "float32"} | changes)


def settings(**changes: Any) -> HyperparametersConfig:
    stopping = {"monitor": "val_loss", "counts": "images", "patience": None, "restore_best": True}
    stopping |= {name: changes.pop(name) for name in list(changes) if name in stopping}
    return HyperparametersConfig(
        **{
            "optimizer": "adam",
            "learning_rate": 1e-2,
            "schedule": "constant",
            "warmup": 0.0,
            "momentum": 0.0,
            "weight_decay": 0.0,
            "batch_size": 16,
            "epochs": 2,
            "label_smoothing": 0.0,
            "class_weights": "none",
            "sampling": "images",
            "mixup": 0.0,
            "cutmix": 0.0,
            "weight_averaging": 0.0,
            "early_stopping": EarlyStoppingConfig(**stopping),
            "mixed_precision": False,
            "seed": 0,
        }
        | changes
    )


def head(epochs: int = 1, learning_rate: float = 1e-2) -> Stage:
    return Stage(name="head", boundary=None, epochs=epochs, learning_rate=learning_rate)


def tuning(
    model: Classifier,
    block: str = "block_3",
    epochs: int = 1,
    learning_rate: float = 1e-2,
    train_statistics: bool = False,
) -> Stage:
    names = [layer.name for layer in model.backbone.application.layers]
    return Stage(
        name=f"from {block}",
        boundary=names.index(f"{block}_conv"),
        epochs=epochs,
        learning_rate=learning_rate,
        train_statistics=train_statistics,
    )


def repeatable(data: Data, folder: Path, *, seed: int) -> tuple[Trained, np.ndarray]:
    """Train with everything that is random: weights, order, augmentation, dropout."""
    make_deterministic(seed)
    model = classifier(dropout=0.3)
    stages = [head(2), tuning(model, "block_2", train_statistics=True)]
    trained = train(
        model,
        train_samples=data.train,
        val_samples=data.val,
        augmentation=Augmentation(horizontal_flip=True, rotation=90, brightness=0.1),
        stages=stages,
        settings=settings(seed=seed),
        folder=folder,
        source=(features := source(model, folder / "features")),
        n_views=2,
    )
    boundary = lowest_boundary(stages)
    return trained, predict(
        model, data.val, boundary=boundary, source=features, batch_size=16, description="predicting"
    )


if __name__ == "__main__":
    trained, probabilities = repeatable(data(Path(sys.argv[1])), Path(sys.argv[2]), seed=int(sys.argv[3]))
    json.dump({"history": trained.history.to_dict("list"), "probabilities": probabilities.tolist()}, sys.stdout)
