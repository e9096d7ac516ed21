"""`bloodcell.train`, as a notebook calls it: no store, no command line."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from undrawn import one_pixel

import bloodcell
from bloodcell.config.keywords import train_config
from bloodcell.errors import UserError
from bloodcell.images.reading import read_image
from bloodcell.plots.drawing import Pictures

SMEARS = {"source": "smears", "train_photographs": 24, "test_photographs": 20, "copies": 2}
SMALL = {"data": SMEARS, "backbone": "colour_histogram", "head": "dense", "finetune": "none", "epochs": 2}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pictures, "draw", one_pixel)
        return bloodcell.train(**SMALL, folder=tmp_path_factory.mktemp("train") / "run", quiet=True)


def test_the_result_has_predictions_metrics_model_history_and_figures(result):
    assert result.predictions["split"].value_counts().to_dict() == {"test": 40, "val": 9}
    row = result.metrics.loc[("test", "accuracy")]
    assert row["low"] <= row["value"] <= row["high"]
    assert 0 <= row["baseline"] <= 1
    assert result.history["epoch"].tolist() == [1, 2]
    assert {"confusion_val", "confusion_test", "learning_curves"} <= set(result.figures)
    assert all(path.is_file() for path in result.figures.values())


def test_metrics_are_those_of_the_predictions(result):
    table = result.predictions.query("split == 'test'")
    classes = np.array(result.outcome.classes)
    predicted = classes[table[[f"p_{name}" for name in classes]].to_numpy().argmax(axis=1)]
    assert result.metrics.loc[("test", "accuracy"), "value"] == (predicted == table["label"]).mean()


def test_the_folder_has_everything(result):
    run = json.loads((result.folder / "run.json").read_text(encoding="utf-8"))
    assert run["parameters"]["hyperparameters.epochs"] == 2
    assert run["tags"]["leaky"] == "false"
    assert run["metrics"]["test/accuracy"] == result.metrics.loc[("test", "accuracy"), "value"]
    assert run["metrics"]["cost/train_seconds"] > 0
    assert "test: accuracy" in run["description"]
    files = {str(path.relative_to(result.folder / "artifacts")) for path in result.folder.rglob("artifacts/**/*.*")}
    tables = {"predictions.parquet", "manifest.parquet", "history.csv", "report/val.txt", "report/test.csv"}
    assert {"config.yaml", "metrics.json", "plots/confusion_val.png", *tables} <= files
    pd.testing.assert_frame_equal(
        pd.read_parquet(result.folder / "artifacts" / "predictions.parquet"), result.predictions
    )


def test_metrics_have_the_names_of_the_tracking_store(result):
    metrics = json.loads((result.folder / "artifacts" / "metrics.json").read_text(encoding="utf-8"))
    assert list(metrics) == [
        "val",
        "test",
        "val/majority_class",
        "test/majority_class",
        "calibrated/val",
        "calibrated/test",
    ]
    assert metrics["calibrated/val"]["temperature"] > 0


def test_the_saved_model_predicts_as_the_one_in_memory(result):
    saved = keras.saving.load_model(result.addresses[0])
    paths = result.predictions["path"].head(2)
    (root,) = {path.parents[len(Path(paths[0]).parts) - 1] for path in _images(result)}
    pixels = np.stack([read_image(root / path) for path in paths])
    np.testing.assert_allclose(saved(pixels), result.model(pixels), atol=1e-6)


def _images(result):
    """Return the file of the first prediction, wherever the rendered smears are."""
    from bloodcell.experiment.images import prepare_images

    images = prepare_images(result.config).images
    return [images.root / result.predictions["path"].iloc[0]]


def test_a_result_shows_itself(result):
    text, html = repr(result), result._repr_html_()
    accuracy = f"{result.metrics.loc[('val', 'accuracy'), 'value']:.3f}"
    assert accuracy in text
    assert text.index("Validation accuracy") < text.index("Test accuracy")
    assert str(result.folder) in text
    assert accuracy in html
    assert html.count("data:image/png;base64,") == 2
    assert html.count("<table>") == html.count("</table>") == 1


def test_the_same_seed_gives_the_same_metrics(result, tmp_path, monkeypatch):
    monkeypatch.setattr(Pictures, "draw", one_pixel)
    again = bloodcell.train(train_config(**SMALL), folder=tmp_path / "run", quiet=True)
    pd.testing.assert_frame_equal(again.metrics, result.metrics, check_exact=True)
    pd.testing.assert_frame_equal(again.predictions, result.predictions, check_exact=True)


def test_a_cross_validation_has_the_folds_within_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(Pictures, "draw", one_pixel)
    split = {"name": "group_kfold", "folds": 2, "refit": True}
    result = bloodcell.train(**SMALL, split=split, folder=tmp_path / "run", quiet=True)
    assert set(result.history["fold"]) == {1, 2}
    assert len(result.outcome.folds) == 2
    assert result.model is not None
    assert "accuracy_fold_std" in result.metrics.loc["val"].index
    folds = pd.read_csv(result.folder / "artifacts" / "folds.csv")
    assert set(folds["best_epoch"]) <= set(result.history["epoch"]) == {1, 2}
    assert folds["val_accuracy"].tolist() == [fold.val.metrics["accuracy"] for fold in result.outcome.folds]
    for number in (1, 2):
        run = json.loads((result.folder / "folds" / str(number) / "run.json").read_text(encoding="utf-8"))
        assert run["metrics"]["val/accuracy"] == folds["val_accuracy"][number - 1]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"epoch": 3}, "epochs"),
        ({"epochs": 0}, "hyperparameters.epochs=0"),
        ({"head": "dens"}, "head=dens"),
        ({"head": {"hidden": [3]}}, "head.hidden"),
        ({"data": {"source": "folder"}}, "data.train_dir"),
        ({"backbone": {"name": "resnet9"}}, "backbone.name=resnet9"),
        ({"tracking": {}}, "tracking"),
        ({"config": train_config(), "epochs": 2}, "epochs"),
    ],
)
def test_what_is_wrong_with_a_setting_is_one_line_with_its_name(settings, named, tmp_path):
    with pytest.raises(UserError) as caught:
        bloodcell.train(**settings, folder=tmp_path / "run")
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match="folder="):
        bloodcell.train(**SMALL, folder=tmp_path)


def test_neither_mlflow_nor_hydra_is_imported_and_tensorflow_only_when_needed():
    program = """
import sys, bloodcell
heavy = ("tensorflow", "mlflow", "hydra", "pandas")
assert not [name for name in heavy if name in sys.modules], "by import bloodcell"
bloodcell.train
assert not [name for name in ("mlflow", "hydra") if name in sys.modules], "by bloodcell.train"
from bloodcell.config.keywords import train_config
train_config(backbone="xception", data="smears")
assert not [name for name in ("mlflow", "hydra") if name in sys.modules], "by train_config"
"""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
