"""Keeping a trained model so that it can be asked: with its calibration, and what the images of training look like."""

import io
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

import bloodcell
from bloodcell.cells.novelty import IMAGES_PER_SOURCE, Novelty, learn_novelty
from bloodcell.data.manifest import ImageSet
from bloodcell.evaluation.predictions import label_indices, probabilities_of
from bloodcell.evaluation.temperature import fit_temperature
from bloodcell.images.reading import read_image
from bloodcell.serving.answering import Answering
from bloodcell.tracking.run import TrackedRun

EXAMPLE_SIDE = 96
PACKAGES = ("tensorflow", "keras", "numpy", "pandas", "scipy", "scikit-learn", "pillow", "opencv-python-headless")
"""What a model needs where bloodcell's code comes with it."""
PACKAGES_OF_BLOODCELL = ("pydantic", "rich", "filelock")


def keep_model(
    tracked: TrackedRun,
    model: Any,
    *,
    classes: tuple[str, ...],
    held_out: pd.DataFrame,
    novelty: Novelty,
    example: bytes,
) -> str:
    """Keep a model in MLflow; return the address to load it from.

    Parameters
    ----------
    tracked
        The run that it is kept in.
    model
        The Keras model, from raw images to probabilities.
    classes
        In the order of its outputs.
    held_out
        Predictions of images that it, or in a cross-validation models of its kind, were not trained on.
    novelty
        Says how far an image is from those that it was trained on.
    example
        An image file's bytes.
    """
    return tracked.log_model(
        model,
        answering=_answering(classes, held_out, novelty),
        example=example,
        requirements=[f"{package}=={version(package)}" for package in (*PACKAGES, *PACKAGES_OF_BLOODCELL)],
        code=Path(bloodcell.__file__).parent,
    )


def keep_trained_model(tracked: TrackedRun, model: Any, *, images: ImageSet, held_out: pd.DataFrame) -> str:
    """Keep a model that was trained on a set's training images; see `keep_model`."""
    train = images.part("train").sort_values("sha256").groupby("source").head(IMAGES_PER_SOURCE)
    return keep_model(
        tracked,
        model,
        classes=images.classes,
        held_out=held_out,
        novelty=learn_novelty(images.files(train), train["sha256"].tolist(), train["group"].to_numpy(str)),
        example=_example(read_image(images.files(train)[0])),
    )


def _answering(classes: tuple[str, ...], held_out: pd.DataFrame, novelty: Novelty) -> Answering:
    held_out = held_out.reset_index(drop=True)
    labels, probabilities = label_indices(held_out, classes), probabilities_of(held_out, classes)
    # By their paths' hash, not by their names, in which copies may be sorted.
    order = np.argsort(pd.util.hash_array(held_out["path"].to_numpy(object)))
    one_of_each = held_out.iloc[order].drop_duplicates("group").index.to_numpy()
    return Answering(
        classes=classes,
        temperature=fit_temperature(labels=labels, probabilities=probabilities, groups=held_out["group"]),
        held_out_labels=labels[one_of_each],
        held_out_probabilities=probabilities[one_of_each].astype(np.float32),
        novelty=novelty,
    )


def _example(pixels: NDArray[np.uint8]) -> bytes:
    """Make an image small, since MLflow keeps the example as text; the model takes any size."""
    small = Image.fromarray(pixels)
    small.thumbnail((EXAMPLE_SIDE, EXAMPLE_SIDE))
    content = io.BytesIO()
    small.save(content, format="PNG")
    return content.getvalue()
