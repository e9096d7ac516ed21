"""A cross-validation that is killed and resumed, and folds that are read from their folders."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from undrawn import one_pixel

from bloodcell.config.keywords import train_config
from bloodcell.errors import UserError
from bloodcell.evaluation.outcome import Outcome
from bloodcell.experiment import side_by_side
from bloodcell.experiment.cross_validation import train_folds
from bloodcell.experiment.finished import load_fold
from bloodcell.experiment.recorder import Recorder
from bloodcell.experiment.result import Result
from bloodcell.experiment.training import Experiment, prepare_experiment
from bloodcell.plots.drawing import Pictures
from bloodcell.training import state as _state

SMEARS = {"source": "smears", "train_photographs": 24, "test_photographs": 20, "copies": 2}
KFOLD = {"name": "group_kfold", "folds": 2, "refit": True}
SMALL = {"data": SMEARS, "backbone": "colour_histogram", "head": "dense", "finetune": "none", "epochs": 3}
NETWORK = {"backbone": {"name": "MobileNet", "input_size": 32, "weights": None}, "epochs": 1}


class Kill(BaseException):
    """The end of a process."""


@pytest.fixture(autouse=True)
def _no_pictures_and_every_state(monkeypatch):
    monkeypatch.setattr(Pictures, "draw", one_pixel)
    monkeypatch.setattr(_state, "MAX_SHARE", float("inf"))


@pytest.fixture
def heard(monkeypatch) -> list[int]:
    """The epochs that recorders hear of; the process is killed in the fifth."""
    epochs: list[int] = []

    def log_epoch(_: Recorder, epoch: Any) -> None:
        epochs.append(epoch.epoch)
        if len(epochs) == 5:
            raise Kill

    monkeypatch.setattr(Recorder, "log_epoch", log_epoch)
    return epochs


def experiment(**settings: Any) -> Experiment:
    return prepare_experiment(train_config(**SMALL | {"split": KFOLD} | settings))


def run(made: Experiment, folder: Path, *, resume: bool = False) -> Result:
    with Recorder(folder, name=made.name, tags=made.tags) as recorder:
        return made.run(recorder, resume=resume)


def set_status(folder: Path, status: str) -> None:
    file = folder / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | {"status": status}), encoding="utf-8")


def assert_same_outcome(one: Outcome, other: Outcome) -> None:
    pd.testing.assert_frame_equal(one.predictions, other.predictions, check_exact=True)
    np.testing.assert_equal(one.metrics, other.metrics)
    assert (one.classes, one.leakage, list(one.splits)) == (other.classes, other.leakage, list(other.splits))
    for split, evaluation in one.splits.items():
        same = other.splits[split]
        pd.testing.assert_frame_equal(evaluation.table, same.table, check_exact=True)
        np.testing.assert_array_equal(evaluation.calibrated_probabilities, same.calibrated_probabilities)
        assert (evaluation.views_table is None) == (same.views_table is None)
        if evaluation.views_table is not None:
            pd.testing.assert_frame_equal(evaluation.views_table, same.views_table, check_exact=True)
    for fold, same_fold in zip(one.folds, other.folds, strict=True):
        assert_same_outcome(fold, same_fold)


def trained_folds(made: Experiment, folder: Path) -> tuple[list[Any], Callable[..., Any]]:
    """Return the results of the folds, and a function that reads one from its folder."""
    with Recorder(folder) as recorder:
        results = train_folds(recorder, made.learner, prepared=made.prepared, config=made.config)
    digest = made.learner.classifier.backbone.digest
    prepared = made.prepared.folds[0]
    # Its seed is that of the fold.
    (seed,) = np.random.SeedSequence([made.config.hyperparameters.seed, 1]).generate_state(1)
    own = replace(made.config, hyperparameters=replace(made.config.hyperparameters, seed=int(seed)))

    def read(**changes: Any) -> Any:
        settings = {"prepared": prepared, "config": own, "fold": 1, "weights_digest": digest} | changes
        return load_fold(recorder.fold_folder(1), **settings)

    return results, read


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="features"),
        pytest.param(NETWORK | {"views_at_test": "flips"}, id="network", marks=pytest.mark.slow),
    ],
)
def test_a_finished_fold_is_read_as_it_was_returned(tmp_path, settings):
    results, read = trained_folds(experiment(**settings), tmp_path)
    set_status(tmp_path / "folds" / "1", "FINISHED")
    loaded = read()
    assert_same_outcome(loaded.outcome, results[0].outcome)
    assert (loaded.outcome.val.views is not None) == ("views_at_test" in settings)
    pd.testing.assert_frame_equal(loaded.history, results[0].history, check_exact=True)
    for name in ("cost", "best_epoch", "features", "model_uri"):
        assert getattr(loaded, name) == getattr(results[0], name)
    assert Path(loaded.model_uri).is_file()


def test_what_is_no_finished_fold_is_not_read(tmp_path):
    made = experiment(epochs=1, evaluate_test=False, log_model=False)
    _, read = trained_folds(made, tmp_path)
    folder = tmp_path / "folds" / "1"
    for status in ("RUNNING", "FAILED", "KILLED"):
        set_status(folder, status)
        assert read() is None
    set_status(folder, "FINISHED")
    assert list(read().outcome.splits) == ["val"]
    assert read(config=made.config) is None
    assert read(prepared=made.prepared.folds[1]) is None
    assert read(weights_digest="of other weights") is None
    (folder / "artifacts" / "predictions.parquet").unlink()
    assert read() is None


@pytest.mark.slow
def test_a_cross_validation_that_was_killed_equals_one_that_was_not(tmp_path, heard):
    with pytest.raises(Kill):
        run(experiment(), tmp_path / "killed")
    assert heard == [0, 1, 2, 0, 1]
    set_status(tmp_path / "killed" / "folds" / "1", "FINISHED")
    heard[:] = [-1] * 5
    resumed = run(experiment(), tmp_path / "killed", resume=True)
    # The head of the second fold is trained; its epochs are told again, because it is not known which were told.
    epochs_of_refit = len(heard) - 5 - 3
    assert heard[5:] == [0, 1, 2, *range(epochs_of_refit)]
    undisturbed = run(experiment(), tmp_path / "undisturbed")
    assert_same_outcome(resumed.outcome, undisturbed.outcome)
    pd.testing.assert_frame_equal(resumed.metrics, undisturbed.metrics, check_exact=True)
    pd.testing.assert_frame_equal(resumed.history, undisturbed.history, check_exact=True)
    for one, other in zip(resumed.model.get_weights(), undisturbed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_cannot_be_trained_side_by_side_is_trained_one_by_one(tmp_path, monkeypatch):
    together = run(experiment(), tmp_path / "together")

    def fail(*_, **__):
        raise UserError("features.dir: cannot be written")

    monkeypatch.setattr(side_by_side, "stage_features", fail)
    alone = run(experiment(), tmp_path / "alone")
    pd.testing.assert_frame_equal(alone.history, together.history, check_exact=True)
    assert_same_outcome(alone.outcome, together.outcome)


def test_a_finished_cross_validation_is_read_without_training(tmp_path, heard):
    heard[:] = [-1] * 5
    first = run(experiment(), tmp_path)
    for number in (1, 2):
        set_status(tmp_path / "folds" / str(number), "FINISHED")
    heard[:] = [-1] * 5
    again = run(experiment(), tmp_path, resume=True)
    assert heard == [-1] * 5
    assert_same_outcome(again.outcome, first.outcome)
    assert again.addresses == first.addresses


def test_a_single_training_that_was_killed_equals_one_that_was_not(tmp_path, heard):
    single = {"split": {"name": "group_holdout"}, "epochs": 6}
    with pytest.raises(Kill):
        run(experiment(**single), tmp_path / "killed")
    resumed = run(experiment(**single), tmp_path / "killed", resume=True)
    assert heard == [0, 1, 2, 3, 4, 4, 5]
    undisturbed = run(experiment(**single), tmp_path / "undisturbed")
    assert_same_outcome(resumed.outcome, undisturbed.outcome)
    pd.testing.assert_frame_equal(resumed.history, undisturbed.history, check_exact=True)
