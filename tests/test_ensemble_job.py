"""``bloodcell ensemble`` as a user would run it, on real small runs."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import mlflow
import numpy as np
import pandas as pd
import pytest
from commands import Completed, run
from mlflow import MlflowClient
from mlflow.entities import Run
from stores import artifacts_of, model_address, runs_in

from bloodcell.evaluation.predictions import classes_of, probabilities_of
from bloodcell.images.reading import read_image

METHODS = ("soft", "weighted", "greedy", "stacking")


PROBES = (
    *(
        "data=bccd",
        "data.root=cells",
        "data.groups=pattern",
        "data.groups_pattern='(.+)'",
        "data.group_name=photograph",
    ),
    *("backbone=morphology,colour_histogram", "head=probe", "baselines=[]"),
)
"""Trainings that take no time: what is measured in an image, and a linear head."""


class Made(NamedTuple):
    """A folder with images, a study of cross-validations, two holdouts, and an ensemble by each method."""

    folder: Path
    study: Run
    members: list[Run]
    folds: list[Run]
    holdouts: list[Run]
    completed: dict[str, Completed]
    ensembles: dict[str, Run]


@pytest.fixture(scope="module")
def made(bccd, tmp_path_factory) -> Made:
    folder = tmp_path_factory.mktemp("ensembles")
    shutil.copytree(bccd, folder / "cells")
    for overrides in (
        ["split=group_kfold", "split.folds=2"],
        ["split=group_holdout", "log_model=false", "evaluate_test=false"],
    ):
        completed = run(["train", "-m", *PROBES, *overrides], cwd=folder)
        assert completed.returncode == 0, completed.stderr
    runs = runs_in(folder)
    study, holdout_study = (each for each in runs if each.data.tags.get("study"))
    saids = {
        method: run(["ensemble", f"study={study.info.run_id}", f"method={method}", *kept], cwd=folder)
        for method, *kept in (["soft", "log_model=false"], ["weighted"], ["greedy", "log_model=false"], ["stacking"])
    }
    assert [completed.stderr for completed in saids.values() if completed.returncode] == []
    made_now = [each for each in runs_in(folder) if each.data.tags.get("job") == "ensemble"]
    return Made(
        folder,
        study,
        members=within(study, runs),
        folds=[each for each in runs if "fold" in each.data.tags],
        holdouts=within(holdout_study, runs),
        completed=saids,
        ensembles={each.data.tags["method"]: each for each in made_now},
    )


def within(parent: Run, runs: list[Run]) -> list[Run]:
    return [each for each in runs if each.data.tags.get("mlflow.parentRunId") == parent.info.run_id]


def predictions(run_: Run, split: str) -> pd.DataFrame:
    table = pd.read_parquet(artifacts_of(run_) / "predictions.parquet")
    return table[table["split"] == split].sort_values("path", ignore_index=True)


def probabilities(run_: Run, split: str) -> np.ndarray:
    table = predictions(run_, split)
    return probabilities_of(table, classes_of(table))


def weights(made: Made, method: str) -> np.ndarray:
    kept = json.loads((artifacts_of(made.ensembles[method]) / "combination.json").read_text())
    assert kept["members"] == [member.info.run_id for member in made.members]
    return np.array(kept["weights"])


def test_an_ensemble_is_a_run_with_everything_that_a_training_leaves(made):
    for method, ensemble in made.ensembles.items():
        assert ensemble.info.status == "FINISHED"
        assert {"val/accuracy", "test/accuracy", "val/accuracy_low", "test/photograph_accuracy_high"} <= set(
            ensemble.data.metrics
        )
        assert {"val/majority_class/accuracy", "test/majority_class/accuracy", "cost/train_seconds"} <= set(
            ensemble.data.metrics
        )
        tags = ensemble.data.tags
        assert tags["members"] == ", ".join(member.info.run_id for member in made.members)
        assert (tags["method"], tags["leaky"], tags["groups"], tags["job"]) == (method, "false", "pattern", "ensemble")
        assert tags["data_digest"] == made.members[0].data.tags["data_digest"]
        for name in (
            *("predictions.parquet", "manifest.parquet", "metrics.json", "config.yaml", "members.csv"),
            *("plots/members.png", "plots/confusion_test.png", "plots/errors_val.png", "report/val.txt"),
        ):
            assert (artifacts_of(ensemble) / name).is_file()
        assert "majority class" in made.completed[method].stdout


def test_the_soft_vote_is_the_mean_of_the_members_on_both_splits(made):
    for split in ("val", "test"):
        mean = np.mean([probabilities(member, split) for member in made.members], axis=0)
        np.testing.assert_allclose(probabilities(made.ensembles["soft"], split), mean, atol=1e-6)


@pytest.mark.parametrize("method", ["weighted", "greedy"])
def test_test_is_combined_by_the_weights_that_are_stated(made, method):
    chosen = weights(made, method)
    assert chosen.sum() == pytest.approx(1)
    expected = np.tensordot(chosen, [probabilities(member, "test") for member in made.members], axes=1)
    np.testing.assert_allclose(probabilities(made.ensembles[method], "test"), expected, atol=1e-6)
    listed = pd.read_csv(artifacts_of(made.ensembles[method]) / "members.csv")
    np.testing.assert_allclose(listed["weight"][:-1], chosen)
    assert listed["name"].tolist() == [*(member.info.run_name for member in made.members), "ensemble"]
    for weight in chosen:
        assert f"{weight:.2f}" in made.completed[method].stdout


@pytest.mark.parametrize("method", METHODS[1:])
def test_validation_is_not_combined_by_the_weights_that_saw_it(made, method):
    assert "no photograph is combined by weights that were fitted to it" in made.completed[method].stdout
    assert "were chosen by the same images" not in made.completed[method].stdout  # heads that are solved have no epochs
    if method != "stacking":
        inside = np.tensordot(weights(made, method), [probabilities(each, "val") for each in made.members], axes=1)
        assert np.abs(probabilities(made.ensembles[method], "val") - inside).max() > 1e-4


def test_the_figures_are_those_of_the_predictions(made):
    for ensemble in made.ensembles.values():
        for split in ("val", "test"):
            table = predictions(ensemble, split)
            classes = np.array(classes_of(table))
            right = classes[probabilities(ensemble, split).argmax(axis=1)] == table["label"]
            assert ensemble.data.metrics[f"{split}/accuracy"] == pytest.approx(right.mean())
    listed = pd.read_csv(artifacts_of(made.ensembles["soft"]) / "members.csv")
    for name in ("accuracy", "accuracy_low", "photograph_accuracy_high"):
        expected = [each.data.metrics[f"val/{name}"] for each in (*made.members, made.ensembles["soft"])]
        assert listed[name].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("method", ["weighted", "stacking"])
def test_the_saved_model_gives_the_logged_predictions_for_raw_images(made, method):
    ensemble = made.ensembles[method]
    runs_in(made.folder)  # which has MLflow look into this store
    model = mlflow.tensorflow.load_model(model_address(ensemble))
    table = predictions(ensemble, "test")
    images = np.stack([read_image(made.folder / "cells" / path) for path in table["path"]])
    np.testing.assert_allclose(model.predict(images, verbose=0), probabilities(ensemble, "test"), atol=1e-4)
    info = mlflow.models.get_model_info(model_address(ensemble))
    assert info.metadata["classes"] == list(classes_of(table))
    assert info.flavors["python_function"]["code"] is None


def test_runs_are_named_one_by_one_and_the_test_set_is_left_alone_where_asked(made):
    ids = ",".join(member.info.run_id for member in made.members)
    before = runs_in(made.folder)
    completed = run(["ensemble", f"runs=[{ids}]", "evaluate_test=false", "log_model=false"], cwd=made.folder)
    assert completed.returncode == 0, completed.stderr
    (new,) = [each for each in runs_in(made.folder) if each.info.run_id not in {old.info.run_id for old in before}]
    assert not [name for name in new.data.metrics if "test/" in name]
    assert predictions(new, "test").empty
    assert "Python  " not in completed.stdout
    assert new.data.metrics["val/accuracy"] == made.ensembles["soft"].data.metrics["val/accuracy"]


def test_an_ensemble_works_without_the_images_and_of_holdouts_and_shows_no_errors_then(made):
    parent = made.holdouts[0].data.tags["mlflow.parentRunId"]
    (made.folder / "cells").rename(made.folder / "elsewhere")
    try:
        completed = run(
            ["ensemble", f"study={parent}", "evaluate_test=false", "log_model=false", "tracking.run_name=blind"],
            cwd=made.folder,
        )
    finally:
        (made.folder / "elsewhere").rename(made.folder / "cells")
    assert completed.returncode == 0, completed.stderr
    (blind,) = [each for each in runs_in(made.folder) if each.info.run_name == "blind"]
    plots = {path.name for path in (artifacts_of(blind) / "plots").iterdir()}
    of_confidence = {"calibration_val.png", "risk_coverage_val.png"}
    assert plots == {"members.png", "confusion_val.png", "per_class_val.png", *of_confidence}
    mean = np.mean([probabilities(member, "val") for member in made.holdouts], axis=0)
    np.testing.assert_allclose(probabilities(blind, "val"), mean, atol=1e-6)


def refused(made: Made, *overrides: str) -> str:
    completed = run(["ensemble", *overrides], cwd=made.folder)
    assert completed.returncode == 2, completed.stdout
    (line,) = completed.stderr.splitlines()
    return line


def test_what_cannot_be_combined_is_refused_in_one_line(made):
    one = made.members[0].info.run_id
    fold, holdout, ensemble = (each.info.run_id for each in (made.folds[0], made.holdouts[0], made.ensembles["soft"]))
    study = made.study.info.run_id
    n_runs = len(runs_in(made.folder))
    for overrides, message in (
        ([], "runs"),
        ([f"runs=[{one}]", f"study={study}"], "runs"),
        ([f"runs=[{one}]"], "runs"),
        ([f"runs=[{one},{one}]"], "twice"),
        ([f"runs=[{one},0123abc]"], "runs=0123abc: "),
        (["study=0123abc"], "study=0123abc: "),
        ([f"study={one}"], f"study={one}: "),
        ([f"study={fold}"], f"study={fold}: "),
        ([f"runs=[{one},{fold}]"], f"runs={fold}: "),
        ([f"runs=[{one},{ensemble}]"], f"runs={ensemble}: "),
        ([f"runs=[{one},{study}]"], "predictions.parquet"),
        ([f"runs=[{one},{holdout}]"], "runs: "),
        ([f"runs=[{one},{holdout}]", "method=stacking"], "cross-validation"),
        ([f"runs={one}"], "runs="),
        (["method=mean", f"study={study}"], "method=mean: "),
    ):
        assert message in refused(made, *overrides), overrides
    assert len(runs_in(made.folder)) == n_runs


def test_a_run_that_is_not_finished_is_refused(made):
    runs_in(made.folder)
    client = MlflowClient()
    failed = client.create_run(made.study.info.experiment_id, run_name="failed")
    client.set_terminated(failed.info.run_id, "FAILED")
    completed = refused(made, f"runs=[{made.members[0].info.run_id},{failed.info.run_id}]")
    assert f"runs={failed.info.run_id}: is not finished (FAILED)" in completed
    client.delete_run(failed.info.run_id)


def test_what_the_runs_did_not_keep_is_not_asked_of_them(made):
    ids = ",".join(each.info.run_id for each in made.holdouts)
    assert "has no predictions of test; use evaluate_test=false" in refused(made, f"runs=[{ids}]")
    assert "log_model=false" in refused(made, f"runs=[{ids}]", "evaluate_test=false")


def test_a_folder_without_runs_is_left_as_it_was(tmp_path):
    completed = run(["ensemble", "study=0123abc"], cwd=tmp_path)
    assert completed.returncode == 2
    assert "tracking.dir=mlruns: has no runs" in completed.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_card_of_a_registered_ensemble_names_its_members_with_their_weights(made):
    ensemble = made.ensembles["weighted"]
    completed = run(["register", f"run={ensemble.info.run_id}", "name=together"], cwd=made.folder)
    assert completed.returncode == 0, completed.stderr
    card = (artifacts_of(ensemble) / "model_card.md").read_text(encoding="utf-8")
    assert "an ensemble of 2 models: a weighted mean of their probabilities" in card
    for member, weight in zip(made.members, weights(made, "weighted"), strict=True):
        name = member.info.run_name.replace("_", "\\_")
        assert f"| {name} | {weight:.2f} | a non-neural classifier" in card
    assert "photographs that they were not fitted to" in card


def test_a_file_of_another_tool_is_a_member_beside_a_run(made, tmp_path):
    member = made.members[0]
    table = pd.read_parquet(artifacts_of(member) / "predictions.parquet")
    classes = classes_of(table)
    other = table.rename(columns={"path": "filename", "label": "target"} | {f"p_{name}": name for name in classes})
    other.loc[:, list(classes)] = other[list(classes)].to_numpy()[:, ::-1]
    other[["filename", "target", *classes]].to_csv(tmp_path / "timm.csv", index=False, sep=";")
    words = [f"runs=[{member.info.run_id},{tmp_path / 'timm.csv'}]"]
    completed = run(["ensemble", *words], cwd=made.folder)
    assert completed.returncode == 0, completed.stderr
    (found,) = [each for each in runs_in(made.folder) if "timm" in each.data.params.get("runs", "")]
    combined = pd.read_parquet(artifacts_of(found) / "predictions.parquet").set_index("path")
    first = table.set_index("path").loc[combined.index]
    means = (probabilities_of(first, classes) + probabilities_of(first, classes)[:, ::-1]) / 2
    np.testing.assert_allclose(probabilities_of(combined.reset_index(), classes), means, atol=1e-5)
    assert combined["split"].equals(first["split"])
    assert not found.outputs.model_outputs
    assert found.data.metrics["val/majority_class/accuracy"] > 0


def test_files_alone_are_combined_by_the_mean_and_refused_for_fitted_weights(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.choice(["a", "b", "c"], 60)
    for name in ("one", "two"):
        logits = rng.normal(size=(60, 3)) + 2 * (labels[:, None] == np.array(["a", "b", "c"]))
        table = pd.DataFrame(logits, columns=["logit_a", "logit_b", "logit_c"])
        table.assign(image=[f"{n}.png" for n in range(60)], y_true=labels).to_csv(tmp_path / f"{name}.csv", index=False)
    pd.DataFrame({"path": [f"{n}.png" for n in range(60)], "group": [f"p{n // 3}" for n in range(60)]}).to_csv(
        tmp_path / "groups.csv", index=False
    )
    words = ["ensemble", "runs=[one.csv,two.csv]", "groups_file=groups.csv"]
    completed = run(words, cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert "one.csv: has logits" in completed.stdout
    (found,) = runs_in(tmp_path)
    predictions = pd.read_parquet(artifacts_of(found) / "predictions.parquet")
    assert predictions["split"].unique().tolist() == ["val"]
    assert predictions["group"].nunique() == 20
    most = pd.Series(labels).value_counts(normalize=True).max()
    assert found.data.metrics["val/majority_class/accuracy"] == pytest.approx(most)
    completed = run([*words, "method=stacking"], cwd=tmp_path)
    assert completed.returncode == 2
    assert completed.stderr.startswith("bloodcell: runs: one.csv (one) is not a cross-validation")
    completed = run(["ensemble", "runs=[one.csv,nowhere.csv]"], cwd=tmp_path)
    assert (completed.returncode, completed.stderr.startswith("bloodcell: runs=nowhere.csv: ")) == (2, True)
