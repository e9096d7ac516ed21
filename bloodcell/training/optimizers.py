"""Optimizers and learning-rate schedules."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from bloodcell.config.training import HyperparametersConfig


def build_optimizer(
    settings: HyperparametersConfig,
    *,
    learning_rate: float,
    total_steps: int,
    factors: Mapping[str, float] | None = None,
) -> keras.optimizers.Optimizer:
    """Build an optimizer for one stage.

    Weight decay is decoupled for every optimizer (Loshchilov and Hutter 2019), and not applied to biases and
    normalisation. A moving average of the weights (``weight_averaging``) begins with the weights after the first step.

    Parameters
    ----------
    settings
        Its ``optimizer``, ``schedule`` (``cosine`` to zero: Loshchilov and Hutter 2017, without restarts), ``warmup``,
        ``momentum``, ``weight_decay`` and ``weight_averaging``.
    learning_rate
        The largest learning rate.
    total_steps
        Number of steps of the stage, at least 1.
    factors
        Factors of the learning rate by the path of a variable; 1 for all others. Steps and weight decay are scaled,
        Adam's moments are not.
    """
    decay, averaging = settings.weight_decay or None, settings.weight_averaging
    rate = _schedule(learning_rate, settings.schedule, round(settings.warmup * total_steps), total_steps)
    own: dict[str, Any] = {
        "adam": {"weight_decay": decay},
        "adamw": {"weight_decay": settings.weight_decay},
        "sgd": {"weight_decay": decay, "momentum": settings.momentum},
    }
    average: dict[str, Any] = {"use_ema": True, "ema_momentum": averaging} if averaging else {}
    kind = (_SCALED if factors else _OPTIMIZERS)[settings.optimizer]
    optimizer: keras.optimizers.Optimizer = kind(rate, **own[settings.optimizer], **average)
    if factors:
        optimizer.factors = dict(factors)
    if decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


class _Scaled:
    """Mixin that scales the learning rate of each variable; must precede Keras's class in the bases."""

    factors: Mapping[str, float]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable with its own learning rate."""
        factor = self.factors.get(self._trainable_variables[self._get_variable_index(variable)].path, 1.0)  # type: ignore[attr-defined]
        super().update_step(gradient, variable, learning_rate * factor)  # type: ignore[misc]

    def _apply_weight_decay(self, variables: Any) -> None:
        """Decay each variable with its own learning rate; Keras uses one for all."""
        for variable in variables if self.weight_decay else ():  # type: ignore[attr-defined]
            if self._use_weight_decay(variable):  # type: ignore[attr-defined]
                share = self.weight_decay * self.learning_rate * self.factors.get(variable.path, 1.0)  # type: ignore[attr-defined]
                variable.assign(variable - variable * keras.ops.cast(share, variable.dtype))


class ScaledAdam(_Scaled, keras.optimizers.Adam):
    """Adam with learning rates by variable."""


class ScaledAdamW(_Scaled, keras.optimizers.AdamW):
    """AdamW with learning rates by variable."""


class ScaledSGD(_Scaled, keras.optimizers.SGD):
    """SGD with learning rates by variable."""


_OPTIMIZERS: dict[str, Any] = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": keras.optimizers.SGD,
}
_SCALED: dict[str, Any] = {"adam": ScaledAdam, "adamw": ScaledAdamW, "sgd": ScaledSGD}


def learning_rates(settings: HyperparametersConfig, *, learning_rate: float, total_steps: int) -> NDArray[np.float32]:
    """Return the learning rate of every step of a stage, (total_steps,), as `build_optimizer` schedules it."""
    warmup_steps = round(settings.warmup * total_steps)
    steps = np.arange(total_steps, dtype=np.float32)
    rates = np.full(total_steps, learning_rate, np.float32)
    if settings.schedule == "cosine":
        share = (steps - warmup_steps) / np.float32(max(total_steps - warmup_steps, 1))
        rates *= np.float32(0.5) * (1 + np.cos(np.float32(np.pi) * np.minimum(share, 1)))
    if warmup_steps:
        rates = np.where(steps < warmup_steps, learning_rate * steps / np.float32(warmup_steps), rates)
    return np.asarray(rates, np.float32)


def last_learning_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """Return the learning rate of the last step; the optimizer itself has that of the next."""
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
