"""A training that takes a second: a backbone of three blocks on a few dozen images of 32 pixels.

Run as a program, it resumes or starts a training, and prints its result: ``tiny.py IMAGES FOLDER SEED EPOCHS``.
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
from bloodcell.models.backbones import Network
from bloodcell.models.classifier import Classifier, build_classifier
from bloodcell.models.heads import build_head
from bloodcell.training.determinism import make_deterministic
from bloodcell.training.feature_store import FeatureStore
from bloodcell.training.features import FeatureCache
from bloodcell.training.learner import Learner
from bloodcell.training.stages import Stage
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
    images = load_bccd(root=root)
    return Data(samples(images, "train"), samples(images, "test"))


def backbone() -> Network:
    """Three blocks of a convolution, its normalisation and dropout."""
    image = tensor = keras.Input((SIZE, SIZE, 3))
    for number, filters in enumerate((8, 12, 16), start=1):
        tensor = keras.layers.Conv2D(filters, 3, strides=2, name=f"block_{number}_conv")(tensor)
        tensor = keras.layers.BatchNormalization(name=f"block_{number}_bn")(tensor)
        tensor = keras.layers.ReLU(name=f"block_{number}_relu")(tensor)
        tensor = keras.layers.Dropout(0.2, name=f"block_{number}_dropout")(tensor)
    return Network(
        name="Tiny",
        application=keras.Model(image, tensor, name="tiny"),
        preprocess=keras.applications.mobilenet_v2.preprocess_input,
        input_size=SIZE,
        weights="random",
        digest="",
    )


def classifier(*, dropout: float = 0.0, standardise: bool = False, projection: int | None = None) -> Classifier:
    head = build_head(n_classes=4, dropout=dropout, standardise=standardise, projection=projection)
    return build_classifier(backbone(), head)


def cache(model: Classifier, folder: Path, **changes: Any) -> FeatureCache:
    store = FeatureStore(folder, max_bytes=changes.pop("max_bytes", 1e9))
    return FeatureCache(model, store=store, **{"engine": "tensorflow", "dtype": "float32"} | changes)


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


def learner(model: Classifier, *stages: Stage, **changes: Any) -> Learner:
    """Return a learner; by default it trains only the head, without augmentation, on the fly."""
    return Learner(
        **{"classifier": model, "stages": stages or (head(),), "settings": settings(), "augmentation": Augmentation()}
        | changes
    )


def repeatable(
    data: Data, folder: Path, *, seed: int, epochs: int = 2, resume: bool = False
) -> tuple[Trained, np.ndarray]:
    """Train with everything that is random: weights, order, augmentation, dropout."""
    make_deterministic(seed)
    model = classifier(dropout=0.3)
    made = learner(
        model,
        head(epochs),
        tuning(model, "block_2", epochs=epochs - 1, train_statistics=True),
        augmentation=Augmentation(horizontal_flip=True, rotation=90, brightness=0.1),
        settings=settings(seed=seed),
        cache=cache(model, folder / "features"),
        n_views=2,
    )
    trained = train(made, train_samples=data.train, val_samples=data.val, folder=folder, resume=resume)
    return trained, predict(made, data.val, description="predicting")


if __name__ == "__main__":
    images, folder, seed, epochs = sys.argv[1:]
    trained, probabilities = repeatable(
        data(Path(images)), Path(folder), seed=int(seed), epochs=int(epochs), resume=True
    )
    json.dump({"history": trained.history.to_dict("list"), "probabilities": probabilities.tolist()}, sys.stdout)
