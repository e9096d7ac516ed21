"""The steps of a head on stored features, in TensorFlow functions that serve heads of any size.

For a step whose arithmetic takes microseconds, Keras's ``fit`` takes milliseconds. These functions take the same steps,
with the same random numbers and the same updates, and each of them is traced once in a process.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bloodcell.config.training import HyperparametersConfig
from bloodcell.models.heads import Head

Rows = NDArray[np.float32]
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7
"""Of Adam, as in Keras (Kingma and Ba 2015)."""
N_SLOTS = {"adam": 2, "momentum": 1, "descent": 0}
"""The variables that an optimizer has for each weight."""
ops = tf.raw_ops


class Sums(NamedTuple):
    """Sums over images: of the weighted loss with its penalty, of correct ones, of the weights of correct ones."""

    loss: float
    correct: float
    weighted_correct: float


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """What a function is traced for: everything about a head's steps that is not a number."""

    n_layers: int
    optimizer: str
    dropout: bool
    standardise: bool
    l2: bool
    decay: bool


class HeadSteps:
    """The weights of a head and of its optimizer, and the steps that change them.

    Parameters
    ----------
    head
        Its weights are trained in place. If it projects features, rows are those that it has already projected.
    settings
        Optimizer, momentum, weight decay, label smoothing.
    """

    def __init__(self, head: Head, settings: HyperparametersConfig) -> None:
        dense = [layer for layer in head.stack if isinstance(layer, keras.layers.Dense)]
        dropouts = [layer for layer in head.stack if isinstance(layer, keras.layers.Dropout)]
        self._kernels, self._biases = [each.kernel.value for each in dense], [each.bias.value for each in dense]
        self._seeds = [each.seed_generator.state for each in dropouts]
        penalty = dense[-1].kernel_regularizer
        l2 = float(penalty.l2) if penalty else 0.0
        self._n_steps = 0
        optimizer = "adam" if settings.optimizer != "sgd" else "momentum" if settings.momentum else "descent"
        self._slots = [
            [tf.Variable(tf.zeros_like(variable), trainable=False) for variable in (*self._kernels, *self._biases)]
            for _ in range(N_SLOTS[optimizer])
        ]
        self._functions = _functions(
            _Kind(
                n_layers=len(dense),
                optimizer=optimizer,
                dropout=bool(dropouts),
                standardise=self._scales(head),
                l2=l2 > 0,
                decay=settings.weight_decay > 0,
            )
        )
        self._scaling: list[Any] = []
        if self._scales(head):
            layer: Any = head.standardise
            mean, variance = tf.identity(layer.moving_mean.value), tf.identity(layer.moving_variance.value)
            inverse = tf.math.rsqrt(variance + layer.epsilon)
            self._scaling = [inverse, -mean * inverse]
        self._constants = [
            tf.constant(value, tf.float32)
            for value in (
                dropouts[0].rate if dropouts else 0.0,
                settings.label_smoothing,
                l2,
                settings.weight_decay,
                settings.momentum,
            )
        ]

    @property
    def state(self) -> list[NDArray[Any]]:
        """The state of the optimizer: the number of steps, and its variables."""
        return [np.array(self._n_steps), *(each.numpy() for slot in self._slots for each in slot)]

    @state.setter
    def state(self, values: Sequence[NDArray[Any]]) -> None:
        self._n_steps = int(values[0])
        for variable, value in zip([each for slot in self._slots for each in slot], values[1:], strict=True):
            variable.assign(value)

    def train(self, rows: Rows, targets: Rows, weights: Rows, rates: Rows) -> Sums:
        """Take a step for each batch.

        Parameters
        ----------
        rows
            Features (steps, batch, width).
        targets
            One-hot labels (steps, batch, n_classes).
        weights
            Weights of the images in the loss, (steps, batch).
        rates
            The learning rate of each step, (steps,).
        """
        sums = self._functions.train(
            rows,
            targets,
            weights,
            rates,
            self._n_steps,
            self._constants,
            self._scaling,
            [seed.value for seed in self._seeds],
            self._handles(self._kernels),
            self._handles(self._biases),
            [self._handles(slot) for slot in self._slots],
        )
        n_steps = len(rows)
        self._n_steps += n_steps
        for seed in self._seeds:  # as Keras's layers count
            seed.assign(seed.value + tf.constant([0, n_steps], seed.value.dtype))
        return Sums(*map(float, sums))

    def evaluate(self, rows: Rows, targets: Rows, weights: Rows) -> Sums:
        """Return the sums over images; features are (n, width), targets (n, n_classes), weights (n,)."""
        sums = self._functions.evaluate(
            rows,
            targets,
            weights,
            self._constants,
            self._scaling,
            self._handles(self._kernels),
            self._handles(self._biases),
        )
        return Sums(*map(float, sums))

    @staticmethod
    def _scales(head: Head) -> bool:
        return head.standardise is not None and head.projection is None

    @staticmethod
    def _handles(variables: Sequence[Any]) -> list[Any]:
        return [variable.handle for variable in variables]


