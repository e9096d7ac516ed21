"""Runs whose models crop, measure and are solved, up to the model in a process that has only its wheel."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
import pytest
from commands import run, small_network
from PIL import Image
from stores import artifacts_of, model_address, runs_in

KINDS = {
    "cropped": ["crop=nucleus", "head=probe", "head.pooling=cell"],
    "measured": ["backbone=morphology", "head=probe", "crop=nucleus"],  # which no network sees
    "majority": ["backbone=majority", "head=probe"],
}

ELSEWHERE = """
import importlib.util, json, pathlib, sys

files, addresses, store, installed = json.loads(sys.argv[1])
elsewhere = [entry for entry in sys.path if not (pathlib.Path(entry) / "bloodcell" / "__init__.py").is_file()]
sys.path = [*elsewhere, installed]
sys.path_importer_cache.clear()
assert importlib.util.find_spec("bloodcell").origin.startswith(installed)

import mlflow, numpy
from PIL import Image

images = numpy.stack([numpy.asarray(Image.open(file).convert("RGB")) for file in files])
mlflow.set_tracking_uri(store)
predicted = {}
for name, address in addresses.items():
    model = mlflow.tensorflow.load_model(address)
    predicted[name] = [model.predict(images, verbose=0).tolist(), numpy.asarray(model(images)).tolist()]
print(json.dumps(predicted))
"""


class Done(NamedTuple):
    """A finished run, its artifacts and its output."""

    run: Any
    artifacts: Path
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def data(bccd, tmp_path_factory) -> Path:
    """The few real images, and among them one without a cell, one with two, and one whose cell the border cuts."""
    root = tmp_path_factory.mktemp("crops")
    for folder in bccd.glob("*/*"):
        there = root / folder.relative_to(bccd)
        there.mkdir(parents=True)
        for file in folder.iterdir():
            (there / file.name).symlink_to(file)
    for name, nuclei in {"none": [], "two": [(90, 120), (230, 120)], "cut": [(318, 120)]}.items():
        pixels = np.full((240, 320, 3), (225, 220, 222), np.uint8)
        for nucleus in nuclei:
            cv2.circle(pixels, nucleus, 25, (110, 60, 150), -1)
        Image.fromarray(pixels).save(root / "TRAIN" / "MONOCYTE" / f"{name}.png")
    return root


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> dict[str, Done]:
    workplace = tmp_path_factory.mktemp("workplace")
    done = {}
    for name, settings in KINDS.items():
        arguments = (
            small_network(data)
            if name == "cropped"
            else [a for a in small_network(data) if not a.startswith("backbone")]
        )
        completed = run(["train", *arguments, "split.fraction=0.3", *settings], cwd=workplace)
        assert completed.returncode == 0, completed.stderr
        newest = runs_in(workplace)[-1]
        done[name] = Done(newest, artifacts_of(newest), completed.stdout, completed.stderr)
    done["workplace"] = workplace
    return done


@pytest.fixture(scope="module")
def predicted_elsewhere(finished, data, tmp_path_factory) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """What the models say of some images in a process with their wheel alone, and what was logged of them."""
    tables = {name: pd.read_parquet(finished[name].artifacts / "predictions.parquet") for name in KINDS}
    chosen = tables["cropped"].query("split == 'test'")["path"].iloc[::3].tolist()
    addresses = {name: model_address(finished[name].run) for name in KINDS}
    installed = tmp_path_factory.mktemp("installed")
    wheel, *_ = (finished["workplace"] / "mlruns").rglob("wheels/*.whl")  # the models have the same
    with zipfile.ZipFile(wheel) as files:
        files.extractall(installed)
    store = f"sqlite:///{finished['workplace']}/mlruns/mlflow.db"
    asked = [str(data / path) for path in chosen], addresses, store, str(installed)
    completed = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, json.dumps(asked)],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    logged = {name: table.set_index("path").loc[chosen].filter(like="p_") for name, table in tables.items()}
    return json.loads(completed.stdout.splitlines()[-1]), logged


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_model_with_its_wheel_alone_predicts_what_the_run_logged(predicted_elsewhere, name):
    predicted, logged = predicted_elsewhere
    for probabilities in predicted[name]:
        np.testing.assert_allclose(probabilities, logged[name], atol=1e-5)


def test_crops_are_counted_and_unusual_ones_are_listed_and_reported(finished):
    done = finished["cropped"]
    counts = {name.removeprefix("crop/"): value for name, value in done.run.data.metrics.items() if "crop/" in name}
    table = pd.read_csv(done.artifacts / "crops.csv").set_index("path")
    assert set(counts) == {"images", "not_found", "several", "at_border"}
    assert counts["images"] == 63
    for kind in ("not_found", "several", "at_border"):
        assert counts[kind] == table[kind].sum()
    made = [f"TRAIN/MONOCYTE/{name}.png" for name in ("none", "two", "cut")]
    assert table.loc[made, ["not_found", "several", "at_border"]].to_numpy().tolist() == np.eye(3, dtype=bool).tolist()
    assert table.loc[made, "n_cells"].tolist() == [0, 2, 1]
    assert "1 of 63 images: no cell found, the whole image is used; listed in crops.csv" in done.stderr
    assert (done.artifacts / "plots" / "crops.png").is_file()


def test_without_a_crop_there_are_no_metrics_of_crops(finished):
    done = finished["measured"]
    assert not [name for name in done.run.data.metrics if name.startswith("crop/")]
    assert not (done.artifacts / "crops.csv").exists()
    assert not (done.artifacts / "plots" / "crops.png").exists()


def test_the_majority_class_is_right_as_often_as_it_comes(finished):
    metrics = finished["majority"].run.data.metrics
    table = pd.read_parquet(finished["majority"].artifacts / "predictions.parquet")
    manifest = pd.read_parquet(finished["majority"].artifacts / "manifest.parquet")
    majority = manifest.query("split == 'train'")["label"].mode()[0]
    for split in ("val", "test"):
        share = (table.query("split == @split")["label"] == majority).mean()
        assert metrics[f"{split}/accuracy"] == metrics[f"{split}/majority_class/accuracy"] == pytest.approx(share)
    assert table.filter(like="p_").round(6).drop_duplicates().shape[0] == 1  # but for the last digits


def test_a_solved_head_is_one_epoch_and_learns(finished):
    for name in KINDS:
        assert len(pd.read_csv(finished[name].artifacts / "history.csv")) == 1
    history = pd.read_csv(finished["measured"].artifacts / "history.csv")
    assert history["train_accuracy"][0] > 0.8
    assert finished["measured"].run.data.tags["features"].startswith("head: hand-made")
