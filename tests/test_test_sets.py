"""Several test sets: from folders or a table to metrics, pictures and predictions of each."""

import json
import shutil
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from commands import run, small
from stores import runs_in

from bloodcell.config.keywords import train_config
from bloodcell.data.folder_layout import split_of
from bloodcell.experiment.baselines import needed_baselines


@pytest.fixture(scope="module")
def sets(bccd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with Train, TestA and TestB, of which the second lacks two classes."""
    root = tmp_path_factory.mktemp("sets")
    shutil.copytree(bccd / "TRAIN", root / "Train")
    for file in sorted(bccd.glob("TEST/*/*")):
        number = int(file.stem.split("_")[-1]) % 2 if file.parent.name in ("NEUTROPHIL", "MONOCYTE") else 0
        place = root / ("TestA", "TestB")[number] / file.parent.name / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    return root


def settings(words: list[str]) -> list[str]:
    return [word for word in words if not word.startswith("data")]


def test_init_writes_each_test_set_and_training_evaluates_each(bccd, sets, tmp_path):
    completed = run(["init", str(sets)], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    command = ["train", "-cd", "conf", "data=mine", *settings(small(bccd)), "split=random", "data.groups=none"]
    completed = run(command, cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    (only,) = runs_in(tmp_path)
    (folder,) = tmp_path.glob("outputs/*/*")
    predictions = pd.read_parquet(folder / "artifacts" / "predictions.parquet").query("split == 'test'")
    for name in ("TestA", "TestB"):
        part = predictions[predictions["path"].str.startswith(name)]
        classes = [column for column in part if column.startswith("p_")]
        right = part[classes].idxmax(axis="columns").str.removeprefix("p_") == part["label"]
        assert only.data.metrics[f"test/{name}/accuracy"] == pytest.approx(right.mean())
        assert (folder / "artifacts" / "plots" / f"confusion_test_{name}.png").is_file()
        assert name in completed.stdout
    assert only.data.metrics["test/accuracy"] not in (only.data.metrics[f"test/{name}/accuracy"] for name in ("TestA",))
    manifest = pd.read_parquet(folder / "artifacts" / "manifest.parquet")
    assert manifest.groupby("split")["test_set"].nunique().to_dict() == {"train": 1, "val": 1, "test": 2}
    assert "test TestB" in mlflow.get_run(only.info.run_id).data.tags["mlflow.note.content"]

    completed = run(["report", f"run={only.info.run_id}", "output=paper"], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    numbers = json.loads((tmp_path / "paper" / "numbers.json").read_text(encoding="utf-8"))
    assert {"test/TestA/accuracy", "test/TestB/accuracy"} <= {each.get("metric") for each in numbers}
    assert {"TestA", "TestB"} <= {each.get("where", {}).get("test_set") for each in numbers}
    assert "TestB: 5 images" in (tmp_path / "paper" / "flow.svg").read_text(encoding="utf-8")


def test_a_table_names_test_sets_in_its_split(bccd, sets, tmp_path):
    files = sorted(sets.glob("*/*/*.jpeg"))
    rows = [(file.relative_to(sets), file.parent.name, file.parts[-3]) for file in files]
    pd.DataFrame(rows, columns=["path", "label", "split"]).to_csv(tmp_path / "cells.csv", index=False)
    places = ["data=table", "data.table=cells.csv", f"data.folder={sets}", "data.groups=none", "split=random"]
    completed = run(["train", *places, *settings(small(bccd)), "split.fraction=0.3"], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    (only,) = runs_in(tmp_path)
    assert {"test/TestA/accuracy", "test/TestB/accuracy"} <= only.data.metrics.keys()


def test_folders_are_given_by_name(bccd, sets, tmp_path):
    places = ["data=folder", f"data.train_dir={sets / 'Train'}", "data.groups=none", "split=random"]
    given = f"data.test_dir={{first lab:{sets / 'TestA'},b:{sets / 'TestB'}}}"
    completed = run(["train", *places, given, *settings(small(bccd))], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    (only,) = runs_in(tmp_path)
    assert {"test/first lab/accuracy", "test/b/accuracy"} <= only.data.metrics.keys()
    completed = run(["train", *places, "data.test_dir={a:nowhere}"], cwd=tmp_path)
    assert completed.returncode == 2
    assert completed.stderr.startswith("bloodcell: data.test_dir.a=nowhere: ")


def test_runs_on_several_test_sets_share_their_baselines():
    data = {"source": "folder", "train_dir": "train", "test_dir": {"a": "first", "b": "second"}}
    both = [train_config(data=data, backbone=name, head="probe") for name in ("morphology", "colour_histogram")]
    assert [each.name for each in needed_baselines(both)].count("majority") == 1


@pytest.mark.parametrize("name", ["TestA", "Test-B", "test_2", "test external", "External_Test", "Testing"])
def test_names_of_test_sets(name):
    assert split_of(name) == "test"


@pytest.mark.parametrize("name", ["testosterone", "contest", "attest a", "tested"])
def test_names_that_are_none(name):
    assert split_of(name) is None
