"""Search for the best hyperparameters with keras-tuner; every trial is a tracked run.

For example, at random, in cross-validation, for longer where it looks good, and a space of your own:

  bloodcell search data=bccd data.root=~/blood-cells tuner=random tuner.max_trials=50
  bloodcell search data=bccd data.root=~/blood-cells tuner=bayesian split=group_kfold tuner.name=kfold
  bloodcell search data=bccd data.root=~/blood-cells tuner=hyperband tuner.workers=2
  bloodcell search -cd my_conf tuner/space=mine data=bccd data.root=~/blood-cells

A search that was cut off goes on when the same command is given again. How a space is written is said in
conf/tuner/space/head.yaml.
"""

import errno
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pandas as pd
from keras_tuner.engine.trial import Trial
from keras_tuner.errors import FailedTrialError
from mlflow import MlflowClient

from bloodcell.config.quoting import short_override
from bloodcell.config.search import HyperbandTuner, SearchConfig
from bloodcell.config.training import TrainConfig
from bloodcell.console.logs import errors_logged, logging_to
from bloodcell.errors import SearchFailedError, StoreLostError, reason_of
from bloodcell.experiment.countdown import Countdown
from bloodcell.experiment.fold import build_learner
from bloodcell.experiment.images import Prepared, prepare_images
from bloodcell.experiment.outcome import Outcome
from bloodcell.jobs._baselines import train_baselines
from bloodcell.jobs._search import (
    Composer,
    check_space,
    for_training,
    goes_on,
    only_one,
    open_search,
    recall,
    remember,
)
from bloodcell.jobs._search_outcome import keep_search
from bloodcell.jobs._workers import check_environment, distributed, is_worker, stay_with_chief
from bloodcell.jobs.train import train
from bloodcell.search.space import overrides_of
from bloodcell.search.tuner import FunctionTuner, build_oracle
from bloodcell.tracking.store import find_store
from bloodcell.tracking.study import Study, close_children, end_study, keep_objective, run_aside, set_interrupted_aside
from bloodcell.tracking.study_report import show_study
from bloodcell.tracking.tuner import MLflowTrials

log = logging.getLogger(__name__)


class Search(MLflowTrials, FunctionTuner):
    """A tuner whose trials are training runs."""


def run(config: SearchConfig, *, output_dir: Path) -> None:  # noqa: ARG001 - a search has a folder that outlasts a run
    """Search, train the best configuration once more, and show what came out.

    Raises
    ------
    UserError
        If the space, the images or the store cannot be used, or the folder holds another search.
    SearchFailedError
        If too many trials failed one after the other.
    """
    check_environment()
    find_store(config.tracking)
    folder = Path(config.tuner.dir).expanduser() / config.tuner.name
    with nullcontext() if is_worker() else only_one(folder):
        _run(config, folder)


