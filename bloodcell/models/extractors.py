"""Feature extractors: from an image to the features that a head classifies."""
# ruff: noqa: ARG002 - defaults of the base class do not use their arguments

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bloodcell.models.weights import digest_of

if TYPE_CHECKING:
    from bloodcell.models.cut import Cut
    from bloodcell.models.summary import Block


class FeatureExtractor:
    """A network, or a set of hand-made features.

    The defaults are those of an extractor without layers; a network overrides them.
    A boundary is the index of the first layer that is trained; None: all layers are frozen.

    Attributes
    ----------
    name
        As in the settings; a class of ``keras.applications`` as Keras spells it.
    weights
        ``imagenet``, ``smears``, ``random`` or the name of a file; ``none`` without weights.
    digest
        Digest of the weights before training, see `bloodcell.models.weights.digest_of`.
    fallback_reason
        Why ``auto`` could not use ImageNet's weights; else empty.
    takes_images
        Whether the trained model takes images (cropped, resized, augmented) rather than only hand-made features, which
        are computed once from each file.
    feature_sets
        The hand-made features that it consists of, names of `bloodcell.models.feature_sets.FEATURE_SETS`.
    outputs
        The symbolic feature maps, each (batch, h, w, c).
    layers
        The layers that can be fine-tuned, from the input up.
    """

    name: str
    weights: str = "none"
    digest: str = digest_of([])
    fallback_reason: str = ""
    takes_images: ClassVar[bool] = False
    feature_sets: tuple[str, ...] = ()
    outputs: Sequence[Any] = ()
    layers: Sequence[Any] = ()

    def inputs(self) -> list[Any]:
        """Return new symbolic inputs of the trained model: one for images, or none."""
        return []

    def prepare(self, raw: Any, *, interpolation: str, crop: str) -> list[Any]:
        """Return the values of `inputs` from raw images (batch, height, width, 3), uint8, inside the saved model."""
        return []

    def maps(self, images: Sequence[Any], *, trained: bool = False, train_statistics: bool = False) -> list[Any]:
        """Return feature maps, each (batch, h, w, c).

        Parameters
        ----------
        images
            The values of `inputs`: (batch, size, size, 3), float32 in [0, 255].
        trained
            Whether the model is for training.
        train_statistics
            Whether batch normalisation then learns its statistics and dropout is active.
        """
        return []

    def evaluated(self) -> tuple[list[Any], list[Any]]:
        """Return symbolic inputs, and their `maps` in a model that is not trained."""
        images = self.inputs()
        return images, self.maps(images)

    def cut(self, boundary: int) -> "Cut":
        """Return the network cut below the layer with this index."""
        raise IndexError(f"{self.name} has no layer {boundary}")

    def summary(self, boundary: int | None) -> list["Block"]:
        """Return its blocks for the diagram of the model, cut at a boundary."""
        return []

    def freeze(self, boundary: int | None) -> None:
        """Make the layers from a boundary on trainable, and no others."""
        for index, layer in enumerate(self.layers):
            layer.trainable = boundary is not None and index >= boundary

    def frozen_digest(self, boundary: int | None) -> str:
        """Return 16 hexadecimal digits that change with any weight below the boundary."""
        return digest_of(np.asarray(weight) for layer in self.layers[:boundary] for weight in layer.weights)


@dataclass(frozen=True, kw_only=True)
class FeatureSet(FeatureExtractor):
    """Hand-made features: numbers that code computes from an image.

    Attributes
    ----------
    name
        For ``backbone=NAME`` and ``head.extra_features``.
    description
        For model cards.
    n_features
        Number of features.
    compute
        From an image, RGB, shape (height, width, 3), uint8, to a row, shape (k,), float32. Sets with the same function
        share one call.
    compute_files
        The same from n files and the SHA-256 of their contents, to shape (n, k); it may use
        `bloodcell.images.feature_cache.cached_features`.
    select
        From rows (n, k) to the features, shape (n, n_features).
    """

    name: str
    description: str
    n_features: int
    compute: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    compute_files: Callable[[Sequence[Path], Sequence[str]], NDArray[np.float32]]
    select: Callable[[NDArray[np.float32]], NDArray[np.float32]] = lambda rows: rows

    @property
    def feature_sets(self) -> tuple[str, ...]:  # type: ignore[override]
        """A tuple of its name."""
        return (self.name,)
