"""Mixup and CutMix: batches of convex combinations of examples."""

from typing import Any

import tensorflow as tf

from bloodcell.data.augmentation import Tensor

Dataset = Any  # TensorFlow ships no types


def mix_batches(batches: Dataset, *, mixup: float, cutmix: float, seed: int, first_batch: int) -> Dataset:
    """Mix each example of a batch, and its label, with the one before it.

    Mixup takes a weighted mean of two examples, with a weight from Beta(mixup, mixup) (Zhang et al., "mixup: Beyond
    Empirical Risk Minimization", ICLR 2018). CutMix replaces a rectangle of an image by that of the other; the share of
    the area that remains is from Beta(cutmix, cutmix) (Yun et al., "CutMix", ICCV 2019). With both, each batch uses one
    of them with equal probability. Random numbers depend only on ``seed`` and the batch's number.

    Parameters
    ----------
    batches, first_batch
        Pairs of inputs and labels (batch, n_classes), float32; inputs are a tensor (batch, ...), or several. The number
        of the first batch.
    mixup, cutmix
        At least 0; 0: none. For CutMix inputs need to include images (batch, height, width, channels); others are mixed
        with the same weight.
    """
    if not mixup and not cutmix:
        return batches

    def mix(number: Tensor, batch: tuple[Any, Tensor]) -> tuple[Any, Tensor]:
        inputs, labels = batch
        own = tf.stack([tf.cast(seed, tf.int64), number + first_batch])
        if not cutmix:
            return _mixup(inputs, labels, alpha=mixup, seed=own)
        if not mixup:
            return _cutmix(inputs, labels, alpha=cutmix, seed=own)
        heads = tf.random.stateless_uniform((), seed=_fold_in(own, 3)) < 0.5
        either: tuple[Any, Tensor] = tf.cond(
            heads,
            lambda: _mixup(inputs, labels, alpha=mixup, seed=own),
            lambda: _cutmix(inputs, labels, alpha=cutmix, seed=own),
        )
        return either

    return batches.enumerate().map(mix)


def _mixup(inputs: Any, labels: Tensor, *, alpha: float, seed: Tensor) -> tuple[Any, Tensor]:
    share = _beta(alpha, n=tf.shape(labels)[0], seed=seed)
    return tf.nest.map_structure(lambda each: _mean(each, share), inputs), _mean(labels, share)


def _cutmix(inputs: Any, labels: Tensor, *, alpha: float, seed: Tensor) -> tuple[Any, Tensor]:
    n = tf.shape(labels)[0]
    parts = tf.nest.flatten(inputs)
    height, width = next((part.shape[1], part.shape[2]) for part in parts if part.shape.rank == 4)
    side = tf.sqrt(1.0 - _beta(alpha, n=n, seed=seed))
    centres = tf.random.stateless_uniform((2, n), seed=_fold_in(seed, 4))
    in_rows = _within(height, centre=centres[0], side=side)
    in_columns = _within(width, centre=centres[1], side=side)
    cut = (in_rows[:, :, None] & in_columns[:, None, :])[..., None]
    # The weight is the area that remains: a rectangle can extend beyond the border.
    share = 1.0 - tf.reduce_mean(tf.cast(cut, tf.float32), axis=(1, 2, 3))

    def paste(each: Tensor) -> Tensor:
        return tf.where(cut, _others(each), each) if each.shape.rank == 4 else _mean(each, share)

    return tf.nest.map_structure(paste, inputs), _mean(labels, share)


def _within(length: int, *, centre: Tensor, side: Tensor) -> Tensor:
    """Return which pixels are within half a side of a centre, shape (batch, length), bool; sides are fractions."""
    pixels = (tf.range(length, dtype=tf.float32) + 0.5) / length
    return tf.abs(pixels[None, :] - centre[:, None]) < side[:, None] / 2


def _beta(alpha: float, *, n: Tensor, seed: Tensor) -> Tensor:
    """Return samples of Beta(alpha, alpha), shape (n,), float32."""
    # A ratio of gammas; in single precision both can be 0 if alpha is small.
    one, other = (
        tf.random.stateless_gamma(
            (n,), seed=_fold_in(seed, part), alpha=tf.constant(alpha, tf.float64), dtype=tf.float64
        )
        for part in (1, 2)
    )
    total = one + other
    return tf.cast(tf.where(total > 0, one / total, 1.0), tf.float32)


def _fold_in(seed: Tensor, number: int) -> Tensor:
    return tf.random.experimental.stateless_fold_in(seed, number)


def _mean(tensor: Tensor, share: Tensor) -> Tensor:
    """Return the weighted mean of each row and the row before it."""
    shares = tf.reshape(share, tf.concat([[-1], tf.ones(tf.rank(tensor) - 1, tf.int32)], axis=0))
    return tf.ensure_shape(shares * tensor + (1.0 - shares) * _others(tensor), tensor.shape)


def _others(tensor: Tensor) -> Tensor:
    return tf.roll(tensor, shift=1, axis=0)
