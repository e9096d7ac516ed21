"""`bloodcell doctor` and `bloodcell sync` on a store, runs and searches that something happened to."""

import json
import os
import shutil

import pytest
from commands import run
from stores import runs_in

from bloodcell.config.tracking import TrackingConfig
from bloodcell.files import OLD
from bloodcell.tracking import courier
from bloodcell.tracking.run import TrackedRun, tracked_run
from bloodcell.tracking.store import open_store


@pytest.fixture
def tracking(tmp_path) -> TrackingConfig:
    return TrackingConfig(dir=str(tmp_path / "mlruns"))


def problems(tmp_path, *arguments: str, code: int) -> list[dict]:
    completed = run(["doctor", *arguments, "--json"], cwd=tmp_path)
    assert completed.returncode == code, completed.stderr
    return json.loads(completed.stdout)["problems"]


def test_nothing_is_wrong_with_a_healthy_store_and_a_new_folder(tracking, tmp_path):
    assert problems(tmp_path, code=0) == []
    assert list(tmp_path.iterdir()) == []
    with tracked_run(tracking=tracking, name="a run", tags={}, folder=tmp_path / "run"):
        pass
    assert problems(tmp_path, code=0) == []


def test_a_broken_database_is_moved_away_and_sync_delivers_the_runs_again(tracking, tmp_path):
    with tracked_run(tracking=tracking, name="a run", tags={}, folder=tmp_path / "run") as kept:
        kept.log_metrics({"accuracy": 0.5}, prefix="val")
    tmp_path = shutil.copytree(tmp_path, tmp_path / "copy")  # MLflow keeps the file above open
    database = tmp_path / "mlruns" / "mlflow.db"
    database.write_bytes(b"not a database")
    (problem,) = problems(tmp_path, code=1)
    assert (problem["what"], problem["repaired"]) == (str(database), False)
    assert database.read_bytes() == b"not a database"
    assert problems(tmp_path, "repair=true", code=0)[0]["repaired"]
    assert [path.read_bytes() for path in database.parent.glob("mlflow.db.broken-*")] == [b"not a database"]
    assert run(["sync", "again=true"], cwd=tmp_path).returncode == 0
    (found,) = runs_in(tmp_path)
    assert found.data.metrics == {"val/accuracy": 0.5}
    assert problems(tmp_path, code=0) == []


def test_what_a_killed_process_left_is_removed_but_not_what_one_is_writing(tmp_path):
    old, new = (tmp_path / "run" / f".{letter * 32}.parquet" for letter in "ab")
    old.parent.mkdir()
    for path in (old, new):
        path.touch()
    os.utime(old, (0, old.stat().st_mtime - OLD - 1))
    (problem,) = problems(tmp_path, code=1)
    assert problem["what"] == "run/" + old.name
    assert problems(tmp_path, "repair=true", code=0)[0]["repaired"]
    assert [path.name for path in old.parent.iterdir()] == [new.name]


def test_damaged_files_of_a_search_are_named_and_moved_away(tmp_path):
    folder = tmp_path / "searches" / "mine"
    folder.mkdir(parents=True)
    (folder / "search.yaml").write_text("signature: {}")
    (folder / "oracle.json").write_text('{"torn')
    (problem,) = problems(tmp_path, code=1)
    assert problem["what"] == "searches/mine/oracle.json"
    assert problems(tmp_path, "repair=true", code=0)[0]["repaired"]
    assert (folder / "oracle.json.damaged").read_text() == '{"torn'
    assert problems(tmp_path, code=0) == []


def test_sync_leaves_a_running_run_to_its_process_and_names_a_store_that_is_gone(tracking, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(courier.Courier, "add", lambda _, delivery: delivery)
        with TrackedRun(tmp_path / "done", name="done", tags={}, tracking=tracking):
            pass
    running = TrackedRun(tmp_path / "running", name="running", tags={}, tracking=tracking)
    open_store(tracking)
    completed = run(["sync", "--json"], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert {row["run"]: row["state"] for row in json.loads(completed.stdout)["runs"]} == {
        "done": "delivered",
        "running": "running",
    }
    running.end()
    shutil.rmtree(tmp_path / "mlruns")
    completed = run(["sync"], cwd=tmp_path)
    assert completed.returncode == 2
    (line,) = completed.stderr.splitlines()
    assert "mlflow.db" in line
