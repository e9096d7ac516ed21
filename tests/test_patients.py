"""Patients with cells of several classes, through the whole command line: each a group of several photographs."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import run
from data.photographs import copy, save
from pictures import rendered
from stores import artifacts_of, runs_in

from bloodcell.config.composition import compose_config
from bloodcell.experiment.images import prepare_images

N_PATIENTS = 12
COPIES = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with images of patients, two photographs of each in different classes, and a table of them."""
    root = tmp_path_factory.mktemp("patients")
    rng = np.random.default_rng(0)
    rows = []
    for number, pixels in enumerate(rendered(2 * N_PATIENTS)):
        label, patient = ("lobed", "round")[number % 2], f"p{number // 2:02}"
        for index in range(COPIES):
            save(root / "cells" / label, f"{rng.integers(1000):03}-{number}-{index}", copy(pixels, rng))
    for file in sorted((root / "cells").glob("*/*")):
        number = int(file.stem.split("-")[1])
        patient = f"p{number // 2:02}"
        rows.append((f"{file.parent.name}/{file.name}", patient, number))
    pd.DataFrame(rows, columns=["path", "patient", "photograph"]).to_csv(root / "patients.csv", index=False)
    return root


@pytest.fixture(scope="module")
def data(folder: Path) -> list[str]:
    return [
        *("data=folder", f"data.train_dir={folder / 'cells'}", "data.test_dir=null", "data.test_fraction=0.5"),
        *("data.groups=column", f"data.groups_file={folder / 'patients.csv'}", "data.groups_column=patient"),
        "data.group_name=patient",
    ]


@pytest.fixture(scope="module")
def trained(data: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Train two models in a sweep; return the folder and the output."""
    place = tmp_path_factory.mktemp("trained")
    models = ["backbone=colour_histogram,morphology", "head=probe", "baselines=[]", "explain=none"]
    completed = run(["train", "-m", *data, *models], cwd=place)
    assert completed.returncode == 0, completed.stderr
    return place, completed.stdout


def test_photographs_are_found_in_the_pixels_and_nest_in_the_patients_that_were_given(data, folder):
    manifest = prepare_images(compose_config("train", data)).images.manifest
    assert manifest["group"].nunique() == N_PATIENTS
    assert manifest["source"].nunique() == 2 * N_PATIENTS
    assert (manifest.groupby("source")["group"].nunique() == 1).all()
    assert (manifest.groupby("group")["split"].nunique() == 1).all()
    assert (manifest.groupby("split")["label"].nunique() == 2).all()


@pytest.mark.parametrize(
    ("settings", "n_sources"),
    [
        (["data.photographs=column"], 2 * N_PATIENTS),
        (["data.photographs=pattern", r'data.photographs_pattern="\d+-(\d+)-"'], 2 * N_PATIENTS),
        (["data.photographs=groups"], N_PATIENTS),
        (["data.group_name=photograph"], N_PATIENTS),
    ],
)
def test_photographs_can_be_given_too(data, settings, n_sources):
    images = prepare_images(compose_config("train", [*data, *settings])).images
    assert images.manifest["source"].nunique() == n_sources
    assert images.manifest["group"].nunique() == N_PATIENTS


def test_a_run_gives_accuracy_by_image_by_photograph_and_as_the_mean_of_patients(trained):
    place, _ = trained
    model = next(each for each in runs_in(place) if each.data.params.get("backbone.name") == "morphology")
    assert model.data.tags["group_name"] == "patient"
    predictions = pd.read_parquet(artifacts_of(model) / "predictions.parquet")
    test = predictions[predictions["split"] == "test"]
    columns = ["p_lobed", "p_round"]
    right = test[columns].to_numpy().argmax(axis=1) == (test["label"] == "round")
    by_photograph = test.groupby("source")[columns].mean()
    labels = test.groupby("source")["label"].first()
    metrics = model.data.metrics
    assert metrics["test/groups"] == test["group"].nunique() == N_PATIENTS / 2
    assert metrics["test/photographs"] == N_PATIENTS
    assert metrics["test/accuracy"] == pytest.approx(right.mean())
    assert metrics["test/group_mean_accuracy"] == pytest.approx(right.groupby(test["group"]).mean().mean())
    expected = (by_photograph["p_round"] > by_photograph["p_lobed"]) == (labels == "round")
    assert metrics["test/photograph_accuracy"] == pytest.approx(expected.mean())
    for name in ("accuracy", "photograph_accuracy", "group_mean_accuracy"):
        assert metrics[f"test/{name}_low"] <= metrics[f"test/{name}"] <= metrics[f"test/{name}_high"]


def test_a_comparison_counts_patients_in_tables_sentences_and_report(trained):
    place, _ = trained
    parent = next(each for each in runs_in(place) if "study" in each.data.tags).info.run_id
    words = [f"study={parent}", "predictions=test", "output=found", "metrics=[accuracy,auroc]"]
    completed = run(["--json", "compare", *words], cwd=place)
    assert completed.returncode == 0, completed.stderr
    found = json.loads(completed.stdout)
    assert (found["groups"], found["photographs"], found["group_name"]) == (N_PATIENTS // 2, N_PATIENTS, "patient")
    assert all(f"{N_PATIENTS // 2} patients" in row["sentence"] for row in found["verdicts"])
    units = {(row["metric"], row["unit"]) for row in found["estimates"]}
    assert units == {(metric, unit) for metric in ("accuracy", "auroc") for unit in ("image", "source")} | {
        ("accuracy", "group_mean")
    }
    for file in ("report.md", "report.html"):
        text = (place / "found" / file).read_text(encoding="utf-8")
        assert "mean of patients" in text
        assert f"{N_PATIENTS // 2} patients" in text


def test_the_other_jobs_count_patients_too(data, trained, tmp_path):
    place, _ = trained
    completed = run(["train", *data, "backbone=colour_histogram", "head=probe", "baselines=[]"], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert "accuracy, mean of patients" in completed.stdout
    completed = run(["groups", *data], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    table = pd.read_csv(tmp_path / "groups.csv")
    assert table[["group", "photograph"]].nunique().tolist() == [N_PATIENTS, 2 * N_PATIENTS]
    runs = ",".join(each.info.run_id for each in runs_in(place) if each.data.tags.get("group_name"))
    completed = run(["ensemble", f"runs=[{runs}]", "method=soft", "log_model=false"], cwd=place)
    assert completed.returncode == 0, completed.stderr
    assert "95 % intervals count patients, not images" in completed.stdout


def test_a_photograph_of_two_patients_is_named_and_refused_on_two_sides(folder, data, tmp_path):
    table = pd.read_csv(folder / "patients.csv")
    table.loc[table["photograph"] == 0, "patient"] = ["p00", *["other"] * (COPIES - 1)]
    table.to_csv(tmp_path / "patients.csv", index=False)
    given = [*data, f"data.groups_file={tmp_path / 'patients.csv'}"]
    completed = run(["groups", *given], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert "1 photograph with images in several patients" in completed.stdout
    completed = run(["train", *given, "backbone=majority", "baselines=[]"], cwd=tmp_path)
    assert completed.returncode == 2
    (line,) = completed.stderr.splitlines()
    assert line.startswith("bloodcell: data.on_shared_groups=error: training and test share 1 photograph")
    assert "data.photographs=groups" in line
