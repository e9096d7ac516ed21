"""A run in a real store."""

import threading

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.store.tracking.dbmodels.models import SqlDataset
from sqlalchemy import event
from sqlalchemy.orm import Session

from bloodcell.config.tracking import TrackingConfig
from bloodcell.tracking.run import tracked_run


@pytest.fixture
def tracking(tmp_path) -> TrackingConfig:
    return TrackingConfig(
        store="local",
        dir=str(tmp_path / "mlruns"),
        uri=None,
        experiment_name="mine",
        run_name=None,
        parent_run=None,
        run_id=None,
        sweep_job=None,
    )


def test_two_processes_can_log_the_same_images_at_once(tracking, tmp_path):
    images = pd.DataFrame({"path": ["a.jpeg"], "label": ["A"]})

    def log_data() -> None:
        with tracked_run(tracking=tracking, name="run", tags={}, folder=tmp_path) as run:
            run.log_dataset(images, name="images", source=str(tmp_path), digest="0" * 16)

    other = threading.Thread(target=log_data)

    def overtake(session: Session, *_: object) -> None:
        # Between MLflow's look for the dataset and its adding it another adds it.
        if other.ident is None and any(isinstance(each, SqlDataset) for each in session.new):
            other.start()
            other.join()

    event.listen(Session, "before_flush", overtake)
    try:
        log_data()
    finally:
        event.remove(Session, "before_flush", overtake)
    assert other.ident is not None
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    assert [run.inputs.dataset_inputs[0].dataset.name for run in runs] == ["images"] * 2
