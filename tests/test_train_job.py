"""The main job from the command line to the store, as a user would run it."""

import json
import shutil
import signal
from pathlib import Path
from typing import NamedTuple

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from commands import run, small, small_network, start
from mlflow import MlflowClient
from mlflow.entities import Run
from stores import artifacts_of, look_into, model_address, runs_in

from bloodcell.evaluation.predictions import label_indices
from bloodcell.evaluation.temperature import fit_temperature, with_temperature
from bloodcell.images.reading import read_image
from bloodcell.smears import CLASSES

FINE_TUNED = ["explain=single", "finetune=gradual", "finetune.blocks=1", "finetune.epochs=1", "augmentation=standard"]
METRICS = (
    *("accuracy", "balanced_accuracy", "macro_f1", "auroc", "cohen_kappa", "log_loss", "brier"),
    *("ece", "ece_by_chance", "calibration_error"),
)


class Done(NamedTuple):
    """A finished run and the output of the command."""

    run: Run
    artifacts: Path
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    return tmp_path_factory.mktemp("workplace")


@pytest.fixture(scope="module")
def finished(workplace, bccd):
    """A training, and the same for machines, its held-out images seen in four views, without what was explained."""
    done = []
    for flags in ([], ["--json", "views_at_test=flips", "explain=none"]):
        completed = run(["train", *small_network(bccd), *FINE_TUNED, *flags], cwd=workplace, drawn=not flags)
        assert completed.returncode == 0, completed.stderr
        newest = runs_in(workplace)[-1]
        done.append(Done(newest, artifacts_of(newest), completed.stdout, completed.stderr))
    return done


@pytest.fixture(scope="module")
def first(finished):
    return finished[0]


def test_a_run_ends_with_a_table_with_the_baseline_and_the_mlflow_ui(first):
    assert "majority class" in first.stdout
    assert all(len(line) <= 80 for line in first.stdout.splitlines() if line.startswith(("│", "┃")))
    assert "expected calibration error" in first.stdout
    assert "debiased, root mean square" in first.stdout
    assert "bloodcell ui" in first.stdout
    assert "mlflow.tensorflow.load_model" in first.stdout


def test_a_run_split_by_photograph_is_not_leaky_and_has_the_origin_of_its_groups(first):
    assert "Warning" not in first.stdout
    assert "validation *" not in first.stdout
    assert first.run.data.tags["leaky"] == "false"
    assert first.run.data.tags["groups"] == "pattern"


def test_a_run_shows_its_figures_by_photograph_too(first):
    assert "accuracy by photograph" in first.stdout
    assert "photographs" in first.stdout
    metrics = first.run.data.metrics
    # Each image is a photograph of its own here.
    assert (metrics["val/photographs"], metrics["test/photographs"]) == (8, 20)
    assert metrics["test/photograph_accuracy"] == metrics["test/accuracy"]
    assert first.run.data.params["photographs.train"] == "32"


def test_a_run_has_intervals_of_its_accuracies(first):
    metrics = first.run.data.metrics
    for split in ("val", "test"):
        for name in ("accuracy", "photograph_accuracy"):
            low, high = metrics[f"{split}/{name}_low"], metrics[f"{split}/{name}_high"]
            assert 0 <= low <= metrics[f"{split}/{name}"] <= high <= 1
            assert low < high
    assert not [name for name in metrics if "/majority_class/" in name and name.endswith(("_low", "_high"))]
    ends = f"{metrics['test/accuracy_low']:.2f} to {metrics['test/accuracy_high']:.2f}"
    assert first.stdout.count("95 % interval") == 2
    assert ends in first.stdout
    described = first.run.data.tags["mlflow.note.content"]
    assert f"accuracy {metrics['test/accuracy']:.3f} ({ends}) on 20 images" in described


def test_a_run_ends_with_the_confusion_matrix_and_commands_to_try_next(first):
    for split in ("Validation", "Test"):
        assert f"{split}: confusion matrix" in first.stdout
    _, _, end = first.stdout.partition("Try next\n")
    commands = [line.partition("bloodcell ")[2] for line in end.splitlines()]
    assert len(commands) == 3
    assert all(command.startswith("train ") and "backbone.input_size=32" in command for command in commands)


