"""A search from the command line to the store, as a user would run it, kill it and go on."""

import shlex
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from commands import run, small, small_network, start
from stores import artifacts_of, runs_in

from bloodcell.experiment.recorder import read_run, write_run
from bloodcell.search.folder import SearchFolder
from bloodcell.tracking.delivery import read_sent


def conf(folder: Path, space: str) -> list[str]:
    """Write a space of one's own, and return what chooses it."""
    (folder / "conf" / "tuner" / "space").mkdir(parents=True, exist_ok=True)
    (folder / "conf" / "tuner" / "space" / "mine.yaml").write_text(space, encoding="utf-8")
    chosen = ["tuner=grid", "tuner/space=mine", "tuner.name=mine", "tuner.max_failures=2"]
    return ["-cd", str(folder / "conf"), *chosen]


def trials_in(workplace: Path) -> list:
    return [found for found in runs_in(workplace) if "trial" in found.data.tags]


def parent_in(workplace: Path):
    (parent,) = [found for found in runs_in(workplace) if found.data.tags.get("study") == "search"]
    return parent


RATES = "{hyperparameters.learning_rate: {choice: [0.001, 0.01, 1e+38]}}"


@pytest.fixture(scope="module")
def searched(tmp_path_factory, bccd):
    """Three trials, the last of which fails, and the best once more."""
    workplace = tmp_path_factory.mktemp("search")
    chosen = conf(workplace, RATES)
    command = ["search", *small(bccd), "head=dense", "hyperparameters.optimizer=sgd", *chosen]
    return workplace, command, run(command, cwd=workplace)


def test_every_trial_is_a_run_also_a_failed_one(searched):
    workplace, _, completed = searched
    assert completed.returncode == 0, completed.stderr
    trials = trials_in(workplace)
    assert [trial.info.status for trial in trials] == ["FINISHED", "FINISHED", "FAILED"]
    assert [trial.data.params["trial/hyperparameters.learning_rate"] for trial in trials] == ["0.001", "0.01", "1e+38"]
    assert "lower it" in trials[2].data.tags["reason"]
    assert "failed: UserError: hyperparameters.learning_rate" in completed.stderr
    for trial in trials[:2]:
        assert trial.data.tags["mlflow.parentRunId"] == parent_in(workplace).info.run_id
        assert trial.data.metrics["objective"] == trial.data.metrics["val/accuracy"]
        assert "epoch/val_loss" in trial.data.metrics


def test_a_trial_has_one_number_and_only_the_best_has_pictures(searched):
    workplace, _, completed = searched
    (file,) = artifacts_of(parent_in(workplace)).rglob("trials.csv")
    trials = trials_in(workplace)
    assert pd.read_csv(file)["trial"].tolist() == [1, 2, 3] == [int(trial.data.tags["trial"]) for trial in trials]
    assert [trial.info.run_name.partition(":")[0] for trial in trials] == ["trial 1", "trial 2", "trial 3"]
    assert trials[0].info.run_name == "trial 1: lr 1e-3"
    assert {path.name for path in workplace.glob("searches/mine/trial_*")} == {"trial_1", "trial_2", "trial_3"}
    assert "trial 1: lr 1e-3: " in completed.stderr
    assert not [*workplace.glob("searches/mine/trial_*/run/artifacts/**/*.png")]
    assert [*workplace.glob("searches/mine/final/trial_2/artifacts/plots/confusion_val.png")]


def test_a_search_does_not_use_the_test_set(searched):
    workplace, _, _ = searched
    for found in runs_in(workplace):
        assert not [name for name in found.data.metrics if name.startswith("test/")]
    for table in (workplace / "searches").rglob("predictions.parquet"):
        assert set(pd.read_parquet(table)["split"]) == {"val"}


def test_the_parent_holds_what_the_search_came_to(searched):
    parent = parent_in(searched[0])
    assert parent.info.status == "FINISHED"
    files = {path.name for path in artifacts_of(parent).rglob("*") if path.is_file()}
    wanted = {"best_so_far.png", "parallel_coordinates.png", "trials.csv", "space.yaml", "best.txt", "leaderboard.csv"}
    assert wanted <= files
    assert "2 of 3 trials finished" in parent.data.tags["mlflow.note.content"]