class _Functions(NamedTuple):
    train: Callable[..., Any]
    evaluate: Callable[..., Any]


@functools.cache
def _functions(kind: _Kind) -> _Functions:
    """Return the functions for heads of a kind."""

    def train(
        rows: Any,
        targets: Any,
        weights: Any,
        rates: Any,
        first: Any,
        constants: Sequence[Any],
        scaling: Sequence[Any],
        seeds: Sequence[Any],
        kernels: Sequence[Any],
        biases: Sequence[Any],
        slots: Sequence[Sequence[Any]],
    ) -> Any:
        rate, smoothing, l2, decay, momentum = constants
        n_steps, size = tf.shape(rows)[0], tf.cast(tf.shape(rows)[1], tf.float32)
        numbers = tf.cast(first + tf.range(1, n_steps + 1), tf.float32)
        # Reading from these, unlike slicing, copies nothing.
        given = [
            tf.TensorArray(each.dtype, size=n_steps).unstack(each)
            for each in (
                *(rows, _smoothed(targets, smoothing), (weights / size)[:, :, None]),
                *(rates, tf.pow(BETA_1, numbers), tf.pow(BETA_2, numbers)),
            )
        ]
        # What is only counted is counted after the last step: every operation in a step costs microseconds.
        found = [tf.TensorArray(tf.float32, size=n_steps) for _ in range(3)]

        def step(number: Any, *found: Any) -> Any:
            x, y, weight, learning_rate, *powers = (each.read(number) for each in given)
            weights_now = [_read(kernel) for kernel in kernels]
            x = _scaled(x, scaling)
            inputs = []
            for layer, kernel in enumerate(weights_now):
                if kind.dropout:
                    seed = tf.math.floormod(
                        seeds[layer] + tf.stack([tf.zeros((), tf.int64), tf.cast(number, tf.int64)]), tf.int32.max - 1
                    )
                    x = tf.nn.experimental.stateless_dropout(x, rate, seed=tf.cast(seed, tf.int32))
                inputs.append(x)
                x = tf.nn.bias_add(tf.matmul(x, kernel), _read(biases[layer]))
                x = x if layer == kind.n_layers - 1 else tf.nn.relu(x)
            losses, gradient = ops.SoftmaxCrossEntropyWithLogits(features=x, labels=y)
            penalty = _penalty(kind, weights_now, l2)
            written = [each.write(number, value) for each, value in zip(found, (x, losses, penalty), strict=True)]
            gradient *= weight
            updates: list[Any] = []
            for layer in reversed(range(kind.n_layers)):
                of_kernel, of_bias = tf.matmul(inputs[layer], gradient, transpose_a=True), tf.reduce_sum(gradient, 0)
                if kind.l2:
                    of_kernel += 2.0 * l2 * weights_now[layer]
                if layer:
                    gradient = tf.matmul(gradient, weights_now[layer], transpose_b=True)
                    if kind.dropout:
                        gradient *= 1.0 / (1.0 - rate)
                    # What dropout or ReLU set to zero has no gradient.
                    gradient = ops.ReluGrad(gradients=gradient, features=inputs[layer])
                # A weight changes in place, so only after everything that uses its present value.
                with tf.control_dependencies([gradient, of_kernel, x]):
                    before = [_decayed(kernels[layer], decay * learning_rate)] if kind.decay else []
                with tf.control_dependencies([gradient, of_kernel, x, *before]):
                    for place, variable, each in (
                        (layer, kernels[layer], of_kernel),
                        (kind.n_layers + layer, biases[layer], of_bias),
                    ):
                        own = [slot[place] for slot in slots]
                        updates.append(_update(kind, variable, own, each, learning_rate, momentum, powers))
            with tf.control_dependencies(updates):
                return number + 1, *written

        _, logits, losses, penalties = tf.while_loop(
            lambda number, *_: number < n_steps, step, (0, *found), parallel_iterations=1
        )
        weighted = tf.reduce_sum(losses.stack() * weights) + size * tf.reduce_sum(penalties.stack())
        return weighted, *_correct(logits.stack(), targets, weights)

    def evaluate(
        rows: Any,
        targets: Any,
        weights: Any,
        constants: Sequence[Any],
        scaling: Sequence[Any],
        kernels: Sequence[Any],
        biases: Sequence[Any],
    ) -> Any:
        _, smoothing, l2, *_ = constants
        weights_now = [_read(kernel) for kernel in kernels]
        x = _scaled(rows, scaling)
        for layer, kernel in enumerate(weights_now):
            x = tf.matmul(x, kernel) + _read(biases[layer])
            x = x if layer == kind.n_layers - 1 else tf.nn.relu(x)
        losses = tf.nn.softmax_cross_entropy_with_logits(_smoothed(targets, smoothing), x)
        size = tf.cast(tf.shape(rows)[0], tf.float32)
        weighted = tf.reduce_sum(losses * weights) + size * _penalty(kind, weights_now, l2)
        return weighted, *_correct(x, targets, weights)

    number, vector = tf.TensorSpec((), tf.float32), tf.TensorSpec((None,), tf.float32)
    table, tables = tf.TensorSpec((None, None), tf.float32), tf.TensorSpec((None, None, None), tf.float32)
    handles = [tf.TensorSpec((), tf.resource)] * kind.n_layers
    constants, scaling = [number] * 5, [vector] * (2 if kind.standardise else 0)
    seeds = [tf.TensorSpec((2,), tf.int64)] * (kind.n_layers if kind.dropout else 0)
    step = tf.TensorSpec((), tf.int32)
    return _Functions(
        train=tf.function(
            train,
            input_signature=(
                *(tables, tables, table, vector, step),
                *(constants, scaling, seeds, handles, handles, [handles * 2] * N_SLOTS[kind.optimizer]),
            ),
            autograph=False,
        ),
        evaluate=tf.function(
            evaluate,
            input_signature=(table, table, vector, constants, scaling, handles, handles),
            autograph=False,
        ),
    )


