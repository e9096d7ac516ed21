"""Training the heads of several runs or folds side by side, each up to the state in its folder."""

import logging
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from bloodcell.config.training import TrainConfig
from bloodcell.console.progress import SHOW_NOTHING, track
from bloodcell.experiment.fold import samples_for, training_of
from bloodcell.experiment.images import Prepared
from bloodcell.training.learner import Learner
from bloodcell.training.stage_data import stage_features
from bloodcell.training.trainer import Training

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A run or fold whose head is trained: its learner, images, configuration and folder."""

    learner: Learner
    prepared: Prepared
    config: TrainConfig
    folder: Path


def train_heads(parts: Sequence[Part], *, description: str, resume: bool) -> float:
    """Train the heads, as many at a time as there are processor cores.

    What is trained afterwards in a folder of a part, with ``head_is_trained`` or ``resume``, finds the state there, and
    continues at once. The result of a part does not depend on the others. A part that cannot be trained is left as it
    is: its own training finds the error.

    Parameters
    ----------
    parts
        Those with a learner for which `bloodcell.training.learner.Learner.only_trains_a_head` does not hold are left
        out.
    description
        What progress shows.
    resume
        Whether to continue from states that the folders have.

    Returns
    -------
    float
        The share of each part in the seconds that it took.
    """
    started = time.monotonic()
    stop = threading.Event()
    trainings = []
    for part in parts:
        if part.learner.only_trains_a_head:
            try:
                trainings.append(_training(part))
            except Exception:
                log.debug("features of a head that is trained beside others", exc_info=True)
    if not trainings:
        return 0.0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        running = [pool.submit(_run, training, stop, resume=resume) for training in trainings]
        try:
            for _ in track(as_completed(running), description, total=len(running)):
                pass
        except BaseException:
            stop.set()
            raise
    return (time.monotonic() - started) / len(parts)


def _training(part: Part) -> Training:
    """Return the training of a part, whose features are stored."""
    learner = part.learner
    samples = {split: samples_for(learner, part.config, part.prepared.images, split) for split in ("train", "val")}
    # Computed here, one after the other, if they are not stored.
    stage_features(learner, learner.stages[0], train_samples=samples["train"], val_samples=samples["val"])
    return training_of(learner, samples, part.prepared, part.config, folder=part.folder, reporting=SHOW_NOTHING)


class _StoppedError(Exception):
    """Another thread was interrupted."""


def _run(training: Training, stop: threading.Event, *, resume: bool) -> None:
    def check() -> None:
        if stop.is_set():
            raise _StoppedError

    try:
        check()
        training.run(training.restore() if resume else None, check=check)
    except _StoppedError:
        pass
    except Exception:
        log.debug("a head that was trained beside others", exc_info=True)
