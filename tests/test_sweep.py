"""Sweeps from the command line to the store and the pages that a person compares runs on."""

import shutil
import urllib.request
from types import SimpleNamespace
from typing import NamedTuple

import pandas as pd
import pytest
from browser import needs_browser, opened_page
from clusters import free_port, kill_group, mlflow_server
from commands import Completed, run, small, start
from mlflow import MlflowClient
from stores import artifacts_of, look_into, runs_in

from bloodcell.errors import UserError
from bloodcell.tracking.experiment_page import page_of


class Swept(NamedTuple):
    """A sweep that ran, and where."""

    completed: Completed
    parent: object
    children: list
    folder: object


@pytest.fixture(scope="module", params=["basic", pytest.param("joblib", marks=pytest.mark.slow)])
def swept(request, bccd, tmp_path_factory):
    """Two batch sizes by two learning rates; one rate is too high, and one image cannot be read."""
    folder = tmp_path_factory.mktemp("sweep")
    data = folder / "data"
    shutil.copytree(bccd, data)
    (data / "TRAIN" / "MONOCYTE" / "ünlesbar 1.jpeg").write_text("this is text")
    work = folder / "work"
    work.mkdir()
    sweep = ["hyperparameters.batch_size=8,16", "hyperparameters.learning_rate=0.001,1e38", "data.on_bad_image=skip"]
    sweep += ["hyperparameters.optimizer=sgd", "tracking.run_name=rates", "explain=single", "log_model=false"]
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"] if request.param == "joblib" else []
    completed = run(["train", "-m", *small(data), "head=dense", *sweep, *launcher], cwd=work)
    parent, *children = runs_in(work)
    return Swept(completed, parent, children, work)


def test_a_sweep_is_one_parent_with_a_child_for_every_combination(swept):
    assert len(swept.children) == 4
    assert {child.data.tags["mlflow.parentRunId"] for child in swept.children} == {swept.parent.info.run_id}
    assert {
        (child.data.params["hyperparameters.batch_size"], child.data.params["hyperparameters.learning_rate"])
        for child in swept.children
    } == {(size, rate) for size in ("8", "16") for rate in ("0.001", "1e+38")}


def test_children_have_distinct_names(swept):
    names = sorted(child.info.run_name for child in swept.children)
    assert swept.parent.info.run_name == "rates"
    assert names[0] == "batch 16, lr 1e-3"
    assert len(set(names)) == 4


def test_a_failed_run_does_not_stop_the_others_and_the_sweep_reports_it(swept):
    assert swept.completed.returncode == 1
    statuses = {child.info.run_name: child.info.status for child in swept.children}
    assert sorted(statuses.values()) == ["FAILED", "FAILED", "FINISHED", "FINISHED"]
    for child in swept.children:
        if child.info.status == "FAILED":
            assert "hyperparameters.learning_rate" in child.data.tags["reason"]
            assert child.info.run_name in swept.completed.stdout
    logs = [path.read_text(encoding="utf-8") for path in swept.folder.glob("multirun/*/*/*/train.log")]
    assert sum("hyperparameters.learning_rate" in log for log in logs) == 2
    assert swept.parent.info.status == "FAILED"
    assert "2 of 4 runs finished" in swept.completed.stdout


def test_an_error_of_the_user_after_the_last_run_ends_the_study_and_the_program(bccd, tmp_path, monkeypatch):
    def refuse(config):
        raise UserError("baselines=majority: refused")

    monkeypatch.setattr("bloodcell.cli.callbacks._complete", refuse)
    completed = run(["train", "-m", *small(bccd)], cwd=tmp_path)
    assert completed.returncode == 2
    assert completed.stderr.splitlines()[-1] == "bloodcell: baselines=majority: refused"
    parent, *children = runs_in(tmp_path)
    assert parent.info.status == "FAILED"
    assert [child.info.status for child in children] == ["FINISHED"]


def test_a_sweep_ends_with_a_leaderboard_that_has_the_trivial_baseline_and_is_kept(swept):
    assert "the majority class" in swept.completed.stdout
    board = pd.read_csv(artifacts_of(swept.parent) / "leaderboard.csv")
    assert len(board) == 2
    assert board["val_accuracy"].is_monotonic_decreasing
    assert board["baseline_accuracy"].tolist() == [0.25, 0.25]
    assert (artifacts_of(swept.parent) / "plots" / "leaderboard.png").stat().st_size > 10_000
    assert swept.parent.data.metrics["runs/failed"] == 2


