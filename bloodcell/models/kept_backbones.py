"""Backbones of this process that are used again: building one and reading its weights takes seconds."""

import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras

from bloodcell.models.backbones import Network, build_backbone
from bloodcell.models.classifier import Classifier
from bloodcell.models.extractors import FeatureExtractor

MAX_KEPT = 3
"""The number of backbones that are kept, the last used."""
MAX_DRAWS = 10_000
"""Random numbers that building a backbone draws, at most: one for each weight."""


@dataclass(frozen=True)
class _Kept:
    """A backbone, and how many random numbers building it drew."""

    backbone: Network
    n_draws: int


_kept: dict[Hashable, _Kept] = {}
_unused: set[Hashable] = set()


def keep_backbone(
    *, name: str, input_size: int, weights: str | None, taps: Sequence[str], seed: int
) -> FeatureExtractor:
    """Build a backbone for the next call of `backbone_of` with the same arguments, unless one is kept; see there."""
    key = _key(name, input_size, weights, taps, seed)
    known = key in _kept
    backbone = backbone_of(name=name, input_size=input_size, weights=weights, taps=taps, seed=seed, stays_frozen=True)
    if not known and key in _kept:
        _unused.add(key)
    return backbone


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
        Whether the backbone is not trained. A later call may return the same. One that is trained has no other user.

    Raises
    ------
    UserError
        As `build_backbone`.
    """
    key = _key(name, input_size, weights, taps, seed)
    kept = _kept.get(key)
    if kept is not None and (stays_frozen or key in _unused):
        for _ in range(kept.n_draws):
            _draw()
    else:
        before = random.getstate()
        backbone = build_backbone(name=name, input_size=input_size, weights=weights, taps=taps)
        n_draws = _count_draws(before)
        if not stays_frozen or not isinstance(backbone, Network) or n_draws is None:
            return backbone
        kept = _Kept(replace(backbone, constant=True), n_draws)
    _forget(key)
    if not stays_frozen:
        return replace(kept.backbone, constant=False)
    _kept[key] = kept
    while len(_kept) > MAX_KEPT:
        _forget(next(iter(_kept)))
    return kept.backbone


def given_model(classifier: Classifier) -> keras.Model:
    """Return the saved model of a classifier to a user, who may change it: its backbone is not used again."""
    give(classifier)
    return classifier.whole


def give(classifier: Classifier) -> None:
    """Do not use the backbone of a classifier again: a user, who may change it, has it."""
    for key, kept in [*_kept.items()]:
        if kept.backbone.application is getattr(classifier.backbone, "application", None):
            _forget(key)


def _forget(key: Hashable) -> None:
    _kept.pop(key, None)
    _unused.discard(key)


def _key(name: str, input_size: int, weights: str | None, taps: Sequence[str], seed: int) -> Hashable:
    # With other weights than random ones, the seed has no effect on the backbone.
    own_seed = seed if weights is None else None
    return name, input_size, weights, tuple(taps), _state_of(weights), own_seed, keras.config.dtype_policy().name


def _state_of(weights: str | None) -> tuple[int, ...]:
    """Return what changes with a weights file; empty for other weights."""
    try:
        state = Path(weights or "").expanduser().stat()
    except OSError:
        return ()
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino


def _draw() -> int:
    """Draw a random number as Keras draws the seed of a weight's initial values."""
    return random.randint(1, int(1e9))


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
