"""Saliency plots of errors and of each class, and how often the heat is on the cell."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import PurePath

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.config.training import TrainConfig
from bloodcell.data.manifest import ImageSet
from bloodcell.evaluation.pointing import measure_pointing, nucleus_in
from bloodcell.evaluation.predictions import label_indices, most_confident_errors, probabilities_of
from bloodcell.evaluation.probabilities import predicted_classes
from bloodcell.experiment.recorder import Recorder
from bloodcell.images.reading import read_image_to_show
from bloodcell.models.classifier import Classifier
from bloodcell.models.explanation import Explanation, explain_each
from bloodcell.plots.explanation import Explained, Heat, explanation_gallery

N_ERRORS = 8
N_MEASURED = 48
SHOWN_PER_CLASS = 4


def is_explained(config: TrainConfig, classifier: Classifier, *, fold: int | None, quiet: bool) -> bool:
    """Return whether a model is explained: only networks, and of a cross-validation only the first fold's."""
    if not classifier.backbone.takes_images or fold not in (None, 1):
        return False
    is_single = config.tracking.sweep_job is None and not quiet
    return config.explain == "every" or (config.explain == "single" and is_single)


def explain_run(recorder: Recorder, model: keras.Model, table: pd.DataFrame, *, images: ImageSet) -> dict[str, float]:
    """Draw heat maps of validation images, and measure how often the heat is on the cell.

    Parameters
    ----------
    recorder
        Draws ``explanations_errors`` and ``explanations_classes``.
    model
        The trained model.
    table
        Its predictions of validation.
    images
        The images.

    Returns
    -------
    dict
        The attributes of `bloodcell.evaluation.pointing.Pointing`, for one image of each of at most `N_MEASURED`
        photographs, equally many of each class.
    """
    errors = most_confident_errors(table, images.classes, len(table)).drop_duplicates("source").head(N_ERRORS)
    _draw_errors(recorder, model, errors, images=images)
    chosen = _chosen(table, images=images)
    pixels = _read(chosen, images)
    probabilities = probabilities_of(chosen, images.classes)
    predicted = predicted_classes(probabilities)
    explanations = explain_each(model, pixels, class_indices=predicted.tolist())
    shown = _spread(chosen, SHOWN_PER_CLASS * len(images.classes))
    recorder.draw(
        "explanations_classes",
        explanation_gallery,
        [
            _explained(
                pixels[index],
                [Heat(name=f"for {images.classes[predicted[index]]}", heat=explanations[index].heat)],
                row=chosen.iloc[index],
                predicted=images.classes[predicted[index]],
                probability=float(probabilities[index, predicted[index]]),
            )
            for index in shown
        ],
        title="Evidence for the predicted class: validation photographs of each class",
    )
    return asdict(measure_pointing(pixels, [explanation.heat for explanation in explanations]))


def _draw_errors(recorder: Recorder, model: keras.Model, errors: pd.DataFrame, *, images: ImageSet) -> None:
    pixels = _read(errors, images)
    predicted_classes = label_indices(errors.assign(label=errors["predicted"]), images.classes)
    true_classes = label_indices(errors, images.classes)
    halves: list[Sequence[Explanation]] = [
        explain_each(model, pixels, class_indices=classes.tolist()) for classes in (predicted_classes, true_classes)
    ]
    rows = [
        _explained(
            each,
            [
                Heat(name=f"for {row['predicted']}", heat=wrong.heat),
                Heat(name=f"for {row['label']}", heat=right.heat),
            ],
            row=row,
            predicted=str(row["predicted"]),
            probability=float(row["probability"]),
        )
        for each, (_, row), wrong, right in zip(pixels, errors.iterrows(), *halves, strict=True)
    ]
    recorder.draw(
        "explanations_errors",
        explanation_gallery,
        rows,
        title="Evidence for the predicted and the true class: most confident errors (val)",
        nothing="No image was misclassified.",
    )


def _chosen(table: pd.DataFrame, *, images: ImageSet) -> pd.DataFrame:
    """Return one image of each photograph, in an order that does not depend on names."""
    digests = images.part("val").set_index("path")["sha256"]
    mixed = table.assign(sha256=table["path"].map(digests)).sort_values(["sha256", "path"]).drop_duplicates("source")
    return mixed.iloc[sorted(_spread(mixed, N_MEASURED))].reset_index(drop=True)


def _spread(table: pd.DataFrame, n: int) -> list[int]:
    """Return the positions of at most n rows, balanced over labels, sorted by label."""
    turns = table.groupby("label").cumcount().to_numpy()
    first = np.argsort(turns, kind="stable")[:n]
    return sorted(first.tolist(), key=lambda position: (table["label"].iloc[position], turns[position]))


def _read(table: pd.DataFrame, images: ImageSet) -> list[NDArray[np.uint8]]:
    return [read_image_to_show(images.file(path)) for path in table["path"]]


def _explained(
    pixels: NDArray[np.uint8], heats: Sequence[Heat], *, row: pd.Series, predicted: str, probability: float
) -> Explained:
    return Explained(
        pixels=pixels,
        nucleus=nucleus_in(pixels),
        heats=heats,
        label=str(row["label"]),
        predicted=predicted,
        probability=probability,
        name=PurePath(str(row["path"])).name,
    )