def test_runs_of_a_sweep_are_explained_only_if_configured(swept):
    finished = [child for child in swept.children if child.info.status == "FINISHED"]
    assert not [name for child in finished for name in child.data.metrics if name.startswith("explain/")]
    assert not [file for child in finished for file in artifacts_of(child).glob("plots/explanations_*")]


def test_an_unreadable_image_is_excluded_listed_and_counted_if_configured(swept):
    finished = [child for child in swept.children if child.info.status == "FINISHED"]
    for child in finished:
        assert child.data.params["images.unreadable"] == "1"
        listed = (artifacts_of(child) / "unreadable_images.csv").read_text(encoding="utf-8")
        assert "TRAIN/MONOCYTE/ünlesbar 1.jpeg,not an image" in listed


def test_an_unreadable_image_is_named_and_refused_otherwise(swept, tmp_path):
    completed = run(["train", *small(swept.folder.parent / "data")], cwd=tmp_path)
    assert completed.returncode == 2
    (line,) = completed.stderr.splitlines()
    assert "ünlesbar 1.jpeg" in line
    assert "data.on_bad_image=skip" in line
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_dies_without_a_word_is_found_missing(swept):
    from bloodcell.config.tracking import TrackingConfig
    from bloodcell.tracking.study import LOST, start_study

    look_into(swept.folder)
    client = MlflowClient()
    tracking = TrackingConfig(dir=str(swept.folder / "mlruns"), experiment_name="killed")
    study = start_study(tracking=tracking, overrides=["seed=0,1"], folder=swept.folder / "killed")
    tags = {"mlflow.parentRunId": study.run_id, "sweep_job": "0"}
    running = client.create_run(study.experiment_id, run_name="was running", tags=tags)
    tags = {"mlflow.parentRunId": running.info.run_id}
    fold = client.create_run(study.experiment_id, run_name="fold 1 of 2", tags=tags)
    entries = study.close_runs(expected=2, interrupted=False)
    assert [(entry.run, entry.status, entry.reason) for entry in entries] == [
        ("was running", "FAILED", LOST),
        ("run 1", "FAILED", LOST),
    ]
    assert client.get_run(fold.info.run_id).info.status == "FAILED"
    study.end(entries, interrupted=False)
    assert client.get_run(study.run_id).info.status == "FAILED"


def test_a_leaderboard_marks_leaks_and_unknown_groups_and_ranks_leaks_last(capsys):
    from bloodcell.comparison.leaderboard import Entry, leaderboard
    from bloodcell.comparison.run_tags import RunTags
    from bloodcell.tracking.store import Store
    from bloodcell.tracking.study_report import show_study

    metrics = dict.fromkeys(("test/accuracy", "test/balanced_accuracy", "cost/train_seconds"), 0.5)
    entries = [
        Entry(
            run=run_,
            run_id=run_,
            status="FINISHED",
            reason="",
            metrics=metrics | {"val/accuracy": accuracy},
            tags=RunTags.read(tags),
        )
        for run_, tags, accuracy in (
            ("one", {"leaky": "true"}, 0.9),
            ("two", {"leaky": "unknown"}, 0.6),
            ("three", {"leaky": "false"}, 0.7),
            ("four", {"leaky": "false", "debug": "true"}, 0.95),
        )
    ]
    study = SimpleNamespace(run_id="0", experiment_id="0", store=Store(uri="sqlite://", artifacts=None))
    show_study(study, entries, leaderboard(entries))
    lines = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()[1:3]) for line in lines if "0.500" in line] == ["three │", "two ?", "four †", "one *"]
    assert any(line.startswith("* ") for line in lines)
    assert any(line.startswith("? ") for line in lines)
    assert "† debug: four" in lines


@pytest.fixture(scope="module")
def address(swept):
    """Where ``bloodcell ui`` serves the sweep's store."""
    process = start(["ui", f"port={free_port()}"], cwd=swept.folder, PYTHONUNBUFFERED="1")
    completed = process.stdout.readline()
    yield completed.split(" at ")[-1].strip().partition("/#")[0]
    process.terminate()
    process.communicate(timeout=30)


