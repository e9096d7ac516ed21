"""Summary of a classifier by blocks, for its diagram."""

from collections.abc import Sequence
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
    """A part of a model, drawn as one box.

    Attributes
    ----------
    name
        Its name in the model.
    kind
        Its class, such as ``Dense`` or ``MobileNetV2``.
    output_shape
        The shape of its output, such as ``7 x 7 x 1280``.
    parameters
        Number of weights.
    trainable
        Whether they are trained.
    """

    name: str
    kind: str
    output_shape: str
    parameters: int
    trainable: bool

    @classmethod
    def of_layers(cls, name: str, kind: str, layers: Sequence[Any], *, trainable: bool) -> "Block":
        """Return a block of layers; its output is that of the last layer."""
        parameters = sum(layer.count_params() for layer in layers)
        shape = " x ".join(str(side) for side in layers[-1].output.shape[1:])
        return cls(name, kind, shape, parameters, trainable)


def summarise(classifier: "Classifier", *, boundary: int | None) -> list[Block]:
    """Return a classifier's blocks from the image to the probabilities.

    Parameters
    ----------
    classifier
        A classifier.
    boundary
        Index of the lowest layer of the backbone that any stage trains; None: all layers are frozen.
    """
    head = classifier.head
    blocks = [Block("image", "RGB, 8 bits", "any size x 3", 0, False), *classifier.backbone.summary(boundary)]
    if width := len(range(2 * classifier.channels)[classifier.used_columns(None)]):
        blocks.append(Block("pooling", POOLING[head.pooling], str(width), 0, False))
    if classifier.n_extra:
        blocks.append(Block("measure", "hand-made features", str(classifier.n_extra), 0, False))
    layers = [*filter(None, (head.standardise, head.projection)), *head.stack]
    heads = [Block.of_layers(each.name, type(each).__name__, [each], trainable=each.trainable) for each in layers]
    return [*blocks, *heads]
