"""Runs in a real store."""

import threading

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.store.tracking.dbmodels.models import SqlDataset
from sqlalchemy import event
from sqlalchemy.orm import Session

from bloodcell.config.tracking import TrackingConfig
from bloodcell.errors import UserError
from bloodcell.experiment.recorder import read_run
from bloodcell.tracking import courier
from bloodcell.tracking.delivery import Delivery
from bloodcell.tracking.local_runs import close_abandoned, is_written
from bloodcell.tracking.run import TrackedRun, tracked_run
from bloodcell.tracking.store import open_store


@pytest.fixture
def tracking(tmp_path) -> TrackingConfig:
    return TrackingConfig(dir=str(tmp_path / "mlruns"), experiment_name="mine")


def test_two_processes_can_log_the_same_images_at_once(tracking, tmp_path, monkeypatch):
    monkeypatch.setattr(courier.Courier, "add", lambda _, delivery: delivery)
    store, experiment = open_store(tracking)
    images = pd.DataFrame({"path": ["a.jpeg"], "label": ["A"], "split": ["train"]})
    deliveries = []
    for name in ("one", "two"):
        with TrackedRun(tmp_path / name, name=name, tags={}, tracking=tracking) as run:
            run.artifacts.mkdir()
            images.to_parquet(run.artifacts / "manifest.parquet")
            run.log_dataset(images, name="images", source=str(tmp_path), digest="0" * 16)
        deliveries.append(Delivery(run.folder, store=store))
    other = threading.Thread(target=deliveries[1].deliver)

    def overtake(session: Session, *_: object) -> None:
        # Between MLflow's look for the dataset and its adding it another adds it.
        if other.ident is None and any(isinstance(each, SqlDataset) for each in session.new):
            other.start()
            other.join()

    event.listen(Session, "before_flush", overtake)
    try:
        deliveries[0].deliver()
    finally:
        event.remove(Session, "before_flush", overtake)
    assert other.ident is not None
    runs = MlflowClient(store.uri).search_runs([experiment])
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    assert [run.inputs.dataset_inputs[0].dataset.name for run in runs] == ["images train"] * 2


@pytest.mark.parametrize(
    ("error", "status"), [(None, "FINISHED"), (ValueError("bad"), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_a_run_ends_with_its_status_and_reason_in_the_folder_and_in_the_store(tracking, tmp_path, error, status):
    def work() -> None:
        with tracked_run(tracking=tracking, name="a run", tags={}, folder=tmp_path / "run"):
            if error is not None:
                raise error

    if error is None:
        work()
    else:
        with pytest.raises(type(error)):
            work()
    store, experiment = open_store(tracking)
    (run,) = MlflowClient(store.uri).search_runs([experiment])
    assert run.info.status == read_run(tmp_path / "run")["status"] == status
    reason = {"FINISHED": None, "FAILED": "ValueError: bad", "KILLED": "KeyboardInterrupt"}[status]
    assert run.data.tags.get("reason") == reason


def test_a_folder_has_one_writer_and_a_run_whose_writer_is_gone_is_ended(tracking, tmp_path):
    run = TrackedRun(tmp_path / "run", name="a run", tags={}, tracking=tracking)
    with pytest.raises(UserError, match="another process"):
        TrackedRun(tmp_path / "run", name="another", tags={}, tracking=tracking)
    assert is_written(run.folder)
    assert not close_abandoned(run.folder, status="FAILED")
    run._lock.release()  # as the operating system does when a process is killed
    assert close_abandoned(run.folder, status="FAILED")
    assert read_run(run.folder)["status"] == "FAILED"


def test_a_run_that_resumes_keeps_its_key_and_no_value_is_doubled(tracking, tmp_path):
    folder = tmp_path / "run"
    with tracked_run(tracking=tracking, name="a run", tags={}, folder=folder) as run:
        run.log_metrics({"a": 1.0, "b": 2.0}, prefix="val")
        run.tag("reason", "killed")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"key": "torn')  # as if the process had been killed while it wrote
    with tracked_run(tracking=tracking, name="a run", tags={}, folder=folder, resume=True) as run:
        run.log_metrics({"a": 1.0, "b": 3.0, "c": 4.0}, prefix="val")
    store, experiment = open_store(tracking)
    client = MlflowClient(store.uri)
    (found,) = client.search_runs([experiment])
    assert found.info.status == "FINISHED"
    assert "reason" not in found.data.tags
    values = {
        name: [each.value for each in client.get_metric_history(found.info.run_id, name)] for name in found.data.metrics
    }
    assert values == {"val/a": [1.0], "val/b": [2.0, 3.0], "val/c": [4.0]}
    with tracked_run(tracking=tracking, name="a run", tags={}, folder=folder):
        pass
    assert len(client.search_runs([experiment])) == 2, "without resume it is another run"
