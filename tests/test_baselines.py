"""What every study is compared with."""

import pandas as pd
import pytest
from commands import run
from stores import artifacts_of, runs_in

from bloodcell.config.composition import compose_config
from bloodcell.experiment.baselines import baseline_config
from bloodcell.experiment.recorder import read_run
from bloodcell.jobs.train import train_baselines

OWN = ["data.groups=pattern", "data.groups_pattern='(.+)'", "data.group_name=photograph", "log_model=false"]


@pytest.fixture(scope="module")
def sweep(bccd, tmp_path_factory):
    """A sweep of one run, which is a baseline itself."""
    folder = tmp_path_factory.mktemp("baselines")
    completed = run(
        ["train", "-m", "data=bccd", f"data.root={bccd}", *OWN, "backbone=majority", "head=probe"], cwd=folder
    )
    assert completed.returncode == 0, completed.stderr
    return completed, *runs_in(folder)


def test_a_sweep_trains_the_baselines_that_it_has_not_itself_and_ranks_them_with_its_runs(sweep):
    completed, study, *runs = sweep
    names = [run_.info.run_name for run_ in runs]
    assert names[1:] == ["baseline: colour_histogram", "baseline: morphology"]
    board = pd.read_csv(artifacts_of(study) / "leaderboard.csv")
    assert sorted(board["run"]) == sorted(names)
    assert "3 of 3 runs finished" in completed.stdout


def test_baselines_are_trained_on_the_same_images_as_the_runs(sweep):
    _, _, *runs = sweep
    assert len({run_.data.tags["data_digest"] for run_ in runs}) == 1


def test_settings_of_networks_do_not_prevent_baselines(bccd, tmp_path):
    own = [*OWN, "baselines=[majority]"]
    of_networks = [
        "features=on_the_fly",
        "hyperparameters.label_smoothing=0.1",
        "hyperparameters.cutmix=1.0",
        "hyperparameters.seed=3",
    ]
    config = compose_config("train", ["data=bccd", f"data.root={bccd}", f"tracking.dir={tmp_path}", *own, *of_networks])
    train_baselines([config], folder=tmp_path / "baselines")
    (folder,) = (tmp_path / "baselines").iterdir()
    assert read_run(folder)["metrics"]["val/accuracy"] == 0.25
    assert baseline_config(config, "majority").hyperparameters.seed == 3


def test_the_majority_backbone_predicts_what_is_most_frequent(sweep):
    _, _, *runs = sweep
    metrics = runs[0].data.metrics
    assert metrics["test/accuracy"] == metrics["test/majority_class/accuracy"]
    assert metrics["test/log_loss"] == pytest.approx(metrics["test/majority_class/log_loss"], abs=1e-3)


def test_every_split_of_a_sweep_has_its_own_baselines(bccd, tmp_path):
    own = [*OWN, "baselines=[majority]"]
    words = ["backbone=colour_histogram", "head=probe", "split.seed=1,2"]
    completed = run(["train", "-m", "data=bccd", f"data.root={bccd}", *own, *words], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    _, *runs = runs_in(tmp_path)
    names = [each.info.run_name for each in runs]
    assert names[2:] == [f"baseline: majority, group_holdout of run {number}" for number in (0, 1)]
    assert len({each.data.tags["data_digest"] for each in runs}) == 2


def test_an_ensemble_is_of_a_sweep(bccd, tmp_path):
    completed = run(["train", "data=bccd", f"data.root={bccd}", "ensemble=soft"], cwd=tmp_path)
    assert (completed.returncode, list(tmp_path.iterdir())) == (2, [])
    assert completed.stderr.startswith("bloodcell: ensemble=soft: ")
    assert completed.stderr.count("\n") == 1


def test_a_run_with_extra_features_is_no_baseline(bccd, tmp_path):
    own = [*OWN, "baselines=[colour_histogram]"]
    words = ["backbone=colour_histogram", "head=probe", "head.extra_features=[morphology]"]
    assert run(["train", "-m", "data=bccd", f"data.root={bccd}", *own, *words], cwd=tmp_path).returncode == 0
    assert [each.info.run_name for each in runs_in(tmp_path)][2:] == ["baseline: colour_histogram"]


def test_a_sweep_whose_ensemble_fails_has_not_finished(bccd, tmp_path):
    own = [*OWN, "baselines=[]"]
    completed = run(
        ["train", "-m", "data=bccd", f"data.root={bccd}", *own, "backbone=majority", "ensemble=soft"], cwd=tmp_path
    )
    assert completed.returncode == 1
    assert "bloodcell: ensemble: soft failed: UserError: runs: an ensemble needs at least two runs" in completed.stderr
    assert "1 of 2 runs finished" in completed.stdout
    _, *runs = runs_in(tmp_path)
    assert [(each.info.run_name, each.info.status) for each in runs][1:] == [("ensemble: soft", "FAILED")]


def test_a_sweep_can_end_with_an_ensemble_of_its_runs_without_the_baselines(bccd, tmp_path):
    own = [*OWN, "split=group_kfold", "split.folds=2"]
    words = ["backbone=morphology,colour_histogram", "head=probe", "ensemble=weighted", "baselines=[majority]"]
    completed = run(["train", "-m", "data=bccd", f"data.root={bccd}", *own, *words], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    study, *runs = runs_in(tmp_path)
    (ensemble,) = [each for each in runs if each.info.run_name == "ensemble: weighted"]
    assert ensemble.data.tags["mlflow.parentRunId"] == study.info.run_id
    members = pd.read_csv(artifacts_of(ensemble) / "members.csv")
    assert members["name"].tolist() == ["morphology", "colour_histogram", "ensemble"]
    board = pd.read_csv(artifacts_of(study) / "leaderboard.csv")
    assert {"ensemble: weighted", "baseline: majority"} <= set(board["run"])
