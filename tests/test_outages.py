"""A server that is away, slow or faulty: nothing waits for it, nothing is lost, and nothing is delivered twice."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from clusters import mlflow_server, object_store, postgresql
from commands import run, small, start
from mlflow import MlflowClient
from mlflow.entities import Run
from proxy import Proxy

pytestmark = pytest.mark.slow

MEASURED = ("cost/", "explain/seconds")
"""Metrics that differ between two equal trainings."""


@pytest.fixture(scope="module", params=["SQLite", "PostgreSQL and S3"])
def server(request) -> Iterator[str]:
    """The address of a real MLflow server."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True)))
        folder.chmod(0o755)  # PostgreSQL runs as another user
        stores = {}
        if request.param != "SQLite":
            variables = stack.enter_context(object_store(folder / "s3"))
            database = stack.enter_context(postgresql(folder / "postgresql"))
            stores = {"database": database, "artifacts": "s3://runs/kept", **variables}
        address, _ = stack.enter_context(mlflow_server(folder / "server", **stores))
        yield address


@pytest.fixture
def proxy(server):
    proxy = Proxy(server)
    yield proxy
    proxy.close()


def settings(bccd: Path, proxy: Proxy, experiment: str) -> list[str]:
    return [
        *small(bccd),
        *("head=dense", "hyperparameters.epochs=3", "tracking=server", f"tracking.uri={proxy.address}"),
        *(f"tracking.experiment_name={experiment}", "tracking.wait_seconds=1"),
    ]


def runs_of(address: str, experiment: str) -> list[Run]:
    client = MlflowClient(address)
    found = client.get_experiment_by_name(experiment)
    return client.search_runs([found.experiment_id], order_by=["attributes.start_time ASC"]) if found else []


def content(address: str, run: Run) -> dict:
    """Return what a store has of a run, without ids, times and what is measured anew."""
    client = MlflowClient(address)
    run = client.get_run(run.info.run_id)
    own = {name for name in run.data.metrics if not name.startswith(MEASURED)}
    histories = {name: client.get_metric_history(run.info.run_id, name) for name in own}
    files, folders = [], [""]
    while folders:
        for each in client.list_artifacts(run.info.run_id, folders.pop()):
            (folders if each.is_dir else files).append(each.path)
    skipped = (
        "output_dir",
        "bloodcell.",
        "mlflow.note",
        "mlflow.parentRunId",
        "mlflow.source",
        "study",
        "overrides",
        "best_run",
    )
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "metrics": {name: [(each.step, each.value) for each in rows] for name, rows in histories.items()},
        "parameters": {k: v for k, v in run.data.params.items() if not k.startswith("tracking.")},
        "tags": {name: value for name, value in run.data.tags.items() if not name.startswith(skipped)},
        "inputs": [each.dataset.digest for each in run.inputs.dataset_inputs],
        "models": len(run.outputs.model_outputs),
        "files": sorted(files),
    }


def when(command: "subprocess.Popen[str]", text: str) -> None:
    """Wait until a command has written a text to standard error."""
    for line in command.stderr:
        if text in line:
            return


@pytest.fixture(scope="module")
def undisturbed(server, bccd, tmp_path_factory) -> dict:
    """What the server has of a run that nothing disturbed."""
    proxy = Proxy(server)
    completed = run(
        ["train", *settings(bccd, proxy, "undisturbed"), "log_model=true"], cwd=tmp_path_factory.mktemp("undisturbed")
    )
    assert completed.returncode == 0, completed.stderr
    (found,) = runs_of(server, "undisturbed")
    assert proxy.requests < 80
    proxy.close()
    return content(server, found)


def test_a_run_whose_server_goes_away_ends_well_and_is_delivered_later(server, proxy, bccd, tmp_path, undisturbed):
    command = start(["train", *settings(bccd, proxy, "away"), "log_model=true"], cwd=tmp_path)
    when(command, "epoch 1/")
    proxy.away = True
    _, stderr = command.communicate(timeout=250)
    assert command.returncode == 0, stderr
    assert "Traceback" not in stderr
    assert "bloodcell sync" in stderr
    (folder,) = tmp_path.glob("outputs/*/*")
    completed = run(["sync", "wait_seconds=1"], cwd=tmp_path)
    assert completed.returncode == 1
    proxy.away = False
    for _ in range(2):
        completed = run(["sync", str(folder)], cwd=tmp_path)
        assert completed.returncode == 0, completed.stderr
    (found,) = runs_of(server, "away")
    assert content(server, found) == undisturbed


@pytest.mark.parametrize(("errors", "delay"), [(0.2, 0.0), (0.0, 0.3)], ids=["errors", "slow"])
def test_a_faulty_or_slow_server_gets_every_run_once(
    server, proxy, bccd, tmp_path, undisturbed, errors, delay, monkeypatch
):
    for wait in ("FACTOR", "JITTER"):  # between two attempts
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_BACKOFF_{wait}", "0")
    name = f"errors {errors} delay {delay}"
    proxy.errors, proxy.delay = errors, delay
    arguments = ["train", *settings(bccd, proxy, name), "log_model=true", "tracking.wait_seconds=100"]
    completed = run(arguments, cwd=tmp_path)
    proxy.errors, proxy.delay = 0.0, 0.0
    assert completed.returncode == 0, completed.stderr
    (found,) = runs_of(server, name)
    assert content(server, found) == undisturbed


def test_a_sweep_whose_server_goes_away_trains_every_run(server, proxy, bccd, tmp_path):
    swept = ["train", "-m", "hyperparameters.seed=0,1,2"]
    completed = run([*swept, *settings(bccd, proxy, "sweep")], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    expected = [content(server, each) for each in runs_of(server, "sweep")]
    command = start([*swept, *settings(bccd, proxy, "swept away")], cwd=tmp_path)
    when(command, "1 of 3")
    proxy.away = True
    stdout, stderr = command.communicate(timeout=250)
    assert command.returncode == 0, stderr
    assert "3 of 3 runs finished" in stdout
    proxy.away = False
    completed = run(["sync", "multirun"], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    parent, *children = runs_of(server, "swept away")
    assert [content(server, each) for each in (parent, *children)] == expected
    table = mlflow.artifacts.download_artifacts(
        run_id=parent.info.run_id, artifact_path="leaderboard.csv", tracking_uri=server
    )
    listed = pd.read_csv(table)["run_id"]
    assert set(listed) == {child.info.run_id for child in children}
    assert parent.data.tags["best_run"] == listed[0]
