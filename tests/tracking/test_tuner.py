"""Trials in MLflow, for an ordinary keras-tuner search over an ordinary model."""

import keras
import keras_tuner
import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from bloodcell.tracking.tuner import MLflowTrials


class Search(MLflowTrials, keras_tuner.RandomSearch):
    pass


def build(hp: keras_tuner.HyperParameters) -> keras.Model:
    units = hp.Int("units", 2, 64)
    if units % 2:
        raise ValueError(f"{units} units are odd")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units), keras.layers.Dense(1)])
    model.compile(loss="mse", optimizer=keras.optimizers.Adam(hp.Float("rate", 1e-4, 1e-1, sampling="log")))
    return model


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.create_experiment("search", artifact_location=folder.as_uri())
    parent = client.create_run(experiment, run_name="parent").info.run_id
    tuner = Search(
        build,
        objective="val_loss",
        max_trials=6,
        seed=3,
        max_consecutive_failed_trials=6,
        directory=str(folder / "search"),
    )
    tuner.track(experiment_id=experiment, parent_run_id=parent, client=client)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 3)), rng.normal(size=(32, 1))
    tuner.search(x, y, validation_data=(x, y), epochs=2, verbose=0)
    return tuner, client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")


def test_every_trial_is_a_run_with_its_hyperparameters_and_status(runs):
    tuner, found = runs
    assert len(found) == len(tuner.oracle.trials)
    statuses = set()
    for run in found:
        trial = tuner.oracle.get_trial(run.data.tags["trial"])
        assert run.data.params == {name: str(value) for name, value in trial.hyperparameters.values.items()}
        odd = trial.hyperparameters.values["units"] % 2
        assert run.info.status == ("FAILED" if odd else "FINISHED")
        statuses.add(run.info.status)
        if odd:
            assert "units are odd" in run.data.tags["reason"]
        else:
            assert run.data.metrics["objective"] == pytest.approx(trial.score)
            assert {"epoch/loss", "epoch/val_loss"} <= run.data.metrics.keys()
    assert "FINISHED" in statuses


def test_the_metrics_of_every_epoch_are_kept(runs):
    tuner, found = runs
    finished = next(run for run in found if run.info.status == "FINISHED")
    history = tuner._client.get_metric_history(finished.info.run_id, "epoch/val_loss")
    assert [point.step for point in history] == [0, 1]


def test_the_store_that_is_set_by_default_is_left_alone(runs):
    assert "store" not in mlflow.get_tracking_uri().partition("mlflow.db")[0].rpartition("/")[0][-6:]
