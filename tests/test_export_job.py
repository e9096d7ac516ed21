"""Exported models: each answers as the original, from its own runtime and the program beside it."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from commands import REPOSITORY, run, small_network
from stores import runs_in

from bloodcell.serving.parity import compare_models
from bloodcell.smears import CLASSES

RUNTIMES = {"onnx": "tf2onnx", "openvino": "openvino", "tflite": "ai_edge_litert", "keras": "keras"}


class Kept(NamedTuple):
    """A run that kept a model, and an image."""

    folder: Path
    run_id: str
    image: Path


@pytest.fixture(scope="module")
def network(bccd, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    completed = run(["train", *small_network(bccd)], cwd=folder)
    assert completed.returncode == 0, completed.stderr
    (only,) = runs_in(folder)
    return Kept(folder, only.info.run_id, next((bccd / "TEST" / "NEUTROPHIL").iterdir()))


@pytest.mark.slow
@pytest.mark.parametrize("to", RUNTIMES)
def test_an_exported_model_answers_as_the_original_in_ten_lines_without_bloodcell(network, to):
    if importlib.util.find_spec(RUNTIMES[to]) is None:
        pytest.skip("needs uv sync --group dev")
    folder = network.folder / to
    completed = run(
        ["export", f"run={network.run_id}", f"format={to}", "n_images=6", f"output={folder}"], cwd=network.folder
    )
    assert completed.returncode == 0, completed.stderr
    facts = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    assert facts["classes"] == list(CLASSES)
    assert facts["parity"]["same_class"] == facts["parity"]["images"] == 6
    assert facts["parity"]["largest_difference"] <= facts["tolerance"]
    assert facts["exported_bytes"] > 10_000
    assert min(facts["original_bytes"], facts["parity"]["original_ms"], facts["parity"]["exported_ms"]) > 0
    program = folder / f"use_{to}.py"
    assert len([line for line in program.read_text(encoding="utf-8").splitlines() if line.strip()]) <= 13
    without = "import runpy, sys; sys.modules['bloodcell'] = None; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0])"
    shown = subprocess.run(
        [sys.executable, "-c", without, program, network.image], capture_output=True, text=True, check=True
    ).stdout.splitlines()[-1]
    predict = ["predict", f"run={network.run_id}", f"images='{network.image}'", f"output={to}.csv"]
    assert run(predict, cwd=network.folder).returncode == 0
    (row,) = pd.read_csv(network.folder / f"{to}.csv").to_dict("records")
    path, name, probability = shown.rsplit(" ", 2)
    assert (path, name) == (str(network.image), row["predicted"])
    assert float(probability) == pytest.approx(row["probability"], abs=2e-3)


@pytest.mark.slow
def test_a_model_that_measures_with_opencv_is_exported_for_keras_only(bccd, tmp_path):
    words = ["backbone=morphology", "log_model=true", "data.groups=pattern", "data.groups_pattern='(.+)'"]
    train = [
        "train",
        "data=bccd",
        f"data.root={bccd}",
        *words,
        "data.group_name=photograph",
        "head=probe",
        "baselines=[]",
    ]
    assert run(train, cwd=tmp_path).returncode == 0
    (only,) = runs_in(tmp_path)
    refused = run(["export", f"run={only.info.run_id}", "format=onnx", "output=no"], cwd=tmp_path)
    assert refused.returncode == 2
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("bloodcell: ")]
    assert line.startswith(f"bloodcell: run={only.info.run_id}: crops or measures images with OpenCV")
    assert not (tmp_path / "no").exists()
    words = ["format=keras", "output=yes", "n_images=2"]
    assert run(["export", f"run={only.info.run_id}", *words], cwd=tmp_path).returncode == 0
    image = next((bccd / "TEST" / "NEUTROPHIL").iterdir())
    program = [sys.executable, tmp_path / "yes" / "use_keras.py", image]
    shown = subprocess.run(program, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout
    assert shown.split()[-2] in CLASSES


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["format=keras", "tolerance=1e-30"], "format=keras: answers otherwise than the original"),
        (["format=tensorrt"], "format=tensorrt"),
        (["images=nowhere"], "images=nowhere: there is no such file or folder"),
        (["output=taken"], "output=taken: exists"),
        (["images={image}/.."], "images: "),
    ],
)
def test_what_cannot_be_exported_leaves_nothing(network, words, message):
    (network.folder / "taken").mkdir(exist_ok=True)
    notes = network.folder / "images"
    notes.mkdir(exist_ok=True)
    (notes / "broken.png").write_text("no image")
    before = sorted(network.folder.iterdir())
    filled = [f"images={notes}" if word.startswith("images={") else word for word in words]
    given = [] if any(word.startswith("output=") for word in filled) else ["output=new"]
    result = run(["export", f"run={network.run_id}", *filled, *given], cwd=network.folder)
    assert result.returncode == 2
    assert message in result.stderr.splitlines()[-1]
    assert [path for path in sorted(network.folder.iterdir()) if path.name != "outputs"] == [
        path for path in before if path.name != "outputs"
    ]


def test_models_are_not_the_same_with_another_class_or_a_number_that_is_none():
    images = [np.full((2, 2, 3), value, np.uint8) for value in (0, 1)]

    def asked(*shares: float):
        return lambda batch: np.array([[shares[batch[0, 0, 0, 0]], 1 - shares[batch[0, 0, 0, 0]]]])

    same = compare_models(asked(0.4, 0.6), asked(0.4004, 0.6), images)
    assert (same.same_class, same.holds(0.001), same.holds(0.0001)) == (2, True, False)
    assert same.largest_difference == pytest.approx(0.0004)
    assert not compare_models(asked(0.4999, 0.6), asked(0.5001, 0.6), images).holds(0.01)
    assert not compare_models(asked(0.4, 0.6), asked(np.nan, 0.6), images).holds(0.01)