def _update(
    kind: _Kind,
    variable: Any,
    slots: Sequence[Any],
    gradient: Any,
    rate: Any,
    momentum: Any,
    powers: Sequence[Any],
) -> Any:
    """Return the operation that changes a variable; ``powers``: of Adam's betas, with the number of the step."""
    if kind.optimizer == "descent":
        return ops.ResourceApplyGradientDescent(var=variable, alpha=rate, delta=gradient)
    if kind.optimizer == "momentum":
        (before,) = slots
        return ops.ResourceApplyKerasMomentum(var=variable, accum=before, lr=rate, grad=gradient, momentum=momentum)
    first, second = slots
    return ops.ResourceApplyAdam(
        var=variable,
        m=first,
        v=second,
        beta1_power=powers[0],
        beta2_power=powers[1],
        lr=rate,
        beta1=BETA_1,
        beta2=BETA_2,
        epsilon=EPSILON,
        grad=gradient,
    )


def _decayed(kernel: Any, share: Any) -> Any:
    return ops.ResourceApplyGradientDescent(var=kernel, alpha=share, delta=_read(kernel))


def _penalty(kind: _Kind, kernels: Sequence[Any], l2: Any) -> Any:
    if not kind.l2:
        return tf.zeros(())
    return l2 * tf.add_n([tf.reduce_sum(tf.square(each)) for each in kernels])


def _correct(logits: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
    """Return the number of correct predictions, and the sum of their weights."""
    correct = tf.cast(tf.equal(tf.argmax(logits, axis=-1), tf.argmax(targets, axis=-1)), tf.float32)
    return tf.reduce_sum(correct), tf.reduce_sum(correct * weights)


def _read(handle: Any) -> Any:
    return ops.ReadVariableOp(resource=handle, dtype=tf.float32)


def _scaled(rows: Any, scaling: Sequence[Any]) -> Any:
    return rows * scaling[0] + scaling[1] if scaling else rows


def _smoothed(targets: Any, smoothing: Any) -> Any:
    return targets * (1.0 - smoothing) + smoothing / tf.cast(tf.shape(targets)[-1], tf.float32)
