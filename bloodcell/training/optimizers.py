"""Optimizers and learning-rate schedules."""

from typing import Any

import keras


def build_optimizer(
    *,
    name: str,
    learning_rate: float,
    schedule: str,
    warmup: float,
    momentum: float,
    weight_decay: float,
    total_steps: int,
) -> keras.optimizers.Optimizer:
    """Build an optimizer for one stage.

    Parameters
    ----------
    name
        ``adam``, ``adamw`` or ``sgd``.
    learning_rate
        At its highest.
    schedule
        ``constant``, or ``cosine`` down to zero after the last step (Loshchilov and Hutter 2017, without restarts).
    warmup
        Share of the steps in which the learning rate rises from zero linearly, in [0, 1].
    momentum
        Of ``sgd``.
    weight_decay
        Decoupled (Loshchilov and Hutter 2019), not applied to biases and normalisation; the same for every optimizer.
    total_steps
        Steps of the stage, at least 1.
    """
    rate = _schedule(learning_rate, schedule, round(warmup * total_steps), total_steps)
    decay = weight_decay or None
    optimizers = {
        "adam": lambda: keras.optimizers.Adam(rate, weight_decay=decay),
        "adamw": lambda: keras.optimizers.AdamW(rate, weight_decay=weight_decay),
        "sgd": lambda: keras.optimizers.SGD(rate, momentum=momentum, weight_decay=decay),
    }
    optimizer = optimizers[name]()
    if decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def last_learning_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """Return the learning rate of the step that was taken last; the optimizer itself tells that of the next."""
    rate = optimizer._learning_rate
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        rate = rate(optimizer.iterations - 1)
    return float(rate)


def _schedule(learning_rate: float, schedule: str, warmup_steps: int, total_steps: int) -> Any:
    if schedule == "constant" and not warmup_steps:
        return learning_rate
    cosine_steps = max(total_steps - warmup_steps, 1)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup_steps else learning_rate,
        warmup_target=learning_rate if warmup_steps else None,
        warmup_steps=warmup_steps,
        decay_steps=cosine_steps,
        alpha=1.0 if schedule == "constant" else 0.0,
    )