def _run(config: SearchConfig, folder: Path) -> None:
    compose = Composer.of_this_job()
    check_space(config, compose)
    prepared = prepare_images(config)
    # What a training refuses is refused before the search starts.
    learner = build_learner(
        for_training(config), n_classes=len(prepared.images.classes), backbone_seed=config.hyperparameters.seed
    )
    backbone = learner.classifier.backbone
    made_from = {"the images' digest": prepared.digest, "the weights' digest": backbone.digest}
    study = open_search(config, folder, made_from=made_from, is_worker=is_worker())
    begun = goes_on(folder)
    with _quiet():
        tuner = Search(
            build_oracle(config.tuner),
            train=lambda trial: _train(trial, tuner, study, config, compose, prepared, folder, progress),
            directory=folder.resolve(),
        )
    progress = _progress(tuner, config)
    tuner.track(experiment_id=study.experiment_id, parent_run_id=study.run_id, prefix="trial/")
    if is_worker():
        stay_with_chief()
        with _quiet():
            _search(tuner, config)
        return
    if begun:
        set_interrupted_aside(study)
        n_ended = len(tuner.oracle.end_order)
        print(f"goes on with the search in {folder}: {n_ended} trials have ended", file=sys.stderr, flush=True)
    else:
        tuner.save()
    status = "FAILED"
    try:
        distributed(
            lambda: _search(tuner, config),
            n_workers=config.tuner.workers,
            # Or some strategies would wait for its trial.
            lost=lambda name: tuner.oracle.ongoing_trials.pop(name, None),
        )
        if config.tuner.final:
            _train_best(tuner, study, config, compose, prepared, folder)
        if not recall(folder).get("baselines"):
            _train_baselines(study, config, folder)
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    except StoreLostError:
        status = "LOST"
        raise
    finally:
        if status != "LOST":
            interrupted = status == "KILLED"
            entries = close_children(study, expected=None, interrupted=interrupted)
            final = recall(folder).get("final") or {}
            keep_search(study, _trials(tuner), config=config, given=compose.overrides, final_run=final.get("run_id"))
            objective = config.tuner.objective
            table = end_study(study, entries, interrupted=interrupted, status=status, objective=objective)
            show_study(
                study,
                entries,
                table,
                objective=objective,
                folder=folder.absolute(),
                best=_best_data(tuner, final),
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what keras-tuner prints."""
    with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing):
        yield


def _search(tuner: Search, config: SearchConfig) -> None:
    try:
        tuner.search()
    except (RuntimeError, grpc.RpcError) as error:
        if "Number of consecutive failures" in str(error):
            raise SearchFailedError(
                f"tuner.max_failures={config.tuner.max_failures}: so many trials failed one after the other"
                f"{_last_reason(error)}; mend it and start again, which goes on"
            ) from error
        if isinstance(error, grpc.RpcError):
            raise SearchFailedError(
                "the search's chief does not answer; see how it ended, and start both again, which goes on"
            ) from error
        raise


def _last_reason(error: Exception) -> str:
    """Return the last trial's reason; over the network keras-tuner does not tell it."""
    return f", the last: {str(error).strip().splitlines()[-1]}" if isinstance(error, RuntimeError) else ""


def _train(
    trial: Trial,
    tuner: Search,
    study: Study,
    config: SearchConfig,
    compose: Composer,
    prepared: Prepared,
    folder: Path,
    progress: Countdown,
) -> Mapping[str, float]:
    overrides = overrides_of(trial.hyperparameters)
    number, name = int(trial.trial_id) + 1, ", ".join(map(short_override, overrides))
    progress.begin()
    try:
        chosen = compose(overrides)
        tracking = replace(
            config.tracking,
            parent_run=study.run_id,
            run_id=tuner.trial_runs[trial.trial_id],
            run_name=f"trial {number}: {name}"[:250],
            sweep_job=number - 1,
        )
        output_dir = folder / f"trial_{trial.trial_id}" / "run"
        with logging_to(output_dir / "train.log"), errors_logged():
            outcome = train(
                replace(for_training(chosen), tracking=tracking),
                output_dir=output_dir,
                prepared=_if_same(prepared, config, chosen),
                quiet=True,
            )
    except Exception as error:
        if isinstance(error, StoreLostError) or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
            raise  # not the trial's fault: it is repeated when the search goes on
        log.warning("trial %d failed: %s", number, reason_of(error))
        progress.failed(number, name, reason_of(error))
        raise FailedTrialError(reason_of(error)) from error
    value = _value(outcome, config.tuner.objective)
    progress.finished(number, name, value)
    return {config.tuner.objective: value}


def _value(outcome: Outcome, objective: str) -> float:
    """Return the figure that a search goes by, in cross-validation its mean over the folds."""
    figure = objective.partition("/")[2]
    of_folds = [fold["val"][figure] for fold in outcome.folds] or [outcome.metrics["val"][figure]]
    return sum(of_folds) / len(of_folds)


def _train_baselines(study: Study, config: SearchConfig, folder: Path) -> None:
    """Train what the trials are compared with, once in a search."""
    tracking = replace(config.tracking, parent_run=study.run_id)
    outcomes = train_baselines([replace(for_training(config), tracking=tracking)], folder=folder / "baselines")
    for name, outcome in outcomes.items():
        keep_objective(study, name, _value(outcome, config.tuner.objective))
    remember(folder, baselines=True)


def _progress(tuner: Search, config: SearchConfig) -> Countdown:
    best = None if is_worker() else _best(tuner)
    return Countdown(
        noun="trial",
        objective=config.tuner.objective,
        total=None if isinstance(config.tuner, HyperbandTuner) else config.tuner.max_trials,
        n_workers=config.tuner.workers,
        alone=not is_worker(),
        best=best and best.score,
    )


def _best(tuner: Search) -> Trial | None:
    """Return the best of the finished trials, the first of equals."""
    finished = [trial for _, trial in _in_order(tuner) if trial.status == "COMPLETED"]
    sign = -1 if tuner.oracle.objective.direction == "min" else 1
    return max(finished, key=lambda trial: sign * trial.score, default=None)


def _best_data(tuner: Search, final: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return for machines the best trial, and the run that trained its configuration once more."""
    best = _best(tuner)
    if best is None:
        return None
    overrides = overrides_of(best.hyperparameters)
    again = final.get("run_id") if final.get("overrides") == overrides else None
    return {"trial": int(best.trial_id) + 1, "score": best.score, "overrides": overrides, "trained_again": again}


def _train_best(
    tuner: Search, study: Study, config: SearchConfig, compose: Composer, prepared: Prepared, folder: Path
) -> None:
    """Train the best configuration once more and keep its model, unless that was done before."""
    best = _best(tuner)
    if best is None:
        return
    overrides = overrides_of(best.hyperparameters)
    state = recall(folder)
    final = state.get("final") or {}
    if final.get("overrides") == overrides and (final["test"] or not config.tuner.final_test):
        return
    if config.tuner.final_test:
        _count_reading(study, folder, readings=state.get("test_readings", 0) + 1)
    # No entry of the leaderboard: it would stand there twice.
    run_id = run_aside(study, name="the best once more", reason=f"trial {int(best.trial_id) + 1} once more")
    tracking = replace(config.tracking, parent_run=study.run_id, run_id=run_id, run_name="the best once more")
    chosen = replace(for_training(compose(overrides)), tracking=tracking, log_model=True)
    chosen = replace(chosen, evaluate_test=config.tuner.final_test)
    output_dir = folder / "final" / f"trial_{best.trial_id}"
    with logging_to(output_dir / "train.log"), errors_logged():
        train(chosen, output_dir=output_dir, prepared=_if_same(prepared, config, chosen))
    remember(folder, final={"overrides": overrides, "test": config.tuner.final_test, "run_id": run_id})


def _count_reading(study: Study, folder: Path, *, readings: int) -> None:
    """Keep how often the search has measured a model on the test set, and say so from the second time on."""
    if readings > 1:
        print(
            f"tuner.final_test=true: the test set is read for time {readings} in this search, for another best; "
            "the better of such figures is too good",
            file=sys.stderr,
            flush=True,
        )
    remember(folder, test_readings=readings)
    MlflowClient().set_tag(study.run_id, "test_readings", str(readings))


def _if_same(prepared: Prepared, config: SearchConfig, chosen: TrainConfig) -> Prepared | None:
    """Return the search's images for a trial that is trained on the same ones."""
    same = (chosen.data, chosen.split, chosen.debug) == (config.data, config.split, config.debug)
    return prepared if same else None


def _in_order(tuner: Search) -> list[tuple[str, Trial]]:
    """Return the trials by their names, the first first: a search that was made longer has names of several lengths."""
    return sorted(tuner.oracle.trials.items(), key=lambda item: int(item[0]))


def _trials(tuner: Search) -> pd.DataFrame:
    """Return one row for each trial: ``trial, status, score, overrides`` and its hyperparameters by their names."""
    rows = []
    for name, trial in _in_order(tuner):
        chosen = trial.hyperparameters
        active = {entry.name for entry in chosen.space if chosen.is_active(entry)}
        values = {key: value for key, value in chosen.values.items() if key in active}
        own = {"trial": name, "status": str(trial.status), "score": trial.score, "overrides": overrides_of(chosen)}
        rows.append(own | values)
    table = pd.DataFrame(rows)
    if len(table):
        table["score"] = pd.to_numeric(table["score"])
    return table
