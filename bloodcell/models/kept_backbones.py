"""Backbones of this process that are used again: building one and reading its weights takes seconds."""

import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from bloodcell.models.backbones import Network, build_backbone
from bloodcell.models.extractors import FeatureExtractor
from bloodcell.models.weights import digest_of

MAX_KEPT = 3
"""The number of backbones that are kept, the last used."""
MAX_DRAWS = 10_000
"""Random numbers that building a backbone draws, at most: one for each weight."""


@dataclass(frozen=True)
class _Kept:
    """A backbone, the digest of its weights, and how many random numbers building it drew."""

    backbone: Network
    digest: str
    n_draws: int


_kept: dict[Hashable, _Kept] = {}


def backbone_of(
    *, name: str, input_size: int, weights: str | None, taps: Sequence[str], seed: int, stays_frozen: bool
) -> FeatureExtractor:
    """Return a backbone as `bloodcell.models.backbones.build_backbone` builds it, perhaps one of an earlier call.

    Call `bloodcell.training.determinism.make_deterministic` first. The random numbers that are drawn next are the same
    as after building.

    Parameters
    ----------
    name, input_size, weights, taps
        As for `build_backbone`.
    seed
        The seed of all random numbers; random weights depend on it.
    stays_frozen
        Whether the backbone is not trained. A later call may return the same.

    Raises
    ------
    UserError
        As `build_backbone`.
    """
    # With other weights than random ones, the seed has no effect on the backbone.
    key = (
        *(name, input_size, weights, tuple(taps), _state_of(weights)),
        *(seed if weights is None else None, keras.config.dtype_policy().name),
    )
    kept = _kept.pop(key, None)
    if kept is not None and _digest(kept.backbone) == kept.digest:
        for _ in range(kept.n_draws):
            _draw()
    else:
        before = random.getstate()
        backbone = build_backbone(name=name, input_size=input_size, weights=weights, taps=taps)
        n_draws = _count_draws(before)
        if not isinstance(backbone, Network) or n_draws is None:
            return backbone
        kept = _Kept(backbone, _digest(backbone) if taps else backbone.digest, n_draws)
    if stays_frozen:
        _kept[key] = kept
        while len(_kept) > MAX_KEPT:
            del _kept[next(iter(_kept))]
    return kept.backbone


def _digest(backbone: Network) -> str:
    return digest_of(backbone.application.get_weights())


def _state_of(weights: str | None) -> tuple[int, ...]:
    """Return what changes with a weights file; empty for other weights."""
    try:
        state = Path(weights or "").expanduser().stat()
    except OSError:
        return ()
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino


def _draw() -> int:
    """Draw a random number as Keras draws the seed of a weight's initial values."""
    return random.randint(1, int(1e9))  # noqa: S311


def _count_draws(before: object) -> int | None:
    """Return how often `_draw` leads from a state of the generator to the present one; None if it does not."""
    now = random.getstate()
    random.setstate(before)  # type: ignore[arg-type]
    try:
        for number in range(MAX_DRAWS):
            if random.getstate() == now:
                return number
            _draw()
    finally:
        random.setstate(now)
    return None
