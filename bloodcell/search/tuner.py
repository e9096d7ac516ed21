"""keras-tuner's strategies for trials that are functions; finished trials survive a crash."""

import functools
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import grpc
import keras_tuner
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial, TrialStatus
from keras_tuner.errors import FailedTrialError

from bloodcell.config.search import BayesianTuner, GridTuner, HyperbandTuner, RandomTuner
from bloodcell.errors import SearchFailedError
from bloodcell.evaluation.metrics import direction
from bloodcell.files import atomic_write
from bloodcell.search.space import hyperparameters

IDLE_WAIT = 0.5
"""Seconds before a worker is told to ask again, because no trial is available."""


@contextmanager
def silent_stdout() -> Iterator[None]:
    """Discard what keras-tuner prints."""
    with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing):
        yield


class FunctionTuner(BaseTuner):
    """A tuner whose trials are calls of a function.

    Parameters
    ----------
    oracle
        The strategy, from `build_oracle`.
    train
        From a trial to its metrics by name, with the objective. A failed trial raises keras-tuner's
        ``FailedTrialError``; any other error ends the search.
    prepare
        Called with the trials that are asked for at once, before each of them is trained.
    at_once
        Their number; 1 with workers, since each asks for its own.
    """

    def __init__(
        self,
        oracle: keras_tuner.Oracle,
        *,
        train: Callable[[Trial], Mapping[str, float]],
        prepare: Callable[[Sequence[Trial]], None] = lambda _: None,
        at_once: int = 1,
        directory: Path,
    ) -> None:
        self._train, self._prepare, self._at_once = train, prepare, at_once
        super().__init__(oracle=oracle, directory=str(directory.parent), project_name=directory.name)

    def run(self, *, max_failures: int) -> None:
        """Search, without keras-tuner's own output.

        Parameters
        ----------
        max_failures
            That of the strategy, for the message.

        Raises
        ------
        SearchFailedError
            If ``max_failures`` consecutive trials failed, or the chief does not answer this worker.
        """
        try:
            with silent_stdout():
                if self._is_distributed():
                    self.search()  # the chief serves its workers
                else:
                    self._search_in_batches()
        except (RuntimeError, grpc.RpcError) as error:
            if "Number of consecutive failures" in str(error):
                # The chief does not send the reason to workers.
                lines = str(error).strip().splitlines() if isinstance(error, RuntimeError) else []
                last = f", the last: {lines[-1]}" if lines else ""
                raise SearchFailedError(
                    f"tuner.max_failures={max_failures}: so many consecutive trials failed{last}; fix the cause "
                    "and run the same command again, which resumes the search"
                ) from error
            if isinstance(error, grpc.RpcError):
                raise SearchFailedError(
                    "the search's chief does not answer; see its output, and start both again, which resumes the search"
                ) from error
            raise

    def _search_in_batches(self) -> None:
        """Ask for trials until the strategy has none, as keras-tuner does, but for several at once."""
        while trials := self._ask():
            self._prepare(trials)
            for trial in trials:
                self._try_run_and_update_trial(trial)
                self.on_trial_end(trial)

    def _ask(self) -> list[Trial]:
        """Return the trials that the strategy proposes now: before their results it may have fewer, or none at all.

        To the strategy these are workers; the Bayesian one assumes a bad result of what is still being trained.
        """
        trials: list[Trial] = []
        for number in range(self._at_once):
            trial = self.oracle.create_trial(f"{self.tuner_id}-{number}")
            if trial.status != TrialStatus.RUNNING:
                break
            trials.append(trial)
        return trials

    def _is_distributed(self) -> bool:
        return "KERASTUNER_ORACLE_IP" in os.environ

    def save(self) -> None:
        """Save the strategy's state; the tuner has no state."""
        if not self._is_worker():
            self.oracle.save()
        with atomic_write(Path(self._get_tuner_fname())) as partial:
            partial.write_text(json.dumps(self.get_state()), encoding="utf-8")

    def _get_tuner_fname(self) -> str:
        # One file for all processes: any of them may be the chief when the search is resumed.
        return str(Path(self.project_dir, "tuner.json"))

    def run_trial(self, trial: Trial, *args: Any, **kwargs: Any) -> float | dict[str, float]:  # noqa: ARG002
        """Call the function."""
        return dict(self._train(trial))

    def _try_run_and_update_trial(self, trial: Trial, *args: Any, **kwargs: Any) -> None:
        # As keras-tuner's method, without printing the traceback of each failed trial.
        try:
            self._run_and_update_trial(trial, *args, **kwargs)
            trial.status = TrialStatus.COMPLETED
        except FailedTrialError as error:
            trial.status = TrialStatus.FAILED
            trial.message = str(error)


