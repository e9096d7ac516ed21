"""Heat maps of the evidence for a class in a photograph, for any saved model.

A network is explained by class activation maps at an inner layer, which are finer than the last ones: the contribution
of each position to the class's log-odds. Any other model is explained by `bloodcell.models.occlusion`.
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
"""With a linear head its heat sums to the logit; LayerCAM has peaks at the border of Xception's maps."""
BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The evidence for a class in a photograph.

    Attributes
    ----------
    heat
        For each pixel of the photograph, (height, width), float32 in [0, 1]. The largest is 1, or all are 0 if there is
        no evidence. Outside the crop it is 0.
    probabilities
        Of all classes, (n_classes,), float32.
    class_index
        The class.
    method
        How it was computed.
    layer
        The layer; ``outputs`` for the input of the head, empty with occlusion.
    """

    heat: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    class_index: int
    method: Method
    layer: str

    @property
    def peak(self) -> tuple[int, int] | None:
        """The hottest pixel's x and y; None if there is no heat."""
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
    """Explain a model's prediction for a photograph.

    Parameters
    ----------
    model
        A saved model such as `bloodcell.models.classifier.Classifier.whole`, from raw images (batch, height, width, 3),
        uint8, to probabilities. For an ensemble, the heat of its networks is averaged.
    pixels
        The photograph, RGB, (height, width, 3), uint8.
    class_index
        The class to explain; None: the most probable.
    layer
        The layer of the backbone to explain, or ``outputs`` for the head's input (several maps are added); None: the
        last layer with fine maps, see `bloodcell.models.loaded.LoadedNetwork.last_fine_layer`.
    method
        ``hirescam`` (Draelos & Carin, 2021), ``layercam`` (Jiang et al., 2021), ``gradcam`` (Selvaraju et al., 2017),
        ``gradcam++`` (Chattopadhyay et al., 2018) or ``occlusion``; None: ``hirescam``, or ``occlusion`` for a model
        without a network.

    Raises
    ------
    UserError
        If the model has no such layer, or the method needs a network and the model has none.
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
    """Explain predictions for several photographs, which may differ in size, faster than `explain`."""
    networks = [] if method == "occlusion" else networks_in(model)
    if not networks:
        if layer is not None or method not in (None, "occlusion"):
            given = f"method={method}" if layer is None else f"layer={layer}"
            raise UserError(f"{given}: the model has no network; remove the setting, to use occlusion")
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
            heat=_normalised(np.mean([each.heat for each in explanations], axis=0)),
            probabilities=known,
            class_index=index,
            method=chosen,
            layer=", ".join(dict.fromkeys(each.layer for each in explanations)),
        )
        for *explanations, known, index in zip(*parts, probabilities, indices, strict=True)
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
        # A copy, because the preprocessing of some applications works in place.
        images = inputs[0] + 0 if network.preprocess is None else network.preprocess(inputs[0])
        crossing = halves.below([images]) if halves else keras.tree.flatten(network.application(images, training=False))
        explained_maps = [crossing[halves.chosen]] if halves else crossing
        with tf.GradientTape() as tape:
            for tensor in explained_maps:
                tape.watch(tensor)
            logits = network.logits(halves.maps(crossing) if halves else crossing, inputs)
            probabilities = np.asarray(keras.ops.softmax(logits), np.float32)
            indices = probabilities.argmax(axis=1)
            if class_indices is not None:
                indices = np.asarray(class_indices[start : start + BATCH])
            odds = _log_odds(logits, indices)
        gradients = tape.gradient(odds, explained_maps)
        heat = _sum_of_maps([_map(method, *pair) for pair in zip(explained_maps, gradients, strict=True)])
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
    """Return the log-odds of a class, (batch,): its logit minus the logarithm of the others' summed exponentials.

    Logits themselves are not comparable: a constant may be added to all of them.
    """
    chosen = keras.ops.one_hot(indices, logits.shape[1], dtype=logits.dtype)
    others = logits - chosen * 1e9
    return keras.ops.sum(logits * chosen, axis=1) - keras.ops.logsumexp(others, axis=1)


def _map(method: MapMethod, activations: Any, gradients: Any) -> NDArray[np.float32]:
    """Return the heat of each position, (batch, h, w), from maps and gradients (batch, h, w, c)."""
    maps, slopes = np.asarray(activations).astype(np.float32), np.asarray(gradients).astype(np.float32)
    match method:
        case "layercam":
            weights = np.maximum(slopes, 0.0)
        case "hirescam":
            weights = slopes
        case "gradcam":
            weights = slopes.mean(axis=(1, 2), keepdims=True)
        case "gradcam++":
            # Equation 19 of the paper: higher derivatives of the class's exponential are powers of the first.
            bottom = 2 * slopes**2 + maps.sum(axis=(1, 2), keepdims=True) * slopes**3
            alpha = np.divide(slopes**2, bottom, out=np.zeros_like(bottom), where=bottom != 0)
            weights = (alpha * np.maximum(slopes, 0.0)).sum(axis=(1, 2), keepdims=True)
    return np.asarray((maps * weights).sum(axis=-1))


def _sum_of_maps(heats: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Add maps on the grid of the finest one; the heat of a coarser cell is divided among the finer cells."""
    side = max(heat.shape[1:3] for heat in heats)
    total = np.zeros((len(heats[0]), *side), np.float32)
    for heat in heats:
        share = heat.shape[1] * heat.shape[2] / (side[0] * side[1])
        total += share * np.stack([cv2.resize(each, side[::-1], interpolation=cv2.INTER_LINEAR) for each in heat])
    return total


def _on_photograph(heat: NDArray[np.float32], pixels: NDArray[np.uint8], network: LoadedNetwork) -> NDArray[np.float32]:
    """Map heat from the model's input, which may be a crop, to the photograph."""
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
    # As a graph: layers that measure or crop single images are many times slower without one.
    return np.asarray(model.predict(images, batch_size=len(images), verbose=0), np.float32)
