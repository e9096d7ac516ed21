"""Whether an exported model answers as the original, and how fast."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bloodcell.console.progress import track

Pixels = NDArray[np.uint8]
Run = Callable[[Pixels], NDArray[np.floating]]


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Two models on the same images, each image by itself.

    Attributes
    ----------
    images
        The number of images.
    largest_difference
        Of any probability.
    same_class
        The number of images with the same most probable class.
    original_ms, exported_ms
        The median time for an image, in milliseconds.
    """

    images: int
    largest_difference: float
    same_class: int
    original_ms: float
    exported_ms: float

    def holds(self, tolerance: float) -> bool:
        """Return whether all probabilities differ by at most ``tolerance``, and all classes are the same."""
        return self.largest_difference <= tolerance and self.same_class == self.images


def compare_models(original: Run, exported: Run, images: Sequence[Pixels]) -> Parity:
    """Ask two models in turn.

    Parameters
    ----------
    original, exported
        From raw RGB (1, height, width, 3), uint8, to probabilities (1, k).
    images
        At least one, of any sizes.
    """
    times: dict[str, list[float]] = {"original": [], "exported": []}
    differences, same = [], 0
    for ask in (original, exported):
        ask(images[0][np.newaxis])  # the first takes longer
    for pixels in track(images, "comparing", total=len(images)):
        found = {}
        for name, ask in (("original", original), ("exported", exported)):
            start = time.perf_counter()
            found[name] = np.asarray(ask(pixels[np.newaxis]), np.float64)
            times[name].append(1000 * (time.perf_counter() - start))
        difference = np.abs(found["original"] - found["exported"]).max()
        differences.append(float(difference) if np.isfinite(difference) else np.inf)
        same += int(found["original"].argmax() == found["exported"].argmax())
    return Parity(
        images=len(images),
        largest_difference=max(differences),
        same_class=same,
        original_ms=float(np.median(times["original"])),
        exported_ms=float(np.median(times["exported"])),
    )
