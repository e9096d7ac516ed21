"""Where in a photograph a model sees the class that it names: heat maps of any kept model.

A model with a network is explained at an inner layer, whose maps are finer than the last ones, by what each place adds
to the class's log-odds against all others; any other model by `bloodcell.models.occlusion`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import cv2
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bloodcell.cells.crop import find_crop
from bloodcell.errors import UserError
from bloodcell.models.loaded import LoadedNetwork, networks_in
from bloodcell.models.occlusion import occlusion_heat

MapMethod = Literal["hirescam", "layercam", "gradcam", "gradcam++"]
Method = Literal[MapMethod, "occlusion"]
METHODS: tuple[Method, ...] = (*get_args(MapMethod), "occlusion")
DEFAULT_METHOD: MapMethod = "hirescam"
"""What it gives adds up to what a linear head says; LayerCAM's peaks are at the border of Xception's maps."""
BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What spoke for a class in a photograph.

    Attributes
    ----------
    heat
        On the photograph's own pixels, (height, width), float32 in [0, 1]: the largest is 1, unless nothing spoke for
        the class, when all are 0; 0 outside of what the model was shown.
    probabilities
        Of all classes, (n_classes,), float32.
    class_index
        The class.
    method
        How it was reckoned.
    layer
        The layer that was looked at; empty with occlusion, ``outputs`` for the maps that the head takes.
    """

    heat: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    class_index: int
    method: Method
    layer: str

    @property
    def peak(self) -> tuple[int, int] | None:
        """The hottest pixel's x and y; None where there is no heat."""
        if not self.heat.any():
            return None
        y, x = np.unravel_index(int(self.heat.argmax()), self.heat.shape)
        return int(x), int(y)


def explain(
    model: keras.Model,
    pixels: NDArray[np.uint8],
    *,
    class_index: int | None = None,
    layer: str | None = None,
    method: Method | None = None,
) -> Explanation:
    """Explain what a model says of a photograph.

    Parameters
    ----------
    model
        A kept model, as of `bloodcell.models.classifier.Classifier.whole` or loaded: raw images (batch, height, width,
        3), uint8, to probabilities. Of several models within it, the mean of their heat.
    pixels
        The photograph, RGB, (height, width, 3), uint8.
    class_index
        The class to explain; None: the most probable.
    layer
        The layer of the backbone to look at, or ``outputs`` for the maps that the head takes, several ones added up;
        None: these if they are fine enough, else the last that is (see
        `bloodcell.models.loaded.LoadedNetwork.last_fine_layer`).
    method
        ``hirescam`` (Draelos & Carin, 2021), ``layercam`` (Jiang et al., 2021), ``gradcam`` (Selvaraju et al., 2017),
        ``gradcam++`` (Chattopadhyay et al., 2018) or ``occlusion``; None: ``hirescam``, or ``occlusion`` for a model
        without a network.

    Raises
    ------
    UserError
        If the model has no such layer, or no network and a method is asked for that needs one.
    """
    indices = None if class_index is None else [class_index]
    return explain_each(model, [pixels], class_indices=indices, layer=layer, method=method)[0]


def explain_each(
    model: keras.Model,
    photographs: Sequence[NDArray[np.uint8]],
    *,
    class_indices: Sequence[int] | None = None,
    layer: str | None = None,
    method: Method | None = None,
) -> list[Explanation]:
    """Explain what a model says of several photographs, which may differ in size; as `explain`, and faster."""
    networks = [] if method == "occlusion" else networks_in(model)
    if not networks:
        if layer is not None or method not in (None, "occlusion"):
            asked = f"method={method}" if layer is None else f"layer={layer}"
            raise UserError(f"{asked}: the model has no network to look into; leave it out for occlusion")
        return [
            _occluded(model, pixels, None if class_indices is None else class_indices[index])
            for index, pixels in enumerate(photographs)
        ]
    chosen: MapMethod = DEFAULT_METHOD if method is None or method == "occlusion" else method
    explained = partial(_explained, photographs=photographs, layer=layer, method=chosen)
    if len(networks) == 1 and "core" in {each.name for each in model.layers}:
        return explained(networks[0], class_indices=class_indices)
    # A model of several models: the mean of their heat.
    probabilities = [_predict(model, pixels[np.newaxis])[0] for pixels in photographs]
    indices = [int(each.argmax()) for each in probabilities] if class_indices is None else list(class_indices)
    parts = [explained(network, class_indices=indices) for network in networks]
    return [
        Explanation(
            heat=_normalised(np.mean([part.heat for part in of_one], axis=0)),
            probabilities=known,
            class_index=index,
            method=chosen,
            layer=", ".join(dict.fromkeys(part.layer for part in of_one)),
        )
        for *of_one, known, index in zip(*parts, probabilities, indices, strict=True)
    ]


