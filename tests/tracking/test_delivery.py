"""A run's folder is delivered to MLflow once and completely, whatever fails in between."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.models import Model

from bloodcell.config.tracking import TrackingConfig
from bloodcell.experiment.recorder import read_run
from bloodcell.tracking import courier as courier_module
from bloodcell.tracking.delivery import Delivery
from bloodcell.tracking.run import TrackedRun
from bloodcell.tracking.store import Store, open_store

CALLS = 16
"""The calls of MLflow's client that deliver the run below."""


class Lost(Exception):
    """An error of the connection."""


class FailingClient:
    """MLflow's client, of which one call fails before or after it has reached the store."""

    def __init__(self, client: MlflowClient, *, call: int, after: bool) -> None:
        self._client, self._left, self._after = client, call, after
        self.calls = 0

    def __getattr__(self, name: str):
        def call(*arguments, **settings):
            self.calls += 1
            fails = self.calls == self._left + 1
            if fails and not self._after:
                raise Lost
            result = getattr(self._client, name)(*arguments, **settings)
            if fails:
                raise Lost
            return result

        return call


@pytest.fixture
def tracking(tmp_path) -> TrackingConfig:
    return TrackingConfig(dir=str(tmp_path / "mlruns"), experiment_name="mine")


@pytest.fixture
def store(tracking) -> Store:
    return open_store(tracking)[0]


@pytest.fixture
def recorded(tracking, store, tmp_path, monkeypatch) -> Path:
    """The folder of a run that has ended and of which the store knows nothing."""
    monkeypatch.setattr(courier_module.Courier, "add", lambda _, delivery: delivery)
    folder = tmp_path / "run"
    with TrackedRun(folder, name="a run", tags={"seed": "0"}, tracking=tracking) as run:
        run.log_parameters({f"parameter{number}": number for number in range(130)})
        for epoch in range(3):
            run.log_metrics({f"loss{epoch}": 1 / (epoch + 1)}, prefix="val")
        run.artifacts.mkdir(exist_ok=True)
        manifest = pd.DataFrame({"path": ["a.jpeg", "b.jpeg"], "label": ["A", "B"], "split": ["train", "val"]})
        manifest.to_parquet(run.artifacts / "manifest.parquet")
        run.log_dataset(manifest, name="cells", source=str(tmp_path), digest="0" * 16)
        run.log_table(pd.DataFrame({"fold": [1, 2]}), "folds.json")
        model = folder / "model"
        model.mkdir()
        (model / "weights").write_bytes(b"0")
        Model().save(str(model / "MLmodel"))
        run._run["model"] = True
        run.describe("Good")
        run.log_artifacts()
    return folder


def delivered(store: Store) -> list[Run]:
    client = MlflowClient(store.uri)
    return client.search_runs([client.get_experiment_by_name("mine").experiment_id])


def content(store: Store) -> dict:
    """Return everything that the store has of its only run, without ids."""
    client = MlflowClient(store.uri)
    (run,) = delivered(store)
    models = client.search_logged_models([run.info.experiment_id])
    own = client.get_run(run.info.run_id)
    root = Path(run.info.artifact_uri.removeprefix("file://"))
    return {
        "status": run.info.status,
        "times": (run.info.start_time, run.info.end_time),
        "tags": {name: value for name, value in run.data.tags.items() if name != "bloodcell.heartbeat"},
        "parameters": run.data.params,
        "metrics": {
            name: [(each.step, each.value, each.timestamp) for each in client.get_metric_history(run.info.run_id, name)]
            for name in run.data.metrics
        },
        "inputs": sorted(each.dataset.name for each in own.inputs.dataset_inputs),
        "outputs": len(own.outputs.model_outputs),
        "models": [
            (str(each.status), sorted((m.key, m.value, m.dataset_name) for m in each.metrics)) for each in models
        ],
        "files": sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()),
    }


def test_a_folder_is_delivered_once_and_completely_with_few_calls(recorded, store):
    delivery = Delivery(recorded, store=store)
    delivery._client = client = FailingClient(MlflowClient(store.uri), call=-1, after=False)
    delivery.deliver()
    assert delivery.complete
    found = content(store)
    assert found["status"] == "FINISHED"
    run = read_run(recorded)
    assert found["times"] == (run["started"], run["ended"])
    assert len(found["parameters"]) == 130
    assert {name: rows[0][:2] for name, rows in found["metrics"].items()} == {
        f"val/loss{epoch}": (0, 1 / (epoch + 1)) for epoch in range(3)
    }
    assert found["files"] == ["folds.csv", "folds.json", "manifest.parquet"]
    assert (found["inputs"], found["outputs"]) == (["cells train", "cells val"], 1)
    (model,) = MlflowClient(store.uri).search_logged_models([delivery.experiment_id])
    assert (model.name, model.tags["mlflow.note.content"]) == ("a run", "Good")
    assert found["models"] == [("READY", [(f"val/loss{epoch}", 1 / (epoch + 1), "cells val") for epoch in range(3)])]
    assert found["tags"]["mlflow.note.content"] == "Good"
    calls = client.calls
    Delivery(recorded, store=store).deliver()
    delivery.deliver()
    assert client.calls == calls, "nothing is sent again"
    assert calls == CALLS


@pytest.mark.parametrize("after", [False, True], ids=["before it", "after it"])
def test_whichever_call_fails_the_rest_follows_and_nothing_is_doubled(recorded, store, tmp_path, after):
    expected = None
    for call in range(CALLS):
        folder = tmp_path / f"copy{call}"
        shutil.copytree(recorded, folder)
        values = json.loads((folder / "run.json").read_text())
        values |= {"key": f"key{call}", "experiment": "mine"}
        (folder / "run.json").write_text(json.dumps(values))
        own, _ = open_store(TrackingConfig(dir=str(tmp_path / f"store{call}"), experiment_name="mine"))
        failing = Delivery(folder, store=own)
        failing._client = FailingClient(MlflowClient(own.uri), call=call, after=after)
        with pytest.raises(Lost):
            failing.deliver()
        assert not failing.complete
        again = failing if call % 2 else Delivery(folder, store=own)  # the same process, or another
        again._client = MlflowClient(own.uri)
        again.deliver()
        found = content(own)
        found["tags"].pop("bloodcell.key")
        expected = expected or found
        assert found == expected


def test_waiting_for_a_store_that_always_fails_at_the_same_place_ends(recorded, store, monkeypatch):
    monkeypatch.undo()
    (recorded / "artifacts" / "manifest.parquet").unlink()
    courier = courier_module.Courier()
    delivery = courier.add(Delivery(recorded, store=store))
    assert courier.flush(patience=0.2) == [delivery]
    assert "manifest.parquet" in courier.error
    assert delivery.run_id is not None


def test_a_folder_that_is_removed_is_not_waited_for(recorded, store, monkeypatch):
    monkeypatch.undo()
    courier = courier_module.Courier()
    shutil.rmtree(recorded / "artifacts")
    delivery = Delivery(recorded, store=store)
    shutil.rmtree(recorded)
    courier.add(delivery)
    assert courier.flush(patience=5) == []
