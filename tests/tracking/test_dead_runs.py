"""Runs that run for the store, although their processes are gone."""

import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from bloodcell.config.tracking import TrackingConfig
from bloodcell.experiment.recorder import now, read_run
from bloodcell.tracking.dead_runs import SILENT_MINUTES, end_dead_runs
from bloodcell.tracking.delivery import HEARTBEAT_TAG
from bloodcell.tracking.local_runs import LOST
from bloodcell.tracking.machine import HOST_TAG, PROCESS_TAG, process_tags
from bloodcell.tracking.run import TrackedRun, deliver_all
from bloodcell.tracking.store import open_store

KILLED = """
import os, signal, sys
from pathlib import Path
from bloodcell.config.tracking import TrackingConfig
from bloodcell.tracking.run import TrackedRun

run = TrackedRun(Path("run"), name="killed", tags={}, tracking=TrackingConfig()).__enter__()
run.delivery.deliver()
run.log_metrics({"accuracy": 0.5}, prefix="val")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def tracking(tmp_path) -> TrackingConfig:
    return TrackingConfig(dir=str(tmp_path / "mlruns"))


def test_a_killed_run_is_ended_and_delivered_and_a_living_one_is_not(tracking, tmp_path):
    process = subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, capture_output=True, check=False)
    assert process.returncode == -9, process.stderr
    living = TrackedRun(tmp_path / "living", name="living", tags={}, tracking=tracking)
    living.delivery.create()
    store, experiment = open_store(tracking)
    assert end_dead_runs(store, experiment) == ["killed"]
    deliver_all(patience=5)
    runs = {run.info.run_name: run for run in MlflowClient(store.uri).search_runs([experiment])}
    assert {name: run.info.status for name, run in runs.items()} == {"killed": "FAILED", "living": "RUNNING"}
    assert runs["killed"].data.tags["reason"] == LOST
    assert runs["killed"].data.metrics == {"val/accuracy": 0.5}, "what was recorded before it was killed"
    assert read_run(tmp_path / "run")["status"] == "FAILED"
    living.end()


@pytest.mark.parametrize(
    ("host", "process", "silent", "elsewhere", "ended"),
    [
        ("here", "999999999", 0, False, True),
        ("here", "1", 60, False, False),
        ("there", "1", 60, False, False),
        ("there", "1", SILENT_MINUTES + 1, True, True),
        ("there", "1", SILENT_MINUTES - 1, True, False),
    ],
)
def test_without_its_folder_the_process_or_the_heartbeat_tells(tracking, host, process, silent, elsewhere, ended):
    store, experiment = open_store(tracking)
    client = MlflowClient(store.uri)
    tags = {
        HOST_TAG: process_tags()[HOST_TAG] if host == "here" else host,
        PROCESS_TAG: process,
        HEARTBEAT_TAG: str(now() - silent * 60_000),
        "output_dir": str(Path("/nowhere")),
    }
    run = client.create_run(experiment, tags=tags)
    end_dead_runs(store, experiment, elsewhere=elsewhere)
    assert client.get_run(run.info.run_id).info.status == ("FAILED" if ended else "RUNNING")
