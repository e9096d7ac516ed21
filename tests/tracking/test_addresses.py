"""Addresses of stores: what is none is refused in one line, before anything is read or written."""

import sqlite3
from contextlib import closing

import pytest
from commands import run

from bloodcell.config.tracking import TrackingConfig
from bloodcell.errors import UserError
from bloodcell.tracking.store import find_store, open_store

NO_STORES = [
    *("file:store", "file:///store", "store", "./store", "/store", " ", "foo://host", "s3://bucket/key", "foo:bar"),
    *(
        "sqlite:",
        "sqlite://",
        "sqlite:///",
        "sqlite:///?x=1",
        "sqlite:///:memory:",
        "sqlite:////",
        "sqlite://host/a.db",
    ),
    *("http://", "https://:5000", "http://host:99999", "http://host:port", "http://[::1"),
]


@pytest.mark.parametrize("address", NO_STORES)
def test_an_address_of_no_store_is_refused(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as refused:
        find_store(TrackingConfig(uri=address))
    assert str(refused.value).startswith(f"tracking.uri={address}: ")
    assert "\n" not in str(refused.value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(UserError) as refused:
        find_store(TrackingConfig())
    assert str(refused.value).startswith(f"MLFLOW_TRACKING_URI={address}: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "address",
    [
        *("http://localhost:5000", "https://user:word@host/path", "databricks", "databricks://profile"),
        *("postgresql+psycopg://u:p@host/db", "mysql://host/db", "sqlite:///a.db", "sqlite:////a/b.db?timeout=9"),
    ],
)
def test_an_address_of_a_store_is_taken(address):
    assert find_store(TrackingConfig(uri=address)).uri.startswith(address[:8])


def test_the_file_of_a_database_is_the_address_without_its_parameters(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store, _ = open_store(TrackingConfig(uri="sqlite:///runs.db?timeout=9", dir="mlruns"))
    assert store.uri == f"sqlite:///{tmp_path}/runs.db?timeout=9"
    with closing(sqlite3.connect(tmp_path / "runs.db")) as database:
        assert database.execute("SELECT name FROM experiments ORDER BY 1").fetchall() == [("Default",), ("bloodcell",)]
    assert {path.name for path in tmp_path.iterdir()} == {"runs.db", "runs.lock"}


@pytest.mark.parametrize("variable", ["MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"])
@pytest.mark.parametrize("job", [["train"], ["compare", "runs=[a,b]"], ["audit"], ["predict", "run=a", "images=b"]])
def test_a_run_or_an_experiment_in_the_environment_is_refused(tmp_path, monkeypatch, variable, job):
    monkeypatch.setenv(variable, "17")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a.png").touch()
    completed = run(job, cwd=tmp_path)
    assert completed.returncode == 2
    assert completed.stderr.startswith(f"bloodcell: {variable}: ")
    assert completed.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_folder_as_address_is_refused_before_a_training_begins(tmp_path):
    completed = run(["train", "tracking.uri=file:store"], cwd=tmp_path)
    assert completed.returncode == 2
    assert completed.stderr.startswith("bloodcell: tracking.uri=file:store: ")
    assert completed.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
