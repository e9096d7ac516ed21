"""The parts of a loaded model: preprocessing, backbone and head.

A loaded Keras model is a graph of layers. The parts that `bloodcell.models.classifier.build_classifier` joined are
identified by their names and connections.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from bloodcell.cells.crop import CropName
from bloodcell.errors import UserError
from bloodcell.models.cut import crossing_tensors
from bloodcell.models.preparing import CropImages

FINE_CELLS = 14
"""Smallest side of a feature map for an explanation, in cells; the last maps of most networks have 7."""
FINE_STRIDE = 16
"""Largest size of a cell in pixels, for inputs smaller than 224 pixels."""


@dataclass(frozen=True, kw_only=True)
class LoadedNetwork:
    """The parts of a saved model with a backbone.

    Attributes
    ----------
    crop
        How it crops images.
    prepare
        From raw images (batch, height, width, 3), uint8, to the core's inputs: images (batch, size, size, 3), float32
        in [0, 255], then hand-made features, if there are any.
    preprocess
        From these images to the application's input; None: unchanged.
    application
        From its input to feature maps, one or several.
    head
        From feature maps, and the core's inputs with the indices ``extra_inputs``, to the input of `last`.
    extra_inputs
        Indices of inputs.
    last
        The layer that outputs probabilities.
    """

    crop: CropName
    prepare: keras.Function
    preprocess: keras.Function | None
    application: keras.Model
    head: keras.Function
    extra_inputs: Sequence[int]
    last: keras.layers.Dense

    def logits(self, maps: Sequence[Any], inputs: Sequence[Any]) -> Any:
        """Return the logits (batch, n_classes), float32, of feature maps and the core's inputs."""
        features = self.head([*maps, *(inputs[index] for index in self.extra_inputs)])
        return keras.ops.matmul(keras.ops.cast(features, "float32"), self.last.kernel) + self.last.bias

    def halves(self, name: str) -> "Halves":
        """Cut the application above the operation of this name.

        Raises
        ------
        UserError
            If it does not exist, or it outputs no feature map that later layers use.
        """
        operations = self.application.operations
        names = [operation.name for operation in operations]
        if name not in names:
            last = ", ".join(names[-5:])
            raise UserError(
                f"layer={name}: {self.application.name} has no layer of this name; its last layers are {last}"
            )
        position = names.index(name)
        crossing = crossing_tensors(self.application, position + 1)
        chosen = operations[position].output
        if not _is_map(operations[position]) or id(chosen) not in map(id, crossing):
            raise UserError(
                f"layer={name}: does not output feature maps of {self.application.name}; name another layer"
            )
        above = [output for output in self.application.outputs if id(output) not in map(id, crossing)]
        order = [id(tensor) for tensor in (*crossing, *above)]
        passed = [each.output for each in _bottlenecks(self.application) if operations.index(each) <= position]
        return Halves(
            below=Chain.through([self.application.inputs, *([tensor] for tensor in passed), crossing]),
            above=keras.Function(crossing, above) if above else None,
            chosen=order.index(id(chosen)),
            outputs=[order.index(id(output)) for output in self.application.outputs],
        )

    def last_fine_layer(self) -> str | None:
        """Return the layer to explain; None: the application's outputs, if one of them is fine enough.

        It is the end of the last block whose map is fine enough (`FINE_CELLS`, or `FINE_STRIDE` for smaller inputs): a
        layer where branches merge and all paths pass. Without merging branches it is the last fine layer that all paths
        pass; if no such layer is less than twice as fine, it is the last fine layer where branches merge.
        """
        least = min(FINE_CELLS, self.application.inputs[0].shape[1] // FINE_STRIDE)
        if max(output.shape[1] for output in self.application.outputs) >= least:
            return None
        fine = [each for each in self.application.operations if _is_map(each) and each.output.shape[1] >= least]
        passed = {id(each) for each in _bottlenecks(self.application)}
        through = [each for each in fine if id(each) in passed and each.output.shape[1] < 2 * least]
        merging = [each for each in through or fine if len(keras.tree.flatten(each.input)) > 1]
        return str((merging or through or fine)[-1].name)


@dataclass(frozen=True)
class Chain:
    """Functions, each of which takes the tensors of the one before.

    Keras keeps every tensor of a function until it returns; a chain needs memory for one of its parts.
    """

    parts: Sequence[keras.Function]

    @classmethod
    def through(cls, cuts: Sequence[Sequence[Any]]) -> "Chain":
        """Return the chain from the first symbolic tensors to the last, by all between."""
        different = [cuts[0]]
        for cut in cuts[1:]:
            if [id(tensor) for tensor in cut] != [id(tensor) for tensor in different[-1]]:
                different.append(cut)
        return cls([keras.Function(list(first), list(last)) for first, last in itertools.pairwise(different)])

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """Return the last tensors from the first."""
        tensors = list(inputs)
        for part in self.parts:
            tensors = part(tensors)
        return tensors


@dataclass(frozen=True, kw_only=True)
class Halves:
    """An application cut in two.

    Attributes
    ----------
    below
        From its input to the tensors at the cut.
    above
        From there to its outputs above the cut; None: all are below.
    chosen
        Index of the chosen layer's output among the tensors at the cut and the outputs above it.
    outputs
        Indices of the application's outputs among them, in order.
    """

    below: "Chain"
    above: keras.Function | None
    chosen: int
    outputs: Sequence[int]

    def maps(self, crossing: Sequence[Any]) -> list[Any]:
        """Return the application's outputs from the tensors at the cut."""
        above = [] if self.above is None else self.above(list(crossing))
        known = [*crossing, *above]
        return [known[index] for index in self.outputs]


def networks_in(model: keras.Model) -> list[LoadedNetwork]:
    """Return the networks of a saved model, several for an ensemble; empty if there is none."""
    core = _model_named(model, "core")
    if core is not None:
        network = _network(model, core)
        return [] if network is None else [network]
    members = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    return [network for member in members for network in networks_in(member)]


def _network(whole: keras.Model, core: keras.Model) -> LoadedNetwork | None:
    applications = [layer for layer in core.layers if isinstance(layer, keras.Model)]
    last, (features,) = _origin(core.outputs[0])
    if len(applications) != 1 or not _is_softmax(last):
        return None
    (application,) = applications
    maps, inputs = _sources(features, application)
    (images,) = _origin(maps[0])[1]
    (resized,) = (tensor for tensor in core.inputs if len(tensor.shape) == 4)
    operation, prepared = _origin(whole.outputs[0])
    if operation is not core or len(maps) != len(application.outputs):
        return None
    crops = [layer for layer in whole.layers if isinstance(layer, CropImages)]
    ids = [id(tensor) for tensor in core.inputs]
    return LoadedNetwork(
        crop=crops[0].crop if crops else "none",
        prepare=keras.Function(whole.inputs, list(prepared)),
        preprocess=None if images is resized else keras.Function(resized, images),
        application=application,
        head=keras.Function([*maps, *inputs], features),
        extra_inputs=[ids.index(id(tensor)) for tensor in inputs],
        last=last,
    )


def _bottlenecks(application: keras.Model) -> list[Any]:
    """Return the operations that all paths pass, from the input up: a cut above them crosses only their output."""
    position = {id(operation): index for index, operation in enumerate(application.operations)}
    last_use = {id(output): len(position) for output in application.outputs}
    for index, operation in reversed(list(enumerate(application.operations))):
        for tensor in keras.tree.flatten(operation.input):
            last_use.setdefault(id(tensor), index)
    found, furthest = [], 0
    for index, operation in enumerate(application.operations):
        outputs = keras.tree.flatten(operation.output)
        if furthest <= index and len(outputs) == 1 and not isinstance(operation, keras.layers.InputLayer):
            found.append(operation)
        furthest = max([furthest, *(last_use.get(id(output), 0) for output in outputs)])
    return found


def _is_map(operation: Any) -> bool:
    """Return whether an operation outputs one feature map, without padding."""
    if isinstance(operation, keras.layers.InputLayer | keras.layers.ZeroPadding2D):
        return False
    return not isinstance(operation.output, list) and len(operation.output.shape) == 4


def _model_named(model: keras.Model, name: str) -> keras.Model | None:
    return next((layer for layer in model.layers if isinstance(layer, keras.Model) and layer.name == name), None)


def _is_softmax(layer: Any) -> bool:
    return isinstance(layer, keras.layers.Dense) and layer.activation is keras.activations.softmax


def _origin(tensor: Any) -> tuple[Any, list[Any]]:
    """Return the operation that outputs a symbolic tensor, and its input tensors."""
    history = tensor._keras_history
    return history.operation, list(history.operation._inbound_nodes[history.node_index].input_tensors)


def _sources(tensor: Any, application: keras.Model) -> tuple[list[Any], list[Any]]:
    """Return an application's outputs, in order, and the outer model's inputs that a tensor depends on."""
    maps, inputs, seen, waiting = {}, [], set(), [tensor]
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        operation, its_inputs = _origin(tensor)
        if operation is application:
            maps[tensor._keras_history.tensor_index] = tensor
        elif isinstance(operation, keras.layers.InputLayer):
            inputs.append(tensor)
        else:
            waiting.extend(its_inputs)
    return [maps[index] for index in sorted(maps)], inputs
