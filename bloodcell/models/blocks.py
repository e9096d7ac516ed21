"""Boundaries of a network by layer, block or fraction. A plain Keras model works, too."""

import re

from bloodcell.errors import UserError
from bloodcell.models.extractors import FeatureExtractor

_BLOCK = re.compile(
    r"((?:.*_)?stage_?\d+_block_?\d+"  # ConvNeXt
    r"|conv\d+_block\d+"  # ResNet, DenseNet
    r"|expanded_conv(?:_\d+)?"  # MobileNetV3, the first block of MobileNetV2
    r"|(?:conv_)?block_?\d+[a-z]?)(?=_|$)"  # MobileNetV2, Xception, EfficientNet, VGG
)
"""The common prefix of the names of a block's layers in keras.applications."""


def blocks(network: FeatureExtractor) -> list[str]:
    """Return the names of the blocks, from the input up; empty if the layers' names show none."""
    found = (_BLOCK.match(layer.name) for layer in network.layers)
    return list(dict.fromkeys(match.group(1) for match in found if match))


def depths(network: FeatureExtractor) -> list[int]:
    """Return the number of blocks above each layer's block, in the order of ``network.layers``; 0 for the top block.

    A layer outside all blocks counts as part of the next block above it, or else of the top block.
    """
    names = blocks(network)
    found: list[int] = []
    depth = 0
    for layer in reversed(network.layers):
        if match := _BLOCK.match(layer.name):
            depth = len(names) - 1 - names.index(match.group(1))
        found.append(depth)
    return found[::-1]


def rate_factors(network: FeatureExtractor, decay: float) -> dict[str, float]:
    """Return ``decay`` to the power of the number of blocks above a weight's block, by the weight's path.

    Discriminative learning rates of Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification"
    (2018), section 3.2, by block.
    """
    return {
        weight.path: decay**depth
        for layer, depth in zip(network.layers, depths(network), strict=True)
        for weight in layer.weights
    }


def boundary_at_layer(network: FeatureExtractor, name: str, *, setting: str = "finetune") -> int:
    """Return the index of a layer that a setting names.

    Raises
    ------
    UserError
        If the network has no such layer.
    """
    names = [layer.name for layer in network.layers]
    if name not in names:
        raise UserError(f"{setting}: {network.name} has no layer {name}; its last layers are {', '.join(names[-5:])}")
    return names.index(name)


def boundary_at_block(network: FeatureExtractor, block: str) -> int:
    """Return the index of the first layer of a block: the first whose name is ``block`` or begins with it and ``_``.

    Raises
    ------
    UserError
        If the network has no such block.
    """
    for index, layer in enumerate(network.layers):
        if layer.name == block or layer.name.startswith(f"{block}_"):
            return index
    known = ", ".join(blocks(network)[-6:])
    advice = f"its last blocks are {known}" if known else "its blocks have no names; use fraction or layer"
    raise UserError(f"finetune: {network.name} has no block {block}; {advice}")


def boundary_at_fraction(network: FeatureExtractor, fraction: float) -> int:
    """Return the index of the first of the last ``fraction`` of the layers that have weights, at least one."""
    weighted = [index for index, layer in enumerate(network.layers) if layer.weights]
    return weighted[-max(1, round(fraction * len(weighted)))]
