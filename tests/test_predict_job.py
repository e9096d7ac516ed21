"""Asking kept models, from the command line, from the registry and over HTTP."""

import base64
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import cv2
import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from commands import run
from mlflow import MlflowClient
from PIL import Image
from stores import artifacts_of, model_address, runs_in

import bloodcell.cells.novelty
from bloodcell.data.manifest import SPLITS
from bloodcell.images.reading import read_image
from bloodcell.smears import CLASSES

COLUMNS = [
    "path",
    "answer",
    "why",
    "predicted",
    "probability",
    "novelty",
    *(f"p_{name}" for name in CLASSES),
    "evidence",
]
TRAIN = [
    "data.groups=pattern",
    "data.groups_pattern='(.+)'",
    "data.group_name=photograph",
    "backbone=morphology",
    "head=probe",
]


class Kept(NamedTuple):
    """A run that kept a model, and images to ask it about."""

    folder: Path
    run_id: str
    images: Path


@pytest.fixture(scope="module")
def kept(bccd, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    completed = run(["train", "data=bccd", f"data.root={bccd}", *TRAIN], cwd=folder)
    assert completed.returncode == 0, completed.stderr
    images = folder / "new images"
    for name in ("EOSINOPHIL", "NEUTROPHIL"):
        shutil.copytree(bccd / "TEST" / name, images / name)
    (images / "broken.jpeg").write_bytes(b"no image")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)).save(images / "noise.png")
    (images / "notes.txt").write_text("not an image by its name")
    (only,) = runs_in(folder)
    return Kept(folder, only.info.run_id, images)


def predict(kept: Kept, *overrides: str, output: str = "answers.csv") -> pd.DataFrame:
    words = [f"images='{kept.images}'", f"output={output}", *overrides]
    completed = run(["predict", *words], cwd=kept.folder)
    assert completed.returncode == 0, completed.stderr
    path = kept.folder / output
    return (
        pd.read_csv(path, keep_default_na=False, na_values={"probability": [""]})
        if output.endswith("csv")
        else pd.read_parquet(path)
    )


@pytest.fixture(scope="module")
def answers(kept):
    return predict(kept, f"run={kept.run_id}")


def test_every_image_of_a_folder_gets_an_answer_and_none_is_dropped(kept, answers):
    assert list(answers) == COLUMNS
    files = sorted(str(path) for path in kept.images.rglob("*") if path.is_file() and not path.name.startswith("."))
    assert sorted(answers["path"]) == files
    by_name = answers.set_index(answers["path"].map(lambda path: Path(path).name))
    assert by_name.loc["broken.jpeg", ["answer", "why", "predicted"]].tolist() == ["cannot be read", "not an image", ""]
    assert by_name.loc["noise.png", "answer"] == "unlike the training images"
    cells = answers[~answers["answer"].isin(["cannot be read", "unlike the training images"])]
    assert set(cells["answer"]) <= set(CLASSES)
    assert len(cells) >= 8
    np.testing.assert_allclose(cells.filter(like="p_").astype(float).sum(axis=1), 1, atol=1e-6)
    assert (cells["answer"] == cells["predicted"]).all()


def test_images_are_found_behind_links_and_under_any_name_but_hidden_ones_are_not(kept, answers, tmp_path):
    (tmp_path / "linked").symlink_to(kept.images / "NEUTROPHIL", target_is_directory=True)
    (tmp_path / "back").symlink_to(tmp_path, target_is_directory=True)
    cell = next((kept.images / "EOSINOPHIL").iterdir())
    shutil.copy(cell, os.fsencode(tmp_path) + b"/zell\xe9.jpeg")
    shutil.copy(cell, tmp_path / ".hidden.jpeg")
    table = predict(kept._replace(images=tmp_path), f"run={kept.run_id}", output="linked.csv")
    assert sorted(Path(path).name for path in table["path"]) == sorted(
        [*(file.name for file in (kept.images / "NEUTROPHIL").iterdir()), r"zell\xe9.jpeg"]
    )