def _explained(
    network: LoadedNetwork,
    photographs: Sequence[NDArray[np.uint8]],
    *,
    class_indices: Sequence[int] | None,
    layer: str | None,
    method: MapMethod,
) -> list[Explanation]:
    name = layer or network.last_fine_layer() or "outputs"
    halves = None if name == "outputs" else network.halves(name)
    explanations: list[Explanation] = []
    for start in range(0, len(photographs), BATCH):
        some = photographs[start : start + BATCH]
        prepared = [network.prepare([pixels[np.newaxis]]) for pixels in some]
        inputs = [keras.ops.concatenate(parts) for parts in zip(*prepared, strict=True)]
        # A copy, as what preprocesses images for some applications works in place.
        images = inputs[0] + 0 if network.preprocess is None else network.preprocess(inputs[0])
        crossing = halves.below([images]) if halves else keras.tree.flatten(network.application(images, training=False))
        looked_at = [crossing[halves.chosen]] if halves else crossing
        with tf.GradientTape() as tape:
            for tensor in looked_at:
                tape.watch(tensor)
            logits = network.scores(halves.maps(crossing) if halves else crossing, inputs)
            probabilities = np.asarray(keras.ops.softmax(logits), np.float32)
            indices = probabilities.argmax(axis=1)
            if class_indices is not None:
                indices = np.asarray(class_indices[start : start + BATCH])
            odds = _log_odds(logits, indices)
        gradients = tape.gradient(odds, looked_at)
        heat = _added([_map(method, *pair) for pair in zip(looked_at, gradients, strict=True)])
        explanations += [
            Explanation(
                heat=_on_photograph(each, pixels, network),
                probabilities=known,
                class_index=int(index),
                method=method,
                layer=name,
            )
            for each, pixels, known, index in zip(heat, some, probabilities, indices, strict=True)
        ]
    return explanations


def _log_odds(logits: Any, indices: NDArray[np.int64]) -> Any:
    """Return how far the logit of a class is above what all others come to, (batch,).

    Not the logit itself, to all of which a head may add the same number wherever it pleases.
    """
    chosen = keras.ops.one_hot(indices, logits.shape[1], dtype=logits.dtype)
    others = logits - chosen * 1e9
    return keras.ops.sum(logits * chosen, axis=1) - keras.ops.logsumexp(others, axis=1)


def _map(method: MapMethod, activations: Any, gradients: Any) -> NDArray[np.float32]:
    """Return what each place adds to the class, (batch, h, w), from maps and gradients (batch, h, w, c)."""
    maps, slopes = np.asarray(activations).astype(np.float32), np.asarray(gradients).astype(np.float32)
    match method:
        case "layercam":
            weights = np.maximum(slopes, 0.0)
        case "hirescam":
            weights = slopes
        case "gradcam":
            weights = slopes.mean(axis=(1, 2), keepdims=True)
        case "gradcam++":
            # Its equation 19, where higher derivatives of the class's exponential are powers of the first.
            bottom = 2 * slopes**2 + maps.sum(axis=(1, 2), keepdims=True) * slopes**3
            alpha = np.divide(slopes**2, bottom, out=np.zeros_like(bottom), where=bottom != 0)
            weights = (alpha * np.maximum(slopes, 0.0)).sum(axis=(1, 2), keepdims=True)
    return np.asarray((maps * weights).sum(axis=-1))


def _added(heats: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Add maps up on the finest one's grid; a cell of a coarser one shares its heat out."""
    side = max(heat.shape[1:3] for heat in heats)
    total = np.zeros((len(heats[0]), *side), np.float32)
    for heat in heats:
        share = heat.shape[1] * heat.shape[2] / (side[0] * side[1])
        total += share * np.stack([cv2.resize(each, side[::-1], interpolation=cv2.INTER_LINEAR) for each in heat])
    return total


def _on_photograph(heat: NDArray[np.float32], pixels: NDArray[np.uint8], network: LoadedNetwork) -> NDArray[np.float32]:
    """Put heat where it is in the photograph that a model was shown, or a crop of it."""
    height, width = pixels.shape[:2]
    shown = find_crop(pixels, network.crop)
    if shown is None or not shown.found:
        return _normalised(cv2.resize(heat, (width, height), interpolation=cv2.INTER_CUBIC))
    square = cv2.resize(heat, (shown.side, shown.side), interpolation=cv2.INTER_CUBIC)
    whole = np.zeros((height, width), np.float32)
    rows = slice(max(shown.top, 0), min(shown.top + shown.side, height))
    columns = slice(max(shown.left, 0), min(shown.left + shown.side, width))
    whole[rows, columns] = square[
        rows.start - shown.top : rows.stop - shown.top, columns.start - shown.left : columns.stop - shown.left
    ]
    return _normalised(whole)


def _normalised(heat: Any) -> NDArray[np.float32]:
    positive = np.maximum(np.asarray(heat, np.float32), 0.0)
    largest = float(positive.max())
    return np.asarray(positive / largest if largest > 0 else positive, np.float32)


def _occluded(model: keras.Model, pixels: NDArray[np.uint8], class_index: int | None) -> Explanation:
    probabilities = _predict(model, pixels[np.newaxis])[0]
    index = int(probabilities.argmax()) if class_index is None else class_index
    heat = occlusion_heat(lambda images: _predict(model, images), pixels, class_index=index)
    return Explanation(
        heat=_normalised(heat), probabilities=probabilities, class_index=index, method="occlusion", layer=""
    )


def _predict(model: keras.Model, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    # In a graph: what measures or crops images one by one takes many times as long without.
    return np.asarray(model.predict(images, batch_size=len(images), verbose=0), np.float32)
