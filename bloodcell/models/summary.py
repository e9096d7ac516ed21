"""What a classifier is made of, block by block."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bloodcell.models.classifier import Classifier


POOLING = {
    "average": "average over the image",
    "max": "maximum over the image",
    "both": "average and maximum over the image",
    "cell": "averages over nucleus and surroundings",
}


@dataclass(frozen=True)
class Block:
    """A part of a model that is drawn as one box.

    Attributes
    ----------
    name
        Its name in the model.
    kind
        What it is, such as ``Dense`` or ``MobileNetV2``.
    output_shape
        What it puts out, such as ``7 x 7 x 1280``.
    parameters
        How many weights it has, at least 0.
    trainable
        Whether they are trained; without a meaning when there are none.
    """

    name: str
    kind: str
    output_shape: str
    parameters: int
    trainable: bool


def summarise(classifier: "Classifier", *, boundary: int | None) -> list[Block]:
    """Return a classifier's blocks from the image to the probabilities.

    Parameters
    ----------
    classifier
        A classifier.
    boundary
        The lowest layer of the backbone that any stage trains; None: all of it is frozen. The backbone is cut there.
    """
    rows = [Block("image", "RGB, 8 bits", "any size x 3", 0, False)]
    if classifier.backbone.application is not None:
        rows += _network(classifier, boundary)
        width = len(range(2 * classifier.channels)[classifier.used(None)])
        rows.append(Block("pooling", POOLING[classifier.head.pooling], str(width), 0, False))
    if classifier.n_measured:
        rows.append(Block("measure", "numbers of the image", str(classifier.n_measured), 0, False))
    head = classifier.head
    for layer in (*([] if head.standardise is None else [head.standardise]), *head.stack):
        rows.append(
            Block(layer.name, type(layer).__name__, _shape(layer.output.shape), layer.count_params(), layer.trainable)
        )
    return rows


def _network(classifier: "Classifier", boundary: int | None) -> list[Block]:
    backbone = classifier.backbone
    layers = backbone.application.layers if backbone.application is not None else []
    size = f"{backbone.input_size} x {backbone.input_size} x 3"
    cut = len(layers) if boundary is None else boundary
    rows = [
        Block("resize", "Resizing", size, 0, False),
        Block("preprocess", f"as {backbone.name} was trained", size, 0, False),
    ]
    if cut:
        name = "backbone" if boundary is None else "backbone, below the boundary"
        rows.append(Block(name, backbone.name, _shape(layers[cut - 1].output.shape), _parameters(layers[:cut]), False))
    if boundary is not None:
        name = f"backbone from {layers[cut].name}"
        rows.append(Block(name, backbone.name, _shape(layers[-1].output.shape), _parameters(layers[cut:]), True))
    return rows


def _shape(shape: tuple[int | None, ...]) -> str:
    return " x ".join(str(side) for side in shape[1:])


def _parameters(layers: Iterable[Any]) -> int:
    return sum(layer.count_params() for layer in layers)
