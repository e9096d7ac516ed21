"""Optimizers and learning-rate schedules."""

from collections.abc import Mapping
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
    averaging: float = 0.0,
    factors: Mapping[str, float] | None = None,
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
    averaging
        Momentum of the moving average of the weights that it keeps, in [0, 1); 0: none is kept. The average begins with
        the weights after the first step.
    factors
        By the path of a variable, what its learning rate is multiplied with; 1 where it is not among them. Steps are
        scaled, and weight decay with them; what Adam knows of gradients is not.
    """
    rate = _schedule(learning_rate, schedule, round(warmup * total_steps), total_steps)
    decay = weight_decay or None
    of_its_own: dict[str, Any] = {
        "adam": {"weight_decay": decay},
        "adamw": {"weight_decay": weight_decay},
        "sgd": {"weight_decay": decay, "momentum": momentum},
    }
    average: dict[str, Any] = {"use_ema": True, "ema_momentum": averaging} if averaging else {}
    kind = (_SCALED if factors else _OPTIMIZERS)[name]
    optimizer: keras.optimizers.Optimizer = kind(rate, **of_its_own[name], **average)
    if factors:
        optimizer.factors = dict(factors)
    if decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


class _Scaled:
    """What makes an optimizer's learning rate differ by variable: comes before one of Keras's among a class's bases."""

    factors: Mapping[str, float]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Take one variable's step; Keras hands over the learning rate that all have."""
        factor = self.factors.get(self._trainable_variables[self._get_variable_index(variable)].path, 1.0)  # type: ignore[attr-defined]
        super().update_step(gradient, variable, learning_rate * factor)  # type: ignore[misc]

    def _apply_weight_decay(self, variables: Any) -> None:
        """Decay by the learning rate of each variable, where Keras's own takes the one that all have."""
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