def test_the_best_configuration_is_kept_as_the_command_that_trains_it(searched):
    workplace, _, _ = searched
    (file,) = artifacts_of(parent_in(workplace)).rglob("best.txt")
    program, *command = shlex.split(file.read_text())
    assert program == "bloodcell"
    completed = run([*command, "--cfg", "job"], cwd=workplace)
    assert completed.returncode == 0, completed.stderr
    config = yaml.safe_load(completed.stdout)
    trials = pd.read_csv(next(artifacts_of(parent_in(workplace)).rglob("trials.csv")))
    best = trials.loc[trials["score"].idxmax(), "hyperparameters.learning_rate"]
    assert config["hyperparameters"]["learning_rate"] == best
    assert config["hyperparameters"]["optimizer"] == "sgd"


def test_each_trial_is_in_the_leaderboard_once(searched):
    workplace, _, completed = searched
    (file,) = artifacts_of(parent_in(workplace)).rglob("leaderboard.csv")
    finished = {trial.info.run_id for trial in trials_in(workplace) if trial.info.status == "FINISHED"}
    assert sorted(pd.read_csv(file)["run_id"]) == sorted(finished)
    assert completed.stdout.count("best so far") == 0
    assert completed.stderr.count("best so far") == 2


def test_only_the_final_training_saves_a_model(searched):
    workplace, _, _ = searched
    (final,) = [found for found in runs_in(workplace) if found.info.run_name.endswith(", trained again")]
    assert final.outputs.model_outputs
    assert final.info.run_id in parent_in(workplace).data.tags["mlflow.note.content"]
    assert "chosen on these images" in final.data.tags["evidence"].split(", ")
    trial = trials_in(workplace)[0]
    assert not (trial.outputs and trial.outputs.model_outputs)
    for found, what in ((parent_in(workplace), "is a search"), (trial, "is a trial without a model")):
        refused = run(["register", f"run={found.info.run_id}", "force=true"], cwd=workplace)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert what in refused.stderr


def test_a_finished_search_has_nothing_more_to_do(searched):
    workplace, command, _ = searched
    before = len(runs_in(workplace))
    completed = run(command, cwd=workplace)
    assert completed.returncode == 0, completed.stderr
    assert len(runs_in(workplace)) == before
    assert "3 trials have ended" in completed.stderr
    assert "Reloading" not in completed.stdout


def test_another_search_of_the_same_name_is_refused(searched):
    workplace, command, _ = searched
    completed = run([*command, "head.dropout=0.3"], cwd=workplace)
    assert completed.returncode == 2
    assert "head.dropout=0.0, not 0.3; give another tuner.name, or tuner.overwrite=true" in completed.stderr
    assert completed.stderr.count("\n") == 1


def test_an_invalid_space_is_an_error_before_anything_starts(tmp_path, bccd):
    chosen = conf(tmp_path, "{head.dropout: {float: [0.0, 1.5]}}")
    completed = run(["search", *small(bccd), *chosen], cwd=tmp_path)
    assert completed.returncode == 2
    assert "tuner.space: head.dropout=1.5: must be less than 1" in completed.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"conf"}


REFUSED = {
    "hyperparameters.learning_rate: {float: [1e-2, 1e-3]}": "is empty",
    "hyperparameters.learning_rate: {float: [0, 1], log: true}": "log: true",
    "hyperparameters.epochs: {int: [1, 9], step: 0.5}": "step: 0.5",
    "hyperparameters.learning_rate: {choice: [1], int: [1, 2]}": "choice, int and float",
    "hyperparameters.momentum: {float: [0, 0.9], when: {hyperparameters.optimizer: [sgd]}}": "depends on",
}


@pytest.mark.parametrize("entry", REFUSED)
def test_a_space_that_makes_no_sense_is_refused_in_one_line(entry, tmp_path, bccd):
    completed = run(["search", *small(bccd), *conf(tmp_path, f"{{{entry}}}")], cwd=tmp_path)
    assert completed.returncode == 2
    assert "tuner.space" in completed.stderr
    assert REFUSED[entry] in completed.stderr
    assert completed.stderr.count("\n") == 1


