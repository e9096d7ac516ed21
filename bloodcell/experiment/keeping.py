"""Saving a trained model with everything that prediction needs: calibration, novelty, an example image."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from bloodcell.cells.novelty import IMAGES_PER_SOURCE, Novelty, learn_novelty
from bloodcell.data.manifest import ImageSet
from bloodcell.evaluation.predictions import arrays_of
from bloodcell.evaluation.temperature import fit_temperature
from bloodcell.experiment.recorder import Recorder
from bloodcell.images.reading import read_image
from bloodcell.serving.prediction import ServingParameters

EXAMPLE_SIDE = 96
"""Pixels of the longer side of an example image."""


def keep_model(
    recorder: Recorder,
    model: Any,
    *,
    classes: tuple[str, ...],
    held_out: pd.DataFrame,
    novelty: Novelty,
    example: bytes,
    bits: int | None,
    evidence: tuple[str, ...],
) -> str:
    """Save a model with its calibration and novelty; return the address to load it from.

    Parameters
    ----------
    recorder
        Saves the model.
    model
        The Keras model, from raw images to probabilities.
    classes
        In the order of the outputs.
    held_out
        Predictions of images that the model was not trained on; in a cross-validation, the out-of-fold predictions.
    novelty
        Measures how far an image is from the training images.
    example
        The content of an image file.
    bits, evidence
        See `ServingParameters`.
    """
    serving = replace(_serving_parameters(classes, held_out, novelty), bits=bits, evidence=evidence)
    return recorder.log_model(model, serving=serving, example=example)


def keep_trained_model(
    recorder: Recorder, model: Any, *, images: ImageSet, held_out: pd.DataFrame, evidence: tuple[str, ...]
) -> str:
    """Save a model that was trained on the training images of a set; see `keep_model`."""
    train = images.part("train").sort_values("sha256").groupby("source").head(IMAGES_PER_SOURCE)
    return keep_model(
        recorder,
        model,
        classes=images.classes,
        held_out=held_out,
        novelty=learn_novelty(images.files(train), train["sha256"].tolist(), train["group"].to_numpy(str)),
        example=_example(read_image(images.files(train)[0])),
        bits=images.bits,
        evidence=evidence,
    )


def _serving_parameters(classes: tuple[str, ...], held_out: pd.DataFrame, novelty: Novelty) -> ServingParameters:
    held_out = held_out.reset_index(drop=True)
    labels, probabilities = arrays_of(held_out, classes)
    # In the order of a hash of the paths: names may be sorted by copy.
    order = np.argsort(pd.util.hash_array(held_out["path"].to_numpy(object)))
    one_of_each = held_out.iloc[order].drop_duplicates("group").index.to_numpy()
    return ServingParameters(
        classes=classes,
        temperature=fit_temperature(labels=labels, probabilities=probabilities, groups=held_out["group"]),
        held_out_labels=labels[one_of_each],
        held_out_probabilities=probabilities[one_of_each].astype(np.float32),
        novelty=novelty,
    )


def _example(pixels: NDArray[np.uint8]) -> bytes:
    """Return a small PNG file of an image: MLflow keeps the example as text, and the model takes any size."""
    small = Image.fromarray(pixels)
    small.thumbnail((EXAMPLE_SIDE, EXAMPLE_SIDE))
    content = io.BytesIO()
    small.save(content, format="PNG")
    return content.getvalue()
