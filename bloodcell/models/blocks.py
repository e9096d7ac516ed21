"""Where a backbone can be cut: its layers, its blocks, and shares of it."""

import re

import keras

from bloodcell.errors import UserError

_BLOCK = re.compile(
    r"((?:.*_)?stage_?\d+_block_?\d+"  # ConvNeXt
    r"|conv\d+_block\d+"  # ResNet, DenseNet
    r"|expanded_conv(?:_\d+)?"  # MobileNetV3, the first block of MobileNetV2
    r"|(?:conv_)?block_?\d+[a-z]?)(?=_|$)"  # MobileNetV2, Xception, EfficientNet, VGG
)
"""How keras.applications name the layers of one block: they begin alike."""


def blocks(application: keras.Model) -> list[str]:
    """Return the names of the blocks, from the input up; empty where its layers' names show none."""
    found = (_BLOCK.match(layer.name) for layer in application.layers)
    return list(dict.fromkeys(match.group(1) for match in found if match))


def depths(application: keras.Model) -> list[int]:
    """Return how many blocks lie above each layer's own, shape of ``application.layers``; 0 for the top block's.

    A layer of no block is counted with the block that comes next on the way up, or with the top one.
    """
    names = blocks(application)
    found: list[int] = []
    depth = 0
    for layer in reversed(application.layers):
        if match := _BLOCK.match(layer.name):
            depth = len(names) - 1 - names.index(match.group(1))
        found.append(depth)
    return found[::-1]


def boundary_at_layer(application: keras.Model, name: str, *, setting: str = "finetune") -> int:
    """Return the index of a layer that a setting names.

    Raises
    ------
    UserError
        If there is none of this name.
    """
    names = [layer.name for layer in application.layers]
    if name not in names:
        raise UserError(f"{setting}: {application.name} has no layer {name}; its last ones are {', '.join(names[-5:])}")
    return names.index(name)


def boundary_at_block(application: keras.Model, block: str) -> int:
    """Return the index of the first layer of a block: the first whose name is ``block`` or begins with it and ``_``.

    Raises
    ------
    UserError
        If there is none.
    """
    for index, layer in enumerate(application.layers):
        if layer.name == block or layer.name.startswith(f"{block}_"):
            return index
    known = ", ".join(blocks(application)[-6:]) or "none with a name; use fraction or layer"
    raise UserError(f"finetune: {application.name} has no block {block}; its last ones are {known}")


def boundary_at_fraction(application: keras.Model, fraction: float) -> int:
    """Return the index of the layer above which lies ``fraction`` of the layers that have weights, at least one."""
    weighted = [index for index, layer in enumerate(application.layers) if layer.weights]
    return weighted[-max(1, round(fraction * len(weighted)))]
