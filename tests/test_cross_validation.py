"""Cross-validation from the command line to the store."""

from pathlib import Path
from typing import NamedTuple

import mlflow
import numpy as np
import pandas as pd
import pytest
from commands import Completed, run, small, small_network
from mlflow.entities import Run
from PIL import Image
from stores import artifacts_of, look_into, model_address, runs_in

from bloodcell.evaluation.folds import mean_by_image
from bloodcell.evaluation.intervals import accuracy_intervals
from bloodcell.experiment import cross_validation as _cross_validation
from bloodcell.experiment.refit import as_long_as_was_best
from bloodcell.training.stages import Stage

KFOLD = ["split=group_kfold", "split.folds=2"]


class Validated(NamedTuple):
    """A cross-validation that ran."""

    completed: Completed
    parent: Run
    folds: list[Run]
    folder: Path

    @property
    def predictions(self) -> pd.DataFrame:
        return pd.read_parquet(artifacts_of(self.parent) / "predictions.parquet")


def validated(words: list[str], folder: Path, *overrides: str) -> Validated:
    completed = run(["train", *words, *KFOLD, *overrides], cwd=folder)
    assert completed.returncode == 0, completed.stderr
    parent, *folds = runs_in(folder)
    return Validated(completed, parent, folds, folder)


@pytest.fixture(scope="module")
def twice(bccd, tmp_path_factory):
    """Two folds, two repeats."""
    return validated(small_network(bccd), tmp_path_factory.mktemp("twice"), "split.repeats=2", "explain=single")


def test_every_fold_is_a_run_within_the_run_with_everything_of_its_own(twice):
    look_into(twice.folder)
    assert twice.parent.info.status == "FINISHED"
    assert [fold.info.run_name for fold in twice.folds] == [f"fold {number} of 4" for number in (1, 2, 3, 4)]
    for number, fold in enumerate(twice.folds, start=1):
        assert fold.info.status == "FINISHED"
        assert fold.data.tags["mlflow.parentRunId"] == twice.parent.info.run_id
        assert fold.data.tags["fold"] == str(number)
        assert {"val/accuracy", "test/accuracy", "epoch/val_loss", "cost/train_seconds"} <= fold.data.metrics.keys()
        for name in ("manifest.parquet", "predictions.parquet", "history.csv", "plots/confusion_val.png"):
            assert (artifacts_of(fold) / name).is_file()
        assert ("explain/peak_on_cell" in fold.data.metrics) is (number == 1)
        (own,) = twice.folder.glob(f"outputs/*/*/folds/{number}")
        assert (own / "checkpoints" / "best.weights.h5").is_file()
        assert (own / "artifacts" / "predictions.parquet").is_file()
        assert mlflow.models.get_model_info(model_address(fold)).metadata["classes"]
    assert "fold" not in twice.parent.data.tags
    assert len({fold.data.tags["seed"] for fold in twice.folds}) == 4
    assert len({fold.data.tags["data_digest"] for fold in [twice.parent, *twice.folds]}) == 5


def test_all_folds_share_the_backbone_also_where_its_weights_are_random(twice):
    assert len({fold.data.tags["weights_digest"] for fold in [twice.parent, *twice.folds]}) == 1


def test_every_training_image_is_predicted_once_in_each_repeat_by_a_model_that_never_saw_it(twice):
    table = twice.predictions
    val = table[table["split"] == "val"]
    assert val["fold"].value_counts().to_dict() == dict.fromkeys((1, 2, 3, 4), 20)
    for repeat in ((1, 2), (3, 4)):
        paths = val.loc[val["fold"].isin(repeat), "path"]
        assert len(paths) == paths.nunique() == 40
    for fold, run_ in enumerate(twice.folds, start=1):
        manifest = pd.read_parquet(artifacts_of(run_) / "manifest.parquet")
        predicted = set(val.loc[val["fold"] == fold, "path"])
        assert predicted == set(manifest.loc[manifest["split"] == "val", "path"])


def test_test_predictions_are_the_mean_of_the_folds(twice):
    test = twice.predictions.query("split == 'test'").set_index("path").filter(like="p_")
    of_folds = [pd.read_parquet(artifacts_of(fold) / "predictions.parquet") for fold in twice.folds]
    mean = sum(table.query("split == 'test'").set_index("path").filter(like="p_") for table in of_folds) / 4
    assert twice.predictions.query("split == 'test'")["fold"].isna().all()
    pd.testing.assert_frame_equal(test, mean.loc[test.index], atol=1e-6)


