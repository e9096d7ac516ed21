"""Predictions of a saved model, which refuses images that are uncertain or unlike its training images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bloodcell.cells.novelty import Novelty, load_novelty
from bloodcell.cells.nucleus_features import nucleus_features
from bloodcell.errors import UserError
from bloodcell.evaluation.evidence import as_text, from_text
from bloodcell.evaluation.predictions import PROBABILITY_PREFIX
from bloodcell.evaluation.selective_prediction import Threshold, threshold_for_error
from bloodcell.evaluation.temperature import with_temperature
from bloodcell.files import atomic_write
from bloodcell.images.reading import MAX_PIXELS, UnreadableImage, decode_image, read_header
from bloodcell.wording import counted

UNCERTAIN = "uncertain"
UNLIKE = "unlike the training images"
UNREADABLE = "cannot be read"
"""Values of ``answer`` for images that get no class."""

ERRORS = tuple(round(percent / 100, 2) for percent in range(1, 100))
BATCH = 32
"""Images of one shape that go through the model at a time."""

_ARRAYS = "answering.npz"  # the name in models that are already saved
_NOVELTY = "novelty.npz"
SERVING_FILES = (_ARRAYS, _NOVELTY)
"""The files of `ServingParameters`."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class ServingParameters:
    """What a model needs besides its weights to predict.

    Attributes
    ----------
    classes
        The k classes, in the order of the model's outputs.
    temperature
        See `bloodcell.evaluation.temperature`.
    held_out_labels, held_out_probabilities
        Class indices (n,), int64, and probabilities at temperature 1, (n, k), float32, of held-out images, one of each
        photograph; in a cross-validation, the out-of-fold predictions.
    novelty
        Measures how far an image is from the training images.
    bits
        The bits a channel that are used of images with more than 8; None: those that an image uses.
    evidence
        The names of what limits its training, see `bloodcell.evaluation.evidence`.
    """

    classes: tuple[str, ...]
    temperature: float
    held_out_labels: NDArray[np.int64]
    held_out_probabilities: NDArray[np.float32]
    novelty: Novelty
    bits: int | None = None
    evidence: tuple[str, ...] = ()

    def threshold(self, max_error: float) -> Threshold | None:
        """Return the probability from which at most a share ``max_error`` of the predictions is wrong.

        By `bloodcell.evaluation.selective_prediction.threshold_for_error`, at 95 % confidence; None if no probability
        is high enough.
        """
        return threshold_for_error(
            labels=self.held_out_labels,
            probabilities=with_temperature(self.held_out_probabilities, self.temperature),
            groups=np.arange(len(self.held_out_labels)),
            max_error=max_error,
        )

    def least_error(self) -> float | None:
        """Return the least of 0.01, 0.02, ... 0.99 that `threshold` can promise; None without one."""
        return next((error for error in ERRORS if self.threshold(error) is not None), None)

    def required_threshold(self, max_error: float) -> Threshold:
        """Return the threshold for a largest error; a `UserError` that names the least that can be promised."""
        if not 0 < max_error < 1:
            raise UserError(f"max_error={max_error:g}: must be between 0 and 1")
        found = self.threshold(max_error)
        if found is None:
            least = self.least_error()
            what, advice = "no error can be promised", "leave max_error out"
            if least is not None:
                what, advice = f"the least error that can be promised is {least:.2f}", f"give max_error={least:.2f}"
            held_out = counted(len(self.held_out_labels), "held-out photograph")
            raise UserError(
                f"max_error={max_error:g}: {what}, with {held_out}; {advice}, or train with more photographs"
            )
        return found

    def save(self, folder: Path) -> None:
        """Write the parameters into a folder."""
        with atomic_write(folder / _ARRAYS) as partial, partial.open("wb") as file:
            np.savez(
                file,
                classes=np.array(self.classes),
                temperature=self.temperature,
                bits=self.bits or 0,
                evidence=as_text(self.evidence),
                labels=self.held_out_labels,
                probabilities=self.held_out_probabilities,
            )
        self.novelty.save(folder / _NOVELTY)


def load_serving_parameters(folder: Path) -> ServingParameters:
    """Read what `ServingParameters.save` wrote."""
    with np.load(folder / _ARRAYS, allow_pickle=False) as arrays:
        return ServingParameters(
            classes=tuple(arrays["classes"].tolist()),
            temperature=float(arrays["temperature"]),
            held_out_labels=arrays["labels"],
            held_out_probabilities=arrays["probabilities"],
            novelty=load_novelty(folder / _NOVELTY),
            bits=(int(arrays["bits"]) or None) if "bits" in arrays else None,
            evidence=from_text(str(arrays["evidence"])) if "evidence" in arrays else (),
        )