def test_ui_prints_its_address_and_serves_the_store(address, swept):
    with urllib.request.urlopen(f"{address}/health", timeout=10) as answer:
        assert answer.status == 200


def test_ui_refuses_a_port_in_use(address, tmp_path):
    completed = run(["ui", f"port={address.rpartition(':')[2]}"], cwd=tmp_path)
    assert completed.returncode == 2
    assert completed.stderr.startswith("bloodcell: port=")


@needs_browser
@pytest.mark.parametrize("swept", ["joblib"], indirect=True)  # with real pictures
def test_the_runs_are_listed_and_compared_in_a_browser(address, swept, tmp_path):
    experiment = swept.parent.info.experiment_id
    finished = [child for child in swept.children if child.info.status == "FINISHED"]
    with opened_page(viewport={"width": 1600, "height": 1000}) as page:
        page.goto(f"{address}/{page_of(experiment)}")
        page.get_by_text("val_interval").first.wait_for()
        page.get_by_text(finished[0].info.run_name).first.wait_for()
        assert page.get_by_text(swept.parent.info.run_name, exact=True).count() == 0
        wanted = "%2C".join(f"%22{child.info.run_id}%22" for child in finished)
        page.goto(f"{address}/#/compare-runs?runs=%5B{wanted}%5D&experiments=%5B%22{experiment}%22%5D")
        page.get_by_text("Parallel Coordinates Plot").wait_for()
        for child in finished:
            page.get_by_text(child.info.run_name).first.wait_for()
        page.goto(
            f"{address}/#/experiments/{experiment}/runs/{finished[0].info.run_id}/artifacts/plots/confusion_test.png"
        )
        picture = page.locator("img[src^='blob:'], img[src*='get-artifact'], img[src*='confusion']").first
        picture.wait_for()
        assert picture.evaluate("image => image.naturalWidth") > 500
        page.screenshot(path=tmp_path / "confusion.png")


@needs_browser
@pytest.mark.parametrize("swept", ["joblib"], indirect=True)
def test_the_report_opens_from_the_page_of_a_run_that_was_compared(address, swept):
    completed = run(["compare", f"study={swept.parent.info.run_id}"], cwd=swept.folder)
    assert completed.returncode == 0, completed.stderr
    child = next(child for child in swept.children if child.info.status == "FINISHED")
    with opened_page(viewport={"width": 1600, "height": 1000}) as page:
        page.goto(f"{address}/#/experiments/{child.info.experiment_id}/runs/{child.info.run_id}")
        with page.expect_popup() as opened:
            page.get_by_role("link", name="report", exact=True).click()
        report = opened.value.frame_locator("iframe")
        report.get_by_role("heading", name="Leaderboard by accuracy").wait_for()


@pytest.fixture
def server(tmp_path):
    """A real MLflow server with a store of its own, and a function that kills it."""
    with mlflow_server(tmp_path / "server") as (address, process):
        yield address, lambda: kill_group(process)


@pytest.mark.slow
def test_a_server_gets_runs_without_credentials_and_its_failure_loses_nothing(server, bccd, tmp_path):
    address, kill = server
    with_password = address.replace("://", "://user:hunter2@")
    work = tmp_path / "work"
    work.mkdir()
    command = start(
        [
            "train",
            *small(bccd),
            "head=dense",
            "tracking=server",
            f"tracking.uri={with_password}",
            "hyperparameters.epochs=3",
            "tracking.wait_seconds=1",
        ],
        cwd=work,
        MLFLOW_HTTP_REQUEST_MAX_RETRIES="1",
    )
    for line in command.stderr:
        if "epoch 1/" in line:
            break
    kill()
    stdout, stderr = command.communicate(timeout=250)
    assert command.returncode == 0, stderr
    last = stderr.splitlines()[-1]
    assert address.rpartition("/")[2] in last
    assert "Traceback" not in stderr
    (folder,) = work.glob("outputs/*/*")
    assert str(folder) in last
    assert len(pd.read_parquet(folder / "artifacts" / "predictions.parquet")) == 28
    written = [path for path in [*folder.rglob("*"), tmp_path / "server" / "server.db"] if path.is_file()]
    assert not [path for path in written if b"hunter2" in path.read_bytes()]
    assert "hunter2" not in stdout + stderr