def test_a_run_prints_the_path_of_its_log(first):
    (line,) = (line for line in first.stdout.splitlines() if line.startswith("Log "))
    assert Path(line.removeprefix("Log").strip()).read_text(encoding="utf-8")


def test_a_run_tells_machines_its_figures_where_it_is_and_what_to_try_next(finished):
    first, second = finished
    document = json.loads(second.stdout)
    assert (document["job"], document["run_id"]) == ("train", second.run.info.run_id)
    assert document["metrics"]["test"]["accuracy"] == second.run.data.metrics["test/accuracy"]
    assert np.trace(document["confusion"]["test"]) == round(20 * document["metrics"]["test"]["accuracy"])
    assert Path(document["folder"]).is_dir()
    assert Path(document["log"]).is_file()
    assert document["models"][0].startswith("models:/")
    assert len(document["try_next"]) == 3
    assert "majority class" in second.stderr
    assert "majority class" in first.stdout


def test_libraries_keep_to_themselves(first):
    lines = first.stderr.splitlines()
    phases = ("computing metrics", "measuring speed and size", "explaining predictions", "drawing pictures")
    assert all(line.startswith(("head: ", "from block5: ", *phases)) for line in lines), lines


def test_a_run_logs_its_parameters_without_those_of_the_store(first):
    parameters = first.run.data.params
    assert parameters["hyperparameters.learning_rate"] == "0.001"
    assert parameters["backbone.name"] == "VGG16"
    assert parameters["finetune.blocks"] == "1"
    assert parameters["images.train"] == "32"
    assert not [name for name in parameters if name.startswith("tracking")]


def test_a_run_logs_every_metric_of_validation_test_and_baseline(first):
    for part in ("val", "test", "val/majority_class", "test/majority_class"):
        for metric in METRICS:
            assert f"{part}/{metric}" in first.run.data.metrics
    assert first.run.data.metrics["test/majority_class/accuracy"] == 0.25
    for cost in ("parameters", "flops", "megabytes", "images_per_second", "train_seconds"):
        assert first.run.data.metrics[f"cost/{cost}"] > 0


def test_a_second_run_uses_the_features_of_the_first_and_reports_it(finished):
    first, second = (done.run.data for done in finished)
    assert first.metrics["cost/features_computed"] > 0
    assert second.metrics["cost/features_computed"] == 3 * 28  # the other views of held-out images
    assert first.tags["features"].startswith("head: stored (openvino")
    assert "4 views of each image" in first.tags["features"]


def test_epochs_of_all_stages_are_on_one_continuous_axis(first, workplace):
    look_into(workplace)
    history = MlflowClient().get_metric_history(first.run.info.run_id, "epoch/val_loss")
    assert [point.step for point in history] == [0, 1]
    stages = pd.read_csv(first.artifacts / "history.csv")["stage"].tolist()
    assert stages == ["head", "from block5"]


def test_a_run_logs_its_code_data_weights_and_machine(first):
    tags = first.run.data.tags
    assert len(tags["git_commit"]) == 40 or "installed" in tags["git_commit"]
    assert tags["weights"] == "random"
    assert len(tags["weights_digest"]) == 16
    assert tags["seed"] == "0"
    assert "cores" in tags["machine"]
    assert "keras 3." in tags["versions"]
    given = first.run.inputs.dataset_inputs
    assert {each.tags[0].value for each in given} == {"training", "validation", "test"}
    assert {each.dataset.digest for each in given} == {tags["data_digest"]}
    assert "test: accuracy" in tags["mlflow.note.content"]


def test_a_run_logs_its_plots_reports_and_tables(first):
    kept = {str(path.relative_to(first.artifacts)) for path in first.artifacts.rglob("*") if path.is_file()}
    pictures = {"learning_curves", "architecture", "augmentation", "explanations_errors", "explanations_classes"}
    pictures |= {f"{kind}_{split}" for kind in ("confusion", "per_class", "errors") for split in ("val", "test")}
    assert {f"plots/{name}.png" for name in pictures} <= kept
    assert {f"report/{split}.{kind}" for split in ("val", "test") for kind in ("txt", "json")} <= kept
    assert {"config.yaml", "metrics.json", "history.csv", "manifest.parquet", "predictions.parquet"} <= kept
    assert "NaN" not in (first.artifacts / "metrics.json").read_text()  # is no JSON