def test_other_formats_are_read_and_files_that_are_no_images_have_a_row_with_the_reason(kept, tmp_path):
    cell = next((kept.images / "EOSINOPHIL").iterdir())
    shutil.copy(cell, tmp_path / "cell.JFIF")
    shutil.copy(cell, tmp_path / "cell.unknown")
    with Image.open(cell) as image:
        image.save(tmp_path / "cell.avif")
        image.save(tmp_path / "stack.tif", save_all=True, append_images=[image.rotate(180)])
    (tmp_path / "notes.txt").write_text("from the left microscope")
    (tmp_path / "slide.svs").write_bytes(b"II*\0")
    words = [f"images='{tmp_path}'", f"run={kept.run_id}", "output=others.csv"]
    completed = run(["predict", *words], cwd=kept.folder)
    assert "Cannot be read, by ending: .txt 1, .svs 1" in completed.stdout
    assert "Of 1 file with several pages, the first was predicted, such as " in completed.stdout
    table = pd.read_csv(kept.folder / "others.csv", keep_default_na=False).set_index("path")
    table.index = table.index.map(lambda path: Path(path).name)
    assert table["answer"].eq("cannot be read").to_dict() == {
        "cell.JFIF": False,
        "cell.avif": False,
        "cell.unknown": False,
        "notes.txt": True,
        "slide.svs": True,
        "stack.tif": False,
    }
    assert table.loc["notes.txt", "why"] == "not an image"
    assert table.loc["slide.svs", "why"].startswith("a whole-slide image; export ")


def test_a_heat_map_is_drawn_for_each_image(kept):
    cell = next((kept.images / "EOSINOPHIL").iterdir())
    predict(kept._replace(images=cell), f"run={kept.run_id}", "--explain", output="one.csv")
    (picture,) = (kept.folder / "one_explained" / "plots").iterdir()
    assert picture.suffix == ".png"


@pytest.mark.parametrize("job", ["predict", "register"])
def test_a_model_of_a_version_that_measured_otherwise_is_refused(kept, job, monkeypatch, tmp_path):
    monkeypatch.setattr(bloodcell.cells.novelty, "NOVELTY_VERSION", 99)
    of_job = [f"images='{kept.images}'"] if job == "predict" else []
    completed = run([job, f"run={kept.run_id}", f"tracking.dir='{kept.folder / 'mlruns'}'", *of_job], cwd=tmp_path)
    assert completed.returncode == 2
    assert completed.stderr.startswith(f"bloodcell: run={kept.run_id}: novelty.npz: ")
    assert completed.stderr.count("\n") == 1


@pytest.fixture
def model_folder(kept, tmp_path) -> Path:
    """A copy of the folder of the run's model."""
    (model,) = (path.parent for path in (kept.folder / "mlruns").rglob("MLmodel"))
    return Path(shutil.copytree(model, tmp_path / "model"))


def test_a_model_is_a_few_files_without_code(model_folder):
    files = sorted(path.relative_to(model_folder).as_posix() for path in model_folder.rglob("*") if path.is_file())
    (wheel,) = (name for name in files if name.startswith("wheels/bloodcell-"))
    expected = ["MLmodel", "answering.npz", "conda.yaml", "data/model.keras", "input_example.json", "novelty.npz"]
    assert files == [*expected, "python_env.yaml", "requirements.txt", "serving_input_example.json", wheel]
    assert wheel in (model_folder / "requirements.txt").read_text().splitlines()
    conda = yaml.safe_load((model_folder / "conda.yaml").read_text())
    assert wheel in conda["dependencies"][-1]["pip"]


def test_mlflow_loads_the_keras_model_without_pickles(model_folder, kept, tmp_path):
    # In a process of its own, where the package's layers are not registered with Keras yet.
    program = f"import mlflow; print(mlflow.tensorflow.load_model({str(model_folder)!r}).output_shape[-1])"
    environment = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    command = [sys.executable, "-c", program]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path).stdout
    assert int(shown) == len(CLASSES)


def test_no_code_of_a_models_folder_is_run(kept, answers, model_folder, tmp_path, monkeypatch):
    class Planted:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    for name in ("custom_objects.cloudpickle", "global_custom_objects.cloudpickle"):
        (model_folder / "data" / name).write_bytes(pickle.dumps(Planted()))
    (model_folder / "data" / "keras_module.txt").write_text("evil")
    touch = f"open({str(tmp_path / 'ran')!r}, 'w')"
    for name in ("evil.py", "bloodcell/__init__.py", "mlflow/__init__.py"):
        file = model_folder / "code" / name
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(touch)
    # So are models described that earlier versions logged: with code, without digests.
    described = yaml.safe_load((model_folder / "MLmodel").read_text())
    described["flavors"]["python_function"]["code"] = described["flavors"]["tensorflow"]["code"] = "code"
    described["flavors"]["tensorflow"]["keras_module"] = "evil"
    del described["metadata"]["sha256"]
    (model_folder / "MLmodel").write_text(yaml.safe_dump(described))
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    again = predict(kept, f"model={model_folder}", output="hostile.csv")
    assert not (tmp_path / "ran").exists()
    assert "evil" not in sys.modules
    pd.testing.assert_frame_equal(again, answers)