def build_oracle(
    tuner: RandomTuner | BayesianTuner | HyperbandTuner | GridTuner,
    *,
    trial_folder: Callable[[str], Path] | None = None,
) -> keras_tuner.Oracle:
    """Return keras-tuner's strategy for a configuration; ``trial_folder``: from a trial's id to its folder."""
    shared: dict[str, Any] = {
        "objective": keras_tuner.Objective(tuner.objective, direction(tuner.objective)),
        "hyperparameters": hyperparameters(tuner.space),
        "allow_new_entries": False,
        "tune_new_entries": False,
        "seed": tuner.seed + 1,  # keras-tuner treats 0 as no seed
        "max_consecutive_failed_trials": tuner.max_failures,
    }
    oracles = keras_tuner.oracles
    match tuner:
        case RandomTuner():
            made = _crash_safe(oracles.RandomSearchOracle)(max_trials=tuner.max_trials, **shared)
        case BayesianTuner():
            made = _crash_safe(oracles.BayesianOptimizationOracle)(max_trials=tuner.max_trials, **shared)
        case GridTuner():
            made = _crash_safe(oracles.GridSearchOracle)(max_trials=tuner.max_trials, **shared)
        case HyperbandTuner():
            rungs = {"max_epochs": tuner.max_epochs, "factor": tuner.factor, "hyperband_iterations": tuner.iterations}
            # Hyperband adds entries such as the budget.
            made = _crash_safe(oracles.HyperbandOracle)(**shared | {"allow_new_entries": True}, **rungs)
    made.verbose = 0
    made.trial_folder = trial_folder
    return made


def _crash_safe(oracle: type[keras_tuner.Oracle]) -> type[keras_tuner.Oracle]:
    """Return a strategy that writes files atomically and, when resumed, repeats only unfinished trials."""

    class CrashSafe(oracle):
        trial_folder: Callable[[str], Path] | None = None

        def _get_trial_dir(self, trial_id: str) -> str:
            if self.trial_folder is None:
                return str(super()._get_trial_dir(trial_id))
            return str(self.trial_folder(trial_id))

        def create_trial(self, tuner_id: str) -> Trial:
            trial = super().create_trial(tuner_id)
            if trial.status == TrialStatus.IDLE:
                time.sleep(IDLE_WAIT)  # the worker asks again at once
            return trial

        def save(self) -> None:
            with atomic_write(Path(self._get_oracle_fname())) as partial:
                partial.write_text(json.dumps(self.get_state()), encoding="utf-8")

        def _save_trial(self, trial: Trial) -> None:
            with atomic_write(Path(self._get_trial_dir(trial.trial_id), "trial.json")) as partial:
                trial.save(str(partial))

        def reload(self) -> None:
            super().reload()
            # The trials' files are newer than the strategy's, which is written after them.
            unfinished = (TrialStatus.RUNNING, TrialStatus.INVALID)
            self._retry_queue = [name for name, trial in sorted(self.trials.items()) if trial.status in unfinished]
            for name in sorted(self.trials):
                if name not in self.start_order:
                    self.start_order.append(name)
                if name not in self.end_order and self.trials[name].status not in unfinished:
                    self.end_order.append(name)
            if isinstance(self, keras_tuner.oracles.GridSearchOracle):
                _restore_order(self)

    CrashSafe.__name__ = oracle.__name__
    return CrashSafe


def _restore_order(grid: keras_tuner.oracles.GridSearchOracle) -> None:
    """Restore a grid search: keras-tuner saves its trials, but not their positions in the grid."""
    order = functools.cmp_to_key(grid._compare)
    tried = sorted(grid.trials, key=lambda name: order(grid.trials[name].hyperparameters.values))
    grid._ordered_ids = type(grid._ordered_ids)()
    for before, name in zip([None, *tried], tried, strict=False):
        grid._ordered_ids.insert(name, before)
    grid._populate_next = tried