def test_a_run_measures_whether_heat_is_on_the_cell(first):
    metrics = {name: value for name, value in first.run.data.metrics.items() if name.startswith("explain/")}
    assert metrics["explain/photographs"] + metrics["explain/without_nucleus"] == 8
    assert 0 <= metrics["explain/peak_on_nucleus"] <= metrics["explain/peak_on_cell"] <= 1
    assert 0 < metrics["explain/nucleus_area"] < metrics["explain/cell_area"] < 0.5


def test_the_kept_configuration_is_the_resolved_one(first):
    config = yaml.safe_load((first.artifacts / "config.yaml").read_text())
    assert config["finetune"]["learning_rate"] == 1e-4
    assert config["hyperparameters"]["early_stopping"]["patience"] == 5


def test_predictions_are_kept_for_every_image_that_was_held_out(first, bccd):
    table = pd.read_parquet(first.artifacts / "predictions.parquet")
    classes = sorted(folder.name for folder in (bccd / "TEST").iterdir())
    assert list(table) == ["path", "label", "source", "group", "split", "fold", *(f"p_{label}" for label in classes)]
    assert table["split"].value_counts().to_dict() == {"test": 20, "val": 8}
    probabilities = table[[f"p_{label}" for label in classes]].to_numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    accuracy = (np.array(classes)[probabilities.argmax(axis=1)] == table["label"])[table["split"] == "test"].mean()
    assert accuracy == first.run.data.metrics["test/accuracy"]


def test_a_reloaded_model_predicts_from_raw_images_what_the_run_logged(first, bccd, workplace):
    look_into(workplace)
    table = pd.read_parquet(first.artifacts / "predictions.parquet").sample(6, random_state=0)
    logged = table.filter(like="p_").to_numpy()
    images = np.stack([read_image(bccd / path) for path in table["path"]])
    address = model_address(first.run)
    keras_model = mlflow.tensorflow.load_model(address)
    np.testing.assert_allclose(keras_model.predict(images, verbose=0), logged, atol=1e-5)


def test_a_kept_model_answers_for_image_files_with_calibrated_probabilities(first, bccd, workplace):
    look_into(workplace)
    table = pd.read_parquet(first.artifacts / "predictions.parquet").sample(6, random_state=0)
    address = model_address(first.run)
    model = mlflow.pyfunc.load_model(address)
    files = pd.DataFrame({"image": [(bccd / path).read_bytes() for path in table["path"]]})
    temperature = model._model_impl.serving.temperature
    answered = model.predict(files)
    logged = with_temperature(table.filter(like="p_").to_numpy(), temperature)
    np.testing.assert_allclose(answered.filter(like="p_"), logged, atol=1e-5)
    assert answered["predicted"].tolist() == [CLASSES[index] for index in logged.argmax(axis=1)]
    held_out = pd.read_parquet(first.artifacts / "predictions.parquet").query("split == 'val'")
    assert temperature == fit_temperature(
        labels=label_indices(held_out, CLASSES),
        probabilities=held_out.filter(like="p_").to_numpy(),
        groups=held_out["group"],
    )


def test_a_kept_model_knows_its_classes_its_input_and_an_example(first, workplace):
    look_into(workplace)
    information = mlflow.models.get_model_info(model_address(first.run))
    assert information.metadata["classes"] == ["EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"]
    assert information.signature.inputs.to_dict() == [{"type": "binary", "name": "image", "required": True}]
    assert information.saved_input_example_info is not None


def test_the_same_configuration_gives_the_same_numbers_to_the_last_digit(finished):
    parts = ("val/", "test/", "calibrated/", "epoch/")
    metrics = [
        {name: value for name, value in done.run.data.metrics.items() if name.startswith(parts)} for done in finished
    ]
    assert metrics[0] == metrics[1]
    tables = [pd.read_parquet(done.artifacts / "predictions.parquet") for done in finished]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