def test_the_figures_are_those_of_the_pooled_predictions_and_the_spread_of_the_folds(twice):
    metrics = twice.parent.data.metrics
    columns = [column for column in twice.predictions if column.startswith("p_")]
    val = twice.predictions.query("split == 'val'")
    mean = val.groupby(["path", "label"])[columns].mean().reset_index("label")
    classes = np.array([column.removeprefix("p_") for column in columns])
    assert metrics["val/accuracy"] == (classes[mean[columns].to_numpy().argmax(axis=1)] == mean["label"]).mean()
    # Images that are validated on in both repeats count once: of 40 photographs, not 80.
    intervals = accuracy_intervals(mean_by_image([val], classes=list(classes)), classes=list(classes))
    assert {name: metrics[f"val/{name}"] for name in intervals} == pytest.approx(intervals)
    accuracies = [fold.data.metrics["val/accuracy"] for fold in twice.folds]
    assert metrics["val/accuracy_fold_mean"] == pytest.approx(np.mean(accuracies))
    assert metrics["val/accuracy_fold_std"] == pytest.approx(np.std(accuracies, ddof=1))
    assert (metrics["val/photographs"], metrics["test/photographs"]) == (40, 20)
    seconds = sum(fold.data.metrics["cost/train_seconds"] for fold in twice.folds)
    assert metrics["cost/train_seconds"] == pytest.approx(seconds)
    assert "folds' accuracy, mean ± SD" in twice.completed.stdout
    listed = pd.read_csv(artifacts_of(twice.parent) / "folds.csv")
    assert listed["val_accuracy"].tolist() == accuracies


def test_a_refitted_model_is_trained_on_every_training_image_and_predicts_test(bccd, tmp_path):
    again = validated(small(bccd), tmp_path, "head=dense", "split.refit=true", "log_model=true")
    model = mlflow.tensorflow.load_model(model_address(again.parent))
    test = again.predictions.query("split == 'test'")
    pixels = [np.asarray(Image.open(bccd / path))[None] for path in test["path"]]
    probabilities = np.concatenate([model(each) for each in pixels])
    np.testing.assert_allclose(test.filter(like="p_"), probabilities, atol=1e-5)
    assert again.predictions.query("split == 'val'")["fold"].notna().all()
    history = pd.read_csv(artifacts_of(again.parent) / "history.csv")
    assert history["train_loss"].notna().all()
    assert history["val_loss"].isna().all()
    assert history["best"].tolist() == [False] * (len(history) - 1) + [True]
    assert {file.name for file in tmp_path.glob("outputs/*/*/checkpoints/*")} == {"last.weights.h5", "state.npz"}
    assert "epoch/train_loss" in again.parent.data.metrics
    assert "epoch/val_loss" not in again.parent.data.metrics
    assert f"runs:/{again.folds[0].info.run_id}" not in again.completed.stdout


def history_of(**best: list[bool]) -> pd.DataFrame:
    return pd.concat([pd.DataFrame({"stage": stage, "best": flags}) for stage, flags in best.items()])


def test_a_refit_ends_each_stage_after_as_many_epochs_as_were_best_in_the_folds():
    stages = [Stage(name=name, boundary=None, epochs=9, learning_rate=1e-3) for name in ("head", "top", "low")]
    histories = [
        history_of(head=[True, True, False], top=[True, False], low=[False]),
        history_of(head=[True, False, True, False], top=[False, True], low=[False, False]),
        history_of(head=[True, True, True, True], top=[True, True, True], low=[True]),
    ]
    ended = as_long_as_was_best(stages, histories, restored=True)
    assert [(stage.name, stage.stop_after, stage.epochs) for stage in ended] == [("head", 3, 9), ("top", 2, 9)]
    last = as_long_as_was_best(stages, histories, restored=False)
    assert [stage.stop_after for stage in last] == [4, 2, 1]


def test_finished_folds_stay_when_a_later_one_does_not_finish(bccd, tmp_path, monkeypatch):
    train = _cross_validation.train_fold

    def interrupted(tracked, *arguments, fold, **settings):
        if fold == 2:
            raise KeyboardInterrupt
        return train(tracked, *arguments, fold=fold, **settings)

    monkeypatch.setattr(_cross_validation, "train_fold", interrupted)
    assert run(["train", *small(bccd), *KFOLD], cwd=tmp_path).returncode == 130
    parent, first, second = runs_in(tmp_path)
    assert [run_.info.status for run_ in (parent, first, second)] == ["KILLED", "FINISHED", "KILLED"]
    assert "val/accuracy" in first.data.metrics
    assert list(tmp_path.glob("outputs/*/*/folds/1/artifacts/predictions.parquet"))


def test_a_cross_validation_in_a_sweep_is_one_run_of_the_study(bccd, tmp_path):
    completed = run(["train", "-m", *small(bccd), "head=dense", *KFOLD], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    study, whole, *folds = runs_in(tmp_path)
    assert whole.data.tags["mlflow.parentRunId"] == study.info.run_id
    assert {fold.data.tags["mlflow.parentRunId"] for fold in folds} == {whole.info.run_id}
    assert "sweep_job" not in folds[0].data.tags
    board = pd.read_csv(artifacts_of(study) / "leaderboard.csv")
    assert board["run_id"].tolist() == [whole.info.run_id]
    assert board["val_accuracy"].tolist() == [whole.data.metrics["val/accuracy"]]
    assert "1 of 1 runs finished" in completed.stdout
    assert "0: fold 1 of 2: done" in completed.stderr


def test_too_few_photographs_for_the_folds_are_refused_with_the_counts(bccd, tmp_path):
    completed = run(["train", *small(bccd), "split=group_kfold", "split.folds=11"], cwd=tmp_path)
    assert completed.returncode == 2
    (line,) = completed.stderr.splitlines()
    assert "EOSINOPHIL 10, LYMPHOCYTE 10, MONOCYTE 10, NEUTROPHIL 10" in line
    assert list(tmp_path.iterdir()) == []