def test_what_a_training_refuses_is_refused_before_a_search_starts(tmp_path, bccd):
    completed = run(["search", *small_network(bccd), "backbone.weights=nowhere.h5"], cwd=tmp_path)
    assert completed.returncode == 2
    assert "backbone.weights=nowhere.h5" in completed.stderr
    assert completed.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_search_that_is_under_way_is_not_joined_by_another(tmp_path, bccd):
    with SearchFolder(tmp_path / "searches" / "mine").lock():
        completed = run(["search", *small(bccd), *conf(tmp_path, RATES)], cwd=tmp_path)
    assert completed.returncode == 2
    assert "tuner.name=mine" in completed.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"conf"}


def test_an_unknown_metric_is_not_an_objective(tmp_path, bccd):
    completed = run(["search", *small(bccd), "tuner.objective=val/acuracy"], cwd=tmp_path)
    assert completed.returncode == 2
    assert "val/accuracy" in completed.stderr
    assert completed.stderr.count("\n") == 1


def test_overwriting_removes_a_search_and_nothing_else(tmp_path, bccd):
    (tmp_path / "searches" / "mine").mkdir(parents=True)
    (tmp_path / "searches" / "mine" / "thesis.tex").write_text("years")
    chosen = conf(tmp_path, RATES)
    completed = run(["search", *small(bccd), *chosen, "tuner.overwrite=true"], cwd=tmp_path)
    assert completed.returncode == 2
    assert "has files that are not of a search" in completed.stderr
    assert (tmp_path / "searches" / "mine" / "thesis.tex").exists()


def test_too_many_failures_end_a_search(tmp_path, bccd):
    chosen = conf(tmp_path, "{hyperparameters.learning_rate: {choice: [1e+38, 2e+38, 3e+38]}}")
    completed = run(["search", *small(bccd), "head=dense", "hyperparameters.optimizer=sgd", *chosen], cwd=tmp_path)
    assert completed.returncode == 1
    assert "tuner.max_failures=2" in completed.stderr.splitlines()[-1]
    assert parent_in(tmp_path).info.status == "FAILED"