@pytest.fixture(scope="module")
def copies(bccd, tmp_path_factory):
    """Images whose names say their photograph: three of each, and in test one that training has too."""
    root = tmp_path_factory.mktemp("copies")
    for split, numbers in (("TRAIN", range(9)), ("TEST", range(3))):
        for folder in sorted((bccd / split).iterdir()):
            (root / split / folder.name).mkdir(parents=True)
            for number, file in zip(numbers, sorted(folder.iterdir()), strict=False):
                photograph = f"photo{number // 3}" if split == "TRAIN" or number == 0 else f"test{number}"
                shutil.copy(file, root / split / folder.name / f"{folder.name}-{photograph}-{number}.jpeg")
    return root


BY_NAME = "data.groups_pattern='/([A-Z]+-[a-z0-9]+)-'"


@pytest.fixture(scope="module")
def turned(finished):
    return finished[1]


def test_views_of_held_out_images_are_evaluated_separately(first, turned):
    metrics = turned.run.data.metrics
    of_views = {name.removeprefix("val_views/") for name in metrics if name.startswith("val_views/")}
    assert {"accuracy", "accuracy_low", "photograph_accuracy", "photograph_accuracy_high", "log_loss"} <= of_views
    assert metrics["test_views/log_loss"] != metrics["test/log_loss"]
    assert not any("views" in name for name in first.run.data.metrics)


def test_predictions_from_several_views_are_kept_in_a_table_of_their_own(first, turned):
    plain, mean = (pd.read_parquet(turned.artifacts / f"predictions{name}.parquet") for name in ("", "_views"))
    assert not (first.artifacts / "predictions_views.parquet").exists()
    pd.testing.assert_frame_equal(mean.iloc[:, :5], plain.iloc[:, :5])
    probabilities = mean.filter(like="p_")
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert not np.allclose(probabilities, plain.filter(like="p_"), atol=1e-4)


def test_the_table_of_figures_shows_the_mean_of_views(turned):
    assert turned.stderr.count("mean of views") == 3
    assert all(len(line) <= 80 for line in turned.stderr.splitlines() if line.startswith(("│", "┃")))


def test_photographs_on_two_sides_of_the_data_are_refused_before_anything_starts(copies, tmp_path):
    completed = run(["train", *small(copies), BY_NAME], cwd=tmp_path)
    assert completed.returncode == 2
    (line,) = completed.stderr.splitlines()
    assert line.startswith("bloodcell: data.on_shared_groups=error: ")
    assert all(part in line for part in ("4 photographs", "12 of 36", "4 of 12", "EOSINOPHIL-photo0-0.jpeg"))
    assert list(tmp_path.iterdir()) == []


