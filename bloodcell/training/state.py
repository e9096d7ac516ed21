"""The state of a training: everything that its next epochs depend on, in one file."""

import json
import logging
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from bloodcell.files import atomic_write

log = logging.getLogger(__name__)

ARRAYS = ("weights", "best_weights", "seeds", "optimizer")
"""The attributes of a state that are lists of arrays."""
FACTS = ("stage", "stage_epochs", "epochs", "inputs", "reported", "seconds")
"""The other attributes."""
MAX_SHARE = 0.05
"""The largest share of a training's time that writing its states after epochs takes, about."""
Arrays = Sequence[NDArray[np.generic]]


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """The state of a training after an epoch, or at the start of a stage; by default before the first.

    Attributes
    ----------
    stage
        Index of the stage that is next or was interrupted; the number of stages if the training is finished.
    stage_epochs
        Number of finished epochs of that stage.
    epochs
        The attributes of every finished `bloodcell.training.trainer.Epoch`.
    inputs
        See `bloodcell.training.trainer.Trained`.
    reported
        The number of epochs that listeners have been told of.
    seconds
        Time of the training so far.
    weights, best_weights
        All weights that are trained or change with training, now and after the best epoch; empty if the training is
        finished, because its checkpoints have them.
    seeds
        The states of the random number generators of all layers.
    optimizer
        All variables of the optimizer; empty at the start of a stage.
    """

    stage: int = 0
    stage_epochs: int = 0
    epochs: Sequence[Mapping[str, Any]] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    reported: int = 0
    seconds: float = 0.0
    weights: Arrays = ()
    best_weights: Arrays = ()
    seeds: Arrays = ()
    optimizer: Arrays = ()


class StateFile:
    """The file of a training's state, which is replaced atomically.

    Parameters
    ----------
    path
        The file, ``.npz``.
    digest
        Identifies the training; a state with another digest is not read.
    """

    def __init__(self, path: Path, *, digest: str) -> None:
        self._path, self._digest = path, digest
        self._due = 0.0

    def clean(self, *, keep: bool) -> None:
        """Remove what killed processes left half-written, and unless ``keep`` the file."""
        for partial in self._path.parent.glob(".*.*"):
            if partial.suffix in (".npz", ".h5"):
                partial.unlink()
        if not keep:
            self._path.unlink(missing_ok=True)

    def is_due(self) -> bool:
        """Return whether enough time has passed since the last writing; see `MAX_SHARE`."""
        return time.monotonic() >= self._due

    def write(self, state: TrainingState, *, since: float | None = None) -> None:
        """Replace the file; ``since``: when writing began, as of ``time.monotonic``, if more was written before."""
        started = time.monotonic() if since is None else since
        facts = {
            **{name: getattr(state, name) for name in FACTS},
            "digest": self._digest,
        }
        arrays = {f"{name}/{place}": each for name in ARRAYS for place, each in enumerate(getattr(state, name))}
        with atomic_write(self._path) as partial:
            np.savez(partial, facts=np.frombuffer(json.dumps(facts).encode(), np.uint8), **arrays)
        ended = time.monotonic()
        self._due = ended + (ended - started) / MAX_SHARE

    def read(self) -> TrainingState | None:
        """Return the state; None if there is none, it has another digest, or the file is damaged.

        Reading does not execute code from the file.
        """
        try:
            with self._path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                facts = json.loads(file["facts"].tobytes())
                if facts.pop("digest") != self._digest:
                    log.warning("%s: is of another configuration; the training starts from nothing", self._path)
                    return None
                arrays: dict[str, Any] = {name: _numbered(file, name) for name in ARRAYS}
                return TrainingState(**facts, **arrays)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
            log.warning("%s: cannot be read (%s); the training starts from nothing", self._path, error)
            return None


def values_of(variables: Sequence[Any]) -> list[NDArray[np.generic]]:
    """Return copies of the values of Keras variables."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def assign_values(variables: Sequence[Any], values: Arrays) -> None:
    """Assign values to as many Keras variables."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _numbered(file: Mapping[str, NDArray[np.generic]], name: str) -> list[NDArray[np.generic]]:
    count = sum(key.startswith(f"{name}/") for key in file)
    return [file[f"{name}/{place}"] for place in range(count)]
