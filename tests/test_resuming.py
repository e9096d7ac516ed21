"""`resume=true` after a process was killed: nothing is trained twice, and the result is that of one that was not."""

import json
import signal
from pathlib import Path

import pytest
from commands import run, small, start
from mlflow import MlflowClient
from stores import artifacts_of, runs_in

MEASURED = "cost/"
SWEEP = ["train", "-m", "hyperparameters.seed=0,1,2"]


def content(folder: Path) -> list:
    """Return the runs of a store with the names of their parents and every value of every metric, without times."""
    runs = runs_in(folder)
    client = MlflowClient(f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}")
    names = {each.info.run_id: each.info.run_name for each in runs}
    return sorted(
        (
            each.info.run_name,
            names.get(each.data.tags.get("mlflow.parentRunId"), ""),
            each.info.status,
            each.data.tags.get("aside", ""),
            json.dumps(
                {
                    name: [(row.step, row.value) for row in client.get_metric_history(each.info.run_id, name)]
                    for name in sorted(each.data.metrics)
                    if not name.startswith(MEASURED)
                }
            ),
        )
        for each in runs
    )


def killed(arguments: list[str], folder: Path, *, after: str) -> None:
    """Run a command and kill it when it has written a text to standard error."""
    process = start(arguments, cwd=folder, PYTHONUNBUFFERED="1")
    for line in process.stderr:
        if after in line:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def settings(bccd: Path) -> list[str]:
    return [*small(bccd), "head=dense", "hyperparameters.epochs=4", "baselines=[majority]"]


@pytest.mark.slow
@pytest.mark.parametrize("after", ["run 1 of 3", "2: head: epoch 3/", "run 3 of 3"])
def test_a_killed_sweep_continues_under_its_parent_and_its_leaderboard_is_the_same(bccd, tmp_path, whole_sweep, after):
    arguments = [*SWEEP, *settings(bccd)]
    killed(arguments, tmp_path, after=after)
    completed = run([*arguments, "resume=true"], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert content(tmp_path) == content(whole_sweep)
    (folder,) = tmp_path.glob("multirun/*/*")
    assert len(list(folder.glob("[0-9]"))) == 3


@pytest.fixture(scope="module")
def whole_sweep(bccd, tmp_path_factory) -> Path:
    """The folder of a sweep that was not killed."""
    folder = tmp_path_factory.mktemp("sweep")
    completed = run([*SWEEP, *settings(bccd)], cwd=folder)
    assert completed.returncode == 0, completed.stderr
    return folder


@pytest.mark.slow
def test_a_killed_cross_validation_keeps_its_finished_folds(bccd, tmp_path):
    arguments = ["train", *settings(bccd), "split=group_kfold", "split.folds=3"]
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    assert run(arguments, cwd=tmp_path / "whole").returncode == 0
    killed(arguments, tmp_path / "killed", after="fold 2 of 3: computing metrics")
    (folder,) = (tmp_path / "killed").glob("outputs/*/*")
    first = (folder / "folds" / "1" / "result.json").stat().st_mtime_ns
    completed = run([*arguments, "resume=true"], cwd=tmp_path / "killed")
    assert completed.returncode == 0, completed.stderr
    assert (folder / "folds" / "1" / "result.json").stat().st_mtime_ns == first
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


@pytest.fixture(scope="module")
def finished(bccd, tmp_path_factory) -> Path:
    """The folder of a single run that has finished."""
    folder = tmp_path_factory.mktemp("single")
    assert run(["train", *settings(bccd)], cwd=folder).returncode == 0
    return folder


def test_a_finished_run_is_not_trained_again_and_another_command_starts_anew(bccd, finished):
    before = content(finished)
    completed = run(["train", *settings(bccd), "resume=true"], cwd=finished)
    assert completed.returncode == 0, completed.stderr
    assert ": epoch " not in completed.stderr
    assert content(finished) == before
    assert run(["train", *settings(bccd), "hyperparameters.seed=5", "resume=true"], cwd=finished).returncode == 0
    assert len(content(finished)) == len(before) + 1


def test_a_run_is_resumed_by_its_id_with_the_same_settings_only(bccd, finished):
    run_id = runs_in(finished)[0].info.run_id
    completed = run(["train", *settings(bccd), f"resume={run_id}"], cwd=finished)
    assert completed.returncode == 0, completed.stderr
    for wrong in ([*settings(bccd), "hyperparameters.seed=9", f"resume={run_id}"], [*settings(bccd), "resume=0a1b"]):
        completed = run(["train", *wrong], cwd=finished)
        assert completed.returncode == 2
        (line,) = completed.stderr.splitlines()
        assert wrong[-1] in line


def test_a_run_whose_images_changed_is_trained_again_and_the_earlier_one_is_excluded(bccd, tmp_path):
    arguments = ["train", *settings(bccd)]
    assert run(arguments, cwd=tmp_path).returncode == 0
    (folder,) = tmp_path.glob("outputs/*/*")
    record = json.loads((folder / "run.json").read_text())
    record["tags"]["experiment_digest"] = "0" * 16  # as with other images
    (folder / "run.json").write_text(json.dumps(record))
    completed = run([*arguments, "resume=true"], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    earlier, later = runs_in(tmp_path)
    assert "aside" in earlier.data.tags
    assert "aside" not in later.data.tags
    assert later.info.status == "FINISHED"
    assert (artifacts_of(later) / "predictions.parquet").exists()


@pytest.mark.slow
def test_a_run_that_another_process_writes_is_not_resumed(bccd, tmp_path):
    process = start(["train", *settings(bccd), "hyperparameters.epochs=2000"], cwd=tmp_path, PYTHONUNBUFFERED="1")
    try:
        for line in process.stderr:
            if "epoch 1/" in line:
                break
        arguments = ["train", *settings(bccd), "hyperparameters.epochs=2000", "resume=true"]
        completed = run(arguments, cwd=tmp_path)
    finally:
        process.kill()
        process.communicate()
    assert completed.returncode == 2
    assert "another process" in completed.stderr


@pytest.mark.slow
def test_a_sweep_over_folds_is_the_cross_validation_that_one_process_makes(bccd, tmp_path):
    arguments = [*settings(bccd), "split=group_kfold", "split.folds=2", "split.refit=true", "log_model=true"]
    (tmp_path / "one").mkdir()
    (tmp_path / "swept").mkdir()
    completed = run(["train", *arguments], cwd=tmp_path / "one")
    assert completed.returncode == 0, completed.stderr
    completed = run(["train", "-m", *arguments, "split.fold=1,2"], cwd=tmp_path / "swept")
    assert completed.returncode == 0, completed.stderr
    one = {name: values for name, _, status, _, values in content(tmp_path / "one") if status == "FINISHED"}
    (whole,) = [values for name, values in one.items() if not name.startswith("fold")]
    swept = content(tmp_path / "swept")
    assert [values for name, parent, *_, values in swept if name == "cross-validation"] == [whole]
    folds = [values for name, parent, *_, values in swept if parent == "cross-validation"]
    assert folds == [values for name, values in sorted(one.items()) if name.startswith("fold")]
    assert "2 of 2 runs finished" in completed.stdout  # the cross-validation and the baseline