@pytest.mark.parametrize("name", ["data/model.keras", "answering.npz", "novelty.npz"])
def test_a_file_that_changed_since_the_model_was_saved_is_refused(kept, model_folder, name):
    with (model_folder / name).open("ab") as file:
        file.write(b" ")
    completed = run(["predict", f"images='{kept.images}'", f"model={model_folder}"], cwd=kept.folder)
    assert completed.returncode == 2
    assert completed.stderr.startswith(f"bloodcell: model={model_folder}: {name}: ")
    assert completed.stderr.count("\n") == 1


@pytest.mark.parametrize("alias", ["v2", "a b"])
def test_an_alias_that_mlflow_would_refuse_makes_no_version(kept, alias):
    completed = run(["register", f"run={kept.run_id}", "name=other", f"alias='{alias}'"], cwd=kept.folder)
    assert completed.returncode == 2
    assert completed.stderr.startswith(f"bloodcell: alias={alias}: ")
    runs_in(kept.folder)
    assert MlflowClient().search_model_versions("name='other'") == []


def test_with_a_maximal_error_a_model_marks_uncertain_images(kept, answers):
    unsure = predict(kept, f"run={kept.run_id}", "max_error=0.9", output="unsure.parquet")
    pd.testing.assert_series_equal(unsure["predicted"], answers["predicted"])
    completed = run(["predict", f"images='{kept.images}'", f"run={kept.run_id}", "max_error=0.001"], cwd=kept.folder)
    assert completed.returncode == 2
    assert "max_error=0.001: " in completed.stderr


def test_a_registered_model_gives_the_same_answers_and_shows_its_evidence(kept, answers):
    completed = run(["register", f"run={kept.run_id}", "name=cells", "alias=champion"], cwd=kept.folder)
    assert completed.returncode == 0, completed.stderr
    assert "models:/cells@champion" in completed.stdout
    again = predict(kept, "model=models:/cells@champion", output="again.csv")
    pd.testing.assert_frame_equal(again, answers)
    version = MlflowClient().get_model_version_by_alias("cells", "champion")
    (trained,) = runs_in(kept.folder)
    assert version.tags["test_accuracy"] == f"{trained.data.metrics['test/accuracy']:.4f}"
    assert version.tags["leaky"] == "false"
    assert "Not for diagnosis" in version.description
    assert len(version.description) <= 5000
    assert f"runs/{kept.run_id}/artifacts/model_card.md" in version.description