@pytest.mark.slow
def test_a_killed_search_is_resumed(tmp_path, bccd):
    chosen = conf(tmp_path, "{hyperparameters.learning_rate: {choice: [0.001, 0.002, 0.003]}}")
    command = ["search", *small(bccd), "head=dense", *chosen]
    process = start(command, cwd=tmp_path)
    for line in process.stderr:
        if line.startswith("trial 1 ") or line.startswith("trial 1:"):
            break
    deadline = time.monotonic() + 60
    while len(trials_in(tmp_path)) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    completed = run(command, cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    found = [(trial.data.tags["trial"], trial.info.status) for trial in trials_in(tmp_path)]
    assert sorted(found) == [("1", "FINISHED"), ("2", "FINISHED"), ("3", "FINISHED")]
    parent = parent_in(tmp_path)
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["runs/failed"] == 0  # the interrupted trial went on
    assert read_sent(tmp_path / "searches" / "mine")["run_id"] == parent.info.run_id


def test_the_test_set_is_evaluated_once_for_a_best_trial_and_a_second_time_is_reported(tmp_path, bccd):
    chosen = conf(tmp_path, "{head.l2: {choice: [1000.0, 0.06]}}")
    command = ["search", *small(bccd), *chosen, "tuner.final_test=true", "tuner.objective=train/loss"]
    assert run(command, cwd=tmp_path).returncode == 2  # nothing but validation chooses
    command[-1] = "tuner.objective=val/log_loss"
    completed = run([*command, "tuner.max_trials=1"], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert parent_in(tmp_path).data.tags["test_readings"] == "1"
    completed = run([*command, "tuner.max_trials=2"], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert "evaluated 2 best trials on the test set" in completed.stderr
    finals = [found for found in runs_in(tmp_path) if found.info.run_name.endswith(", trained again")]
    assert len(finals) == 2
    assert all("test/accuracy" in final.data.metrics for final in finals)
    (file,) = artifacts_of(parent_in(tmp_path)).rglob("leaderboard.csv")
    table = pd.read_csv(file)
    assert table["objective"].is_monotonic_increasing
    assert list(table["objective"]) == list(table["val_log_loss"])


def test_a_search_that_is_made_longer_tries_what_it_would_have_tried(tmp_path, bccd):
    space = "{head.l2: {float: [1e-4, 1e-1], log: true}}"
    command = ["search", *small(bccd), *conf(tmp_path, space), "tuner=bayesian", "tuner.final=false"]
    command.append("tuner.name=longer")
    for n_trials in (1, 2):
        completed = run([*command, f"tuner.max_trials={n_trials}"], cwd=tmp_path)
        assert completed.returncode == 0, completed.stderr
    in_one = run([*command, "tuner.max_trials=2", "tuner.name=in_one"], cwd=tmp_path)
    assert in_one.returncode == 0, in_one.stderr
    penalties = {}
    for parent in runs_in(tmp_path):
        if parent.data.tags.get("study") == "search":
            (file,) = artifacts_of(parent).rglob("trials.csv")
            penalties[parent.info.run_id] = list(pd.read_csv(file)["head.l2"])
    longer, whole = penalties.values()
    assert longer == whole
    assert len(set(whole)) == 2


def test_half_an_environment_of_a_worker_is_refused(tmp_path, bccd, monkeypatch):
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    completed = run(["search", *small(bccd)], cwd=tmp_path)
    assert completed.returncode == 2
    assert completed.stderr.startswith("bloodcell: KERASTUNER_ORACLE_IP: is set, but KERASTUNER_TUNER_ID")
    assert completed.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_workers_share_the_trials(tmp_path, bccd):
    chosen = conf(tmp_path, "{hyperparameters.learning_rate: {choice: [0.001, 0.002, 0.003, 0.004]}}")
    process = start(
        ["search", *small(bccd), "head=dense", *chosen, "tuner.workers=2", "tuner.final=false"], cwd=tmp_path
    )
    _, completed = process.communicate(timeout=280)
    assert process.returncode == 0, completed
    assert [trial.info.status for trial in trials_in(tmp_path)] == ["FINISHED"] * 4
    assert parent_in(tmp_path).info.status == "FINISHED"


def test_a_baseline_whose_process_was_killed_is_continued(tmp_path, bccd):
    chosen = conf(tmp_path, "{head.l2: {choice: [0.06]}}")
    command = ["search", *small(bccd), *chosen, "baselines=[majority]"]
    assert run(command, cwd=tmp_path).returncode == 0
    search = SearchFolder(tmp_path / "searches" / "mine")
    (baseline,) = (search.path / "baselines").glob("*/run.json")
    search.remember(baselines=False)
    write_run(baseline.parent, read_run(baseline.parent) | {"status": "RUNNING", "ended": None})
    completed = run(command, cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    (found,) = [each for each in runs_in(tmp_path) if each.info.run_name.startswith("baseline")]
    assert found.info.status == "FINISHED"


@pytest.mark.parametrize("tuner", ["random", "bayesian"])
def test_trials_that_are_trained_side_by_side_equal_those_one_by_one(bccd, tmp_path, tuner):
    """To the last digit; of a Bayesian search these are proposed before its model is."""
    chosen = [f"tuner={tuner}", "tuner.max_trials=3", "tuner.final=false", "baselines=[]", "tuner.max_failures=9"]
    histories = []
    for at_once in (1, 3):
        workplace = tmp_path / str(at_once)
        workplace.mkdir()
        completed = run(["search", *small_network(bccd), *chosen, f"tuner.at_once={at_once}"], cwd=workplace)
        assert completed.returncode == 0, completed.stderr
        files = sorted(workplace.glob("searches/*/trial_*/run/artifacts/history.csv"))
        histories.append([file.read_text(encoding="utf-8") for file in files])
        recorded = [trial.data.metrics["epoch/val_loss"] for trial in trials_in(workplace)]
        assert len(recorded) == 3
    assert histories[0] == histories[1]
    assert len(set(histories[0])) == 3