def predict_images(
    model: Any, serving: ServingParameters, contents: Sequence[bytes], *, max_error: float | None = None
) -> pd.DataFrame:
    """Predict images, or refuse them.

    Parameters
    ----------
    model
        From raw RGB (batch, height, width, 3), uint8, to probabilities (batch, k).
    serving
        Its calibration, held-out predictions and novelty detector.
    contents
        n image files' bytes.
    max_error
        The share of the predictions that may be wrong, between 0 and 1; images with a lower probability than this needs
        are ``uncertain``. None: no image is uncertain.

    Returns
    -------
    DataFrame
        n rows: ``answer`` (str: a class, ``uncertain``, ``unlike the training images`` or ``cannot be read``), ``why``
        (str: empty for a class), ``predicted`` (str: the most probable class), ``probability`` (that class's),
        ``novelty`` (distance from the training images; an image above 1 is refused) and ``p_<class>`` (calibrated);
        float64, NaN if an image cannot be read; and ``evidence`` (str: what limits the model, the same in each row).

    Raises
    ------
    UserError
        If ``max_error`` is not between 0 and 1, or no threshold guarantees it.
    """
    threshold = 0.0 if max_error is None else serving.required_threshold(max_error).value
    parts = [_predicted(model, serving, part, threshold) for part in _parts(contents)]
    table = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    return table.assign(evidence=as_text(serving.evidence))


def pixels_of(content: bytes) -> int:
    """Return the number of pixels that an image's header claims; 0 if it cannot be read."""
    try:
        header = read_header(content)
    except UnreadableImage:
        return 0
    return header.width * header.height


def _parts(contents: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Divide images into parts of at most `MAX_PIXELS` pixels, which are in memory at the same time."""
    part: list[bytes] = []
    n_pixels = 0
    for content in contents:
        more = pixels_of(content)
        if part and n_pixels + more > MAX_PIXELS:
            yield part
            part, n_pixels = [], 0
        part.append(content)
        n_pixels += more
    yield part


def _predicted(model: Any, serving: ServingParameters, contents: Sequence[bytes], threshold: float) -> pd.DataFrame:
    images: dict[int, Pixels] = {}
    reasons: dict[int, str] = {}
    for index, content in enumerate(contents):
        try:
            images[index] = decode_image(content, bits=serving.bits)
        except UnreadableImage as error:
            reasons[index] = str(error)
    known = list(images)
    probabilities = np.full((len(contents), len(serving.classes)), np.nan)
    if known:
        raw = raw_probabilities(model, list(images.values()), len(serving.classes))
        probabilities[known] = with_temperature(raw, serving.temperature)
    rows = []
    for index, row in enumerate(probabilities):
        if index in reasons:
            rows.append((UNREADABLE, reasons[index], "", np.nan, np.nan))
            continue
        best = int(row.argmax())
        novelty, reason = _novelty_of(serving.novelty, images[index])
        answer, why = serving.classes[best], ""
        if reason:
            answer, why = UNLIKE, reason
        elif row[best] < threshold:
            answer, why = UNCERTAIN, f"probability below {threshold:.1%}"
        rows.append((answer, why, serving.classes[best], row[best], novelty))
    table = pd.DataFrame(rows, columns=["answer", "why", "predicted", "probability", "novelty"])
    table[[PROBABILITY_PREFIX + name for name in serving.classes]] = probabilities
    return table


def _novelty_of(novelty: Novelty, pixels: Pixels) -> tuple[float, str]:
    """Return an image's distance from the training images, 1 at the threshold, and why it is refused (or "")."""
    seen = nucleus_features([pixels])
    distance = float(novelty.distance(seen.numbers)[0]) / novelty.threshold
    if not novelty.no_cell(seen)[0]:
        return distance, ""
    return distance, "far from the training images" if seen.found[0] else "no nucleus found"


def raw_probabilities(model: Any, images: Sequence[Pixels], n_classes: int) -> NDArray[np.float32]:
    """Return a model's probabilities of images of any shapes, (n, n_classes), in order, without calibration."""
    probabilities = np.zeros((len(images), n_classes), np.float32)
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(images):
        by_shape.setdefault(image.shape, []).append(index)
    for indices in by_shape.values():
        for start in range(0, len(indices), BATCH):
            part = indices[start : start + BATCH]
            probabilities[part] = np.asarray(model(np.stack([images[index] for index in part]), training=False))
    return probabilities
