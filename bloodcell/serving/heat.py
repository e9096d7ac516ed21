"""The heat map of one image, as two small pictures for a page."""

import base64
import io
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bloodcell.evaluation.pointing import nucleus_in
from bloodcell.images.reading import UnreadableImage, decode_image
from bloodcell.models.explanation import explain
from bloodcell.plots.explanation import heat_over
from bloodcell.serving.limits import RefusedRequest
from bloodcell.serving.prediction import ServingParameters

MAX_EXPLAINED = 1_000_000
"""Most pixels of an image that is explained; a larger one is reduced first, as a model of several passes takes long."""
SHOWN_SIDE = 640
"""Most pixels of a picture's side."""
QUALITY = 90
WHITE = (255, 255, 255)


@dataclass(frozen=True, kw_only=True)
class HeatPictures:
    """The photograph as the model got it, and its heat map, as addresses with JPEG in base64.

    Attributes
    ----------
    explained
        The class whose evidence is shown.
    method
        See `bloodcell.models.explanation.explain`.
    """

    explained: str
    method: str
    photograph: str
    heat: str

    def as_dict(self) -> dict[str, str]:
        """Return the attributes by name."""
        return asdict(self)


def heat_pictures(model: Any, serving: ServingParameters, content: bytes) -> HeatPictures:
    """Draw where the model finds evidence for the most probable class.

    Parameters
    ----------
    model
        From raw RGB (batch, height, width, 3), uint8, to probabilities (batch, k).
    serving
        Its classes, and the bits of its images.
    content
        Of an image file.

    Raises
    ------
    RefusedRequest
        If it cannot be read.
    """
    try:
        pixels = _reduced(decode_image(content, bits=serving.bits), (MAX_EXPLAINED) ** 0.5)
    except UnreadableImage as error:
        raise RefusedRequest(422, f"cannot be read: {error}") from error
    found = explain(model, pixels)
    overlay = np.ascontiguousarray((heat_over(pixels, found.heat) * 255).astype(np.uint8))
    nucleus = nucleus_in(pixels)
    if nucleus is not None:
        outlines, _ = cv2.findContours(nucleus.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(overlay, outlines, -1, WHITE, max(1, round(max(pixels.shape) / 300)))
    return HeatPictures(
        explained=serving.classes[found.class_index],
        method=found.method,
        photograph=_address(pixels),
        heat=_address(overlay),
    )


def _reduced(pixels: NDArray[np.uint8], side: float) -> NDArray[np.uint8]:
    """Return an image of at most ``side`` x ``side`` pixels' area."""
    height, width = pixels.shape[:2]
    scale = side / (height * width) ** 0.5
    if scale >= 1:
        return pixels
    size = max(int(width * scale), 1), max(int(height * scale), 1)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _address(pixels: NDArray[np.uint8]) -> str:
    image = Image.fromarray(pixels)
    image.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