def test_the_card_of_a_registered_model_has_the_figures_of_its_run(kept):
    completed = run(["register", f"run={kept.run_id}", "name=carded"], cwd=kept.folder)
    assert completed.returncode == 0, completed.stderr
    assert f"Model card  model_card.md, an artifact of run {kept.run_id}" in completed.stdout
    (trained,) = runs_in(kept.folder)
    card = (artifacts_of(trained) / "model_card.md").read_text(encoding="utf-8")
    metrics, parameters = trained.data.metrics, trained.data.params
    assert card.startswith("# Model card: carded\n")
    for split, name in (("val", "validation"), ("test", "test")):
        by_image, by_photograph = (
            f"{metrics[figure]:.3f} ({metrics[f'{figure}_low']:.3f} to {metrics[f'{figure}_high']:.3f})"
            for figure in (f"{split}/accuracy", f"{split}/photograph_accuracy")
        )
        assert f"| {name} | {by_image} | {by_photograph} | " in card
    counts = [f"{parameters[f'photographs.{each}']} ({parameters[f'images.{each}']})" for each in SPLITS]
    assert f"| all | {' | '.join(counts)} |" in card
    assert f"temperature {metrics['calibrated/val/temperature']:.2f}" in card
    assert "a non-neural classifier" in card
    assert trained.data.tags["data_digest"] in card


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run={run}", "images=nowhere"], "images=nowhere: there is no such file or folder"),
        (["run=unknown", "images={images}"], "run=unknown: "),
        (["model=models:/none@best", "images={images}"], "model=models:/none@best: cannot be loaded"),
        (["images={images}"], "exactly one of run=ID and model=ADDRESS"),
        (["run={run}", "images={images}", "output=answers.xlsx"], "output=answers.xlsx"),
        (["run={run}", "images={images}", "max_error=2"], "max_error=2"),
        (["run={run}", "images={images}", "output={folder}/a.csv"], "a.csv: is a folder"),
    ],
)
def test_a_users_error_is_one_line_and_nothing_is_written(kept, words, message, tmp_path):
    (kept.folder / "a.csv").mkdir(exist_ok=True)
    filled = [word.format(run=kept.run_id, images=f"'{kept.images}'", folder=kept.folder) for word in words]
    result = run(["predict", *filled, f"tracking.dir='{kept.folder / 'mlruns'}'"], cwd=tmp_path)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_a_cross_validation_without_a_model_of_its_own_names_a_fold(bccd, tmp_path):
    assert (
        run(
            ["train", "data=bccd", f"data.root={bccd}", *TRAIN, "split=group_kfold", "split.folds=2"], cwd=tmp_path
        ).returncode
        == 0
    )
    whole, first, _ = runs_in(tmp_path)
    completed = run(["predict", f"run={whole.info.run_id}", f"images='{bccd}'"], cwd=tmp_path)
    assert completed.returncode == 2
    assert first.info.run_id in completed.stderr
    assert "split.refit=true" in completed.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_mlflow_serves_the_same_answers_over_http_for_images_in_base64(kept, answers):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = model_address(next(each for each in runs_in(kept.folder) if each.info.run_id == kept.run_id))
    model = mlflow.artifacts.download_artifacts(address, dst_path=str(kept.folder / "served"))
    command = ["models", "serve", "-m", model, "--env-manager", "local", "-p", str(port), "-w", "1"]
    server = subprocess.Popen([sys.executable, "-m", "mlflow", *command], cwd=kept.folder)
    try:
        contents = [base64.b64encode(Path(path).read_bytes()).decode() for path in answers["path"]]
        body = json.dumps({"dataframe_split": {"columns": ["image"], "data": [[content] for content in contents]}})
        served = pd.DataFrame(_ask(f"http://127.0.0.1:{port}", body)["predictions"])
    finally:
        server.terminate()
        server.wait(timeout=30)
    assert served["answer"].tolist() == answers["answer"].tolist()
    readable = served["predicted"] != ""
    assert served["evidence"].tolist() == answers["evidence"].tolist()
    for column in COLUMNS[4:-1]:
        np.testing.assert_allclose(
            served.loc[readable, column].astype(float), answers.loc[readable, column].astype(float), atol=1e-6
        )


def _ask(address: str, body: str) -> dict[str, list[dict[str, object]]]:
    until = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"{address}/ping", timeout=5):
                break
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.5)
    request = urllib.request.Request(f"{address}/invocations", body.encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def test_a_model_of_images_with_12_bits_is_that_of_the_same_with_8(bccd, tmp_path):
    tables = {}
    for name, shift in (("eight", 0), ("twelve", 4)):
        for file in [*bccd.glob("TRAIN/*/*"), *bccd.glob("TEST/*/*")]:
            pixels = read_image(file).astype(np.uint16 if shift else np.uint8)
            pixels[0, 0] = 255  # so that every image uses all bits
            place = tmp_path / name / file.relative_to(bccd).with_suffix(".png")
            place.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(place), pixels[..., ::-1] << shift)
        folder = tmp_path / f"run of {name}"
        folder.mkdir()
        completed = run(["train", "data=bccd", f"data.root={tmp_path / name}", *TRAIN, "baselines=[]"], cwd=folder)
        assert completed.returncode == 0, completed.stderr
        assert ("12 of them" in completed.stderr + completed.stdout) == bool(shift)
        (only,) = runs_in(folder)
        pixels = cv2.imread(str(place), cv2.IMREAD_UNCHANGED)
        asked = folder / "asked.png"
        cv2.imwrite(str(asked), pixels // 4)  # a dark image: its own bits would be fewer
        completed = run(["predict", f"run={only.info.run_id}", f"images=[{place},{asked}]", "output=p.csv"], cwd=folder)
        assert completed.returncode == 0, completed.stderr
        tables[name] = only.data.metrics, pd.read_csv(folder / "p.csv").drop(columns="path")
    exact = [name for name in tables["eight"][0] if name.startswith(("val/", "test/"))]
    assert [tables["twelve"][0][name] for name in exact] == [tables["eight"][0][name] for name in exact]
    pd.testing.assert_frame_equal(tables["twelve"][1], tables["eight"][1])