def test_photographs_on_two_sides_can_be_left_out_of_training_and_are_counted_and_listed(copies, tmp_path):
    completed = run(["train", *small(copies), BY_NAME, "data.on_shared_groups=drop"], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert "Excluded, photograph or group in another split: 12, listed in shared_images.csv." in completed.stdout
    (kept,) = runs_in(tmp_path)
    assert kept.data.tags["leaky"] == "false"
    assert (kept.data.params["images.left_out"], kept.data.params["images.train"]) == ("12", "12")
    listed = pd.read_csv(artifacts_of(kept) / "shared_images.csv")
    assert listed["group"].tolist() == [f"{label}-photo0" for label in sorted(set(listed["label"])) for _ in range(3)]
    manifest = pd.read_parquet(artifacts_of(kept) / "manifest.parquet")
    assert (manifest.groupby("group")["split"].nunique() == 1).all()


def test_a_split_by_file_is_marked_with_the_number_of_images_with_a_copy(copies, tmp_path):
    completed = run(["train", *small(copies), BY_NAME, "data.on_shared_groups=allow", "split=notebook"], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    sentence = (
        "4 of 4 validation images have a copy in training; "
        "4 of 12 test images have a copy in training; "
        "4 of 12 test images have a copy in validation: metrics are inflated by leakage."
    )
    assert completed.stderr.splitlines()[0] == f"bloodcell: warning: {sentence}"
    assert f"Warning: {sentence}" in completed.stdout
    assert "validation *" in completed.stdout
    assert "test *" in completed.stdout
    (kept,) = runs_in(tmp_path)
    assert kept.data.tags["leaky"] == "true"
    assert sentence in kept.data.tags["mlflow.note.content"]


def test_a_run_with_unknown_groups_reports_that_leakage_is_unknown(bccd, tmp_path):
    completed = run(["train", *small(bccd), "data.groups=none", "data.groups_pattern=null"], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert "data.groups=none" in completed.stdout
    assert "validation ?" in completed.stdout
    (kept,) = runs_in(tmp_path)
    assert (kept.data.tags["leaky"], kept.data.tags["groups"]) == ("unknown", "none")


def test_a_run_with_an_infinite_loss_ends_as_failed_with_the_reason(bccd, tmp_path):
    explode = ["hyperparameters.optimizer=sgd", "hyperparameters.learning_rate=1e30", "hyperparameters.epochs=3"]
    completed = run(["train", *small(bccd), "head=dense", *explode], cwd=tmp_path)
    assert completed.returncode == 2
    assert "hyperparameters.learning_rate" in completed.stderr.splitlines()[-1]
    (failed,) = runs_in(tmp_path)
    assert failed.info.status == "FAILED"
    assert "learning rate" in failed.data.tags["reason"]


def test_a_terminated_run_ends_as_killed_with_its_checkpoint(bccd, tmp_path):
    process = start(["train", *small(bccd), "head=dense", "hyperparameters.epochs=5000"], cwd=tmp_path)
    for line in process.stderr:
        if "epoch 2/" in line:
            break
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stderr
    assert "Traceback" not in stderr
    (killed,) = runs_in(tmp_path)
    assert killed.info.status == "KILLED"
    assert list(tmp_path.glob("outputs/*/*/checkpoints/last.weights.h5"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["data.root=nowhere"], "data.root=nowhere: no such folder"),
        (["backbone.weights=nowhere.h5"], "nowhere.h5"),
        (["finetune=staged", "finetune.stages=[{block: block_99, epochs: 1, learning_rate: 1e-4}]"], "block_99"),
        (["backbone.input_size=20"], "backbone.input_size=20"),
        (["tracking.dir=/proc/nowhere"], "tracking.dir=/proc/nowhere"),
        (["tracking.uri=http://127.0.0.1:9"], "tracking.uri=http://127.0.0.1:9"),
        (["tracking=server"], "tracking.uri is not set"),
        (["hydra.run.dir=/proc/nowhere"], "hydra.run.dir=/proc/nowhere"),
    ],
)
def test_a_users_error_is_one_line_and_leaves_nothing_behind(bccd, tmp_path, monkeypatch, wrong, message):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    completed = run(["train", *small_network(bccd), *wrong], cwd=tmp_path)
    assert completed.returncode == 2
    assert completed.stdout == ""
    (line,) = completed.stderr.splitlines()
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_the_message_names_the_environment_variable_of_a_server(bccd, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    completed = run(["train", *small(bccd)], cwd=tmp_path)
    assert completed.returncode == 2
    assert "MLFLOW_TRACKING_URI=http://127.0.0.1:9: cannot be opened" in completed.stderr
    assert "refused" in completed.stderr


def test_a_parent_run_that_is_not_there_is_refused(bccd, tmp_path):
    completed = run(
        ["train", *small(bccd), "tracking.parent_run=nobody", f"tracking.dir={tmp_path}/kept"], cwd=tmp_path
    )
    assert completed.returncode == 2
    assert "tracking.parent_run=nobody" in completed.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_weights_are_checked_before_any_image_is_read(bccd, tmp_path):
    (tmp_path / "TRAIN" / "a").mkdir(parents=True)
    (tmp_path / "broken.h5").write_text("no weights")
    for weights in ("nowhere.h5", "broken.h5"):
        words = ["data=bccd", "data.root=nowhere", f"backbone.weights={weights}"]
        completed = run(["train", *words], cwd=tmp_path)
        assert completed.returncode == 2
        (line,) = completed.stderr.splitlines()
        assert line.startswith(f"bloodcell: backbone.weights={weights}: ")
