"""``bloodcell compare`` as a user would run it, on real small runs."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from commands import Completed, run
from mlflow import MlflowClient
from mlflow.entities import Run
from stores import artifacts_of, look_into, runs_in

PROBES = (
    *(
        "data=bccd",
        "data.root=cells",
        "data.groups=pattern",
        "data.groups_pattern='(.+)'",
        "data.group_name=photograph",
        "head=probe",
        "baselines=[majority]",
    ),
    *("backbone=morphology", "log_model=false"),
)
"""Trainings that take no time: what is measured in an image, and a linear head."""
NAMES = ["morphology (2 seeds)", "baseline: majority"]


class Made(NamedTuple):
    """A folder with images, a study of two seeds and a baseline, a fold, and the output for the study."""

    folder: Path
    study: Run
    children: list[Run]
    fold: Run
    completed: Completed
    written: Path
    kept: Path


@pytest.fixture(scope="module")
def made(bccd, tmp_path_factory) -> Made:
    folder = tmp_path_factory.mktemp("compared")
    shutil.copytree(bccd, folder / "cells")
    completed = run(["train", "-m", *PROBES, "hyperparameters.seed=0,1"], cwd=folder)
    assert completed.returncode == 0, completed.stderr
    (study,) = (each for each in runs_in(folder) if each.data.tags.get("study"))
    completed = run(["compare", f"study={study.info.run_id}", "predictions=test"], cwd=folder)
    runs = runs_in(folder)
    parent = study.info.run_id
    whole = next(each.info.run_id for each in runs if each.data.tags.get("mlflow.parentRunId") == parent)
    tags = {"fold": "1", "mlflow.parentRunId": whole}
    fold = MlflowClient().create_run(study.info.experiment_id, tags=tags)
    MlflowClient().set_terminated(fold.info.run_id)
    return Made(
        folder=folder,
        study=next(each for each in runs if each.info.run_id == parent),
        children=[each for each in runs if each.data.tags.get("mlflow.parentRunId") == parent],
        fold=fold,
        completed=completed,
        written=next(folder.glob("outputs/*/*/artifacts/comparison")),
        # Later comparisons of the study take the place of the first in the store.
        kept=shutil.copytree(artifacts_of(study) / "comparison", folder / "kept"),
    )


def test_a_study_is_compared_with_its_seeds_pooled_and_its_baseline(made):
    assert made.completed.returncode == 0, made.completed.stderr
    for name in NAMES:
        assert name in " ".join(made.completed.stdout.split())
    assert "(95 % confidence)." in made.completed.stdout
    kept = json.loads((made.kept / "report.json").read_text())
    assert kept["split"] == "test"
    assert kept["title"].endswith(" on test")
    assert kept["photographs"] == kept["images"] == 20
    assert [each["run"] for each in kept["ranking"]] == NAMES
    differing = kept["runs"][NAMES[0]]
    assert differing["configuration"]["hyperparameters.seed"] == "0, 1"
    assert len(differing["run_ids"]) == 2
    assert differing["costs"]["parameters"] > 0


def test_the_report_is_in_the_folder_and_with_the_study_s_run(made):
    for name in ("report.html", "report.md", "report.json", "estimates.csv", "verdicts.csv"):
        assert (made.written / name).read_bytes() == (made.kept / name).read_bytes()
    html = (made.written / "report.html").read_text()
    assert "data:image/jpeg;base64," in html  # photographs, as they are still there
    assert "Compared: " in made.study.data.tags["mlflow.note.content"]


def test_every_run_has_its_standing_and_the_report(made):
    estimates = pd.read_csv(made.kept / "estimates.csv")
    for child in made.children:
        metrics, tags = child.data.metrics, child.data.tags
        name = NAMES["baseline" in child.info.run_name]
        own = estimates[(estimates["run"] == name) & (estimates["unit"] == "image")].set_index("metric")
        for metric in ("accuracy", "log_loss"):
            assert metrics[f"compared/test/{metric}"] == pytest.approx(own["value"][metric])
            assert metrics[f"compared/test/{metric}_low"] == pytest.approx(own["low"][metric])
            assert metrics[f"compared/test/{metric}_high"] == pytest.approx(own["high"][metric])
        assert tags["comparison"] == f"runs:/{made.study.info.run_id}/comparison/report.html"
        assert tags["can_be_best"] in ("true", "false")
        link = f"/runs/{made.study.info.run_id}/artifacts/comparison/report.html"
        assert link in tags["mlflow.note.content"]
        assert "- val: accuracy " in tags["mlflow.note.content"]  # what was there is there still
        if "baseline" in child.info.run_name:
            assert tags["verdict_on_baseline"] == "It is the baseline."
        else:
            assert "is better than baseline: majority by" in tags["verdict_on_baseline"]
            assert metrics["compared/test/above_baseline_low"] > 0


def test_a_second_comparison_takes_the_place_of_the_first_and_test_counts_how_often(made):
    ids = [child.info.run_id for child in made.children]
    before = {each.info.run_id for each in runs_in(made.folder)}
    asked = ["compare", f"runs=[{','.join(ids)}]", "metrics=[log_loss]", "predictions=test"]
    first, second = run(asked, cwd=made.folder), run([*asked, "output=again"], cwd=made.folder)
    assert first.returncode == second.returncode == 0, second.stderr
    assert "have been compared on" not in made.completed.stdout
    counts = [
        int(re.search(r"test images have been compared on (\d+) time", each.stdout)[1]) for each in (first, second)
    ]
    assert counts[0] >= 1
    assert counts[1] == counts[0] + 1
    own = [each for each in runs_in(made.folder) if each.info.run_id not in before]
    assert len(own) == 2
    assert (made.folder / "again" / "report.html").is_file()
    kept = MlflowClient().get_run(ids[0]).data
    assert kept.tags["mlflow.note.content"].count("Compared: ") == 1
    assert own[1].info.run_id in kept.tags["mlflow.note.content"]
    assert "compared/test/log_loss" in kept.metrics


def test_what_something_else_predicted_is_compared_from_a_file(made):
    child = next(child for child in made.children if "baseline" not in child.info.run_name)
    table = pd.read_parquet(artifacts_of(child) / "predictions.parquet")
    val = table[table["split"] == "val"].sample(frac=1, random_state=0)
    val[val.columns[::-1]].drop(columns=["fold", "group", "split"]).to_csv(made.folder / "other.csv", index=False)
    completed = run(["compare", f"runs=[{child.info.run_id},other.csv]", "predictions=val"], cwd=made.folder)
    assert completed.returncode == 0, completed.stderr
    assert "are equivalent within 1 point (difference 0.0 points" in " ".join(completed.stdout.split())


def test_a_run_that_leaks_is_shown_and_does_not_win(made):
    look_into(made.folder)
    one, other = sorted(made.children, key=lambda child: "baseline" in child.info.run_name)[1:3]
    MlflowClient().set_tag(one.info.run_id, "leaky", "true")
    completed = run(["compare", f"runs=[{one.info.run_id},{other.info.run_id}]"], cwd=made.folder)
    MlflowClient().set_tag(one.info.run_id, "leaky", "false")
    assert "cannot win: it leaks" in completed.stdout
    assert "on validation" in completed.stdout
    (tag,) = [run.data.tags["can_be_best"] for run in runs_in(made.folder) if run.info.run_id == one.info.run_id]
    assert tag == "false"


def test_learning_curves_of_folds_are_their_mean_as_far_as_all_go(made):
    look_into(made.folder)
    client, experiment = MlflowClient(), made.study.info.experiment_id
    whole = client.create_run(experiment).info.run_id
    client.log_artifact(whole, str(artifacts_of(made.children[0]) / "predictions.parquet"))
    client.set_terminated(whole)
    for number, accuracies in enumerate(((0.5, 0.6, 0.9), (0.7, 0.8)), 1):
        fold = client.create_run(experiment, tags={"fold": str(number), "mlflow.parentRunId": whole})
        for epoch, accuracy in enumerate(accuracies):
            client.log_metric(fold.info.run_id, "epoch/val_accuracy", accuracy, step=epoch)
    completed = run(["compare", f"runs=[{whole}]", "output=curves"], cwd=made.folder)
    assert completed.returncode == 0, completed.stderr
    (curve,) = re.findall(r'class="curve[^>]*points="([^"]*)"', (made.folder / "curves" / "report.html").read_text())
    assert len(curve.split()) == 2


def test_neither_tensorflow_nor_keras_is_loaded(made):
    code = (
        "import sys\nfrom bloodcell.cli.main import main\n"
        f"main(['compare', 'study={made.study.info.run_id}', 'n_resamples=100', 'predictions=val'])\n"
        "print([name for name in ('tensorflow', 'keras', 'matplotlib.pyplot') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=made.folder, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_experiment_of_mlflow_is_compared_by_its_name(made):
    completed = run(["compare", "experiment=bloodcell", "pool_seeds=false"], cwd=made.folder)
    assert completed.returncode == 0, completed.stderr
    assert "Comparison of 2 runs" in completed.stdout
    assert "trained once" in completed.stdout


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "study, experiment and runs: "),
        (["study=a", "runs=[b]"], "study, experiment and runs: "),
        (["study=nobody"], "study=nobody: "),
        (["runs=[nobody]"], "runs=nobody: "),
        (["experiment=nobody"], "experiment=nobody: "),
        (["runs=[nobody.csv]"], "runs=nobody.csv: there is no such file"),
        (["runs=[FOLD]"], "runs=FOLD: is a fold of a cross-validation; give the cross-validation, "),
        (["study=WHOLE"], "study=WHOLE: is a cross-validation"),
        (["runs=[CHILD,CHILD]"], "runs=CHILD: is given twice"),
        (["runs=[STUDY]"], "runs=STUDY: has no predictions.parquet"),
        (["runs=[CHILD]", "metrics=[acuracy]"], "metrics"),
        (["runs=[CHILD]", "equivalence=-1"], "equivalence=-1"),
        (["runs=[CHILD]", "output=cells/TEST/EOSINOPHIL/blocked/x"], "output=cells/TEST/EOSINOPHIL/blocked/x: cannot"),
        (["runs=[CHILD,few.csv]", "predictions=test"], "differ: images 20 only in the first"),
        (["runs=[broken.parquet]"], "runs=broken.parquet: cannot be read"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused_in_one_line_and_leave_nothing(made, overrides, message):
    (made.folder / "cells/TEST/EOSINOPHIL/blocked").write_text("a file")
    (made.folder / "broken.parquet").write_text("no table")
    few = pd.DataFrame({"path": ["x"], "label": ["MONOCYTE"], "group": ["x"]})
    for name in ("EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"):
        few[f"p_{name}"] = 0.25
    few.to_csv(made.folder / "few.csv", index=False)
    child = next(child for child in made.children if "baseline" not in child.info.run_name)
    ids = {"CHILD": child.info.run_id, "FOLD": made.fold.info.run_id, "STUDY": made.study.info.run_id}
    ids["WHOLE"] = made.fold.data.tags["mlflow.parentRunId"]
    before = {path for path in made.folder.rglob("*") if "mlruns" not in path.parts}
    runs_before = len(runs_in(made.folder))
    for name, run_id in ids.items():
        overrides, message = [each.replace(name, run_id) for each in overrides], message.replace(name, run_id)
    completed = run(["compare", *overrides], cwd=made.folder)
    (made.folder / "cells/TEST/EOSINOPHIL/blocked").unlink()
    assert completed.returncode == 2
    assert completed.stdout == ""
    assert message in completed.stderr
    assert len(completed.stderr.strip().splitlines()) == 1
    assert {path for path in made.folder.rglob("*") if "mlruns" not in path.parts} <= before
    assert len(runs_in(made.folder)) == runs_before


def test_files_and_runs_of_other_tools_are_compared_by_patients_of_a_file(tmp_path):
    rng = np.random.default_rng(0)
    files, labels = [f"{number:03}.png" for number in range(80)], ["lobed", "round"] * 40
    for name, wrong in (("timm", 8), ("fastai", 30)):
        right = np.where(np.isin(np.arange(80), rng.choice(80, wrong, replace=False)), 0.2, 0.85)
        lobed = np.where(np.array(labels) == "lobed", right, 1 - right)
        table = pd.DataFrame({"filename": files, "target": labels, "prob_lobed": lobed, "prob_round": 1 - lobed})
        table.to_csv(tmp_path / f"{name}_predictions.csv", index=False, sep=";")
    patients = pd.DataFrame({"path": files, "group": [f"p{number // 2}" for number in range(80)]})
    patients.to_csv(tmp_path / "patients.csv", index=False)
    completed = run(["compare", "runs=[timm_predictions.csv]"], cwd=tmp_path)
    assert completed.returncode == 2
    assert "groups_file" in completed.stderr
    by_patient = ["groups_file=patients.csv", "n_resamples=10"]
    assert run(["compare", "runs=[timm_predictions.csv]", *by_patient], cwd=tmp_path).returncode == 0
    (first,) = runs_in(tmp_path)
    other = MlflowClient().create_run(first.info.experiment_id, run_name="other")
    MlflowClient().log_artifact(other.info.run_id, str(tmp_path / "fastai_predictions.csv"))
    MlflowClient().set_terminated(other.info.run_id)
    words = [f"runs=[timm_predictions.csv,{other.info.run_id}]", *by_patient, "output=report"]
    completed = run(["compare", *words], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert {each["run"] for each in report["ranking"]} == {"timm_predictions", "other", "majority class"}
    assert "timm_predictions: filename is the path and target is the label." in completed.stdout
