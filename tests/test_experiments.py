"""The named experiments: what their files pin, and what a sweep that one of them brings leaves."""

import re

import numpy as np
import pandas as pd
import pytest
from commands import run, small_network
from PIL import Image
from stores import artifacts_of, runs_in

from bloodcell.config.composition import compose_config
from bloodcell.config.conf_files import experiments_dir
from bloodcell.errors import UserError
from bloodcell.evaluation.outcome import evaluate_outcome
from bloodcell.evaluation.predictions import predictions_table
from bloodcell.experiment import training
from bloodcell.experiment.fold import FoldResult
from bloodcell.experiment.outcome import keep_outcome
from bloodcell.jobs import train
from bloodcell.tracking import study


@pytest.fixture
def configurations(monkeypatch):
    """The configurations that the train job would have been run with."""
    kept = []
    monkeypatch.setattr(train, "run", lambda config, **_: kept.append(config) or 0.0)
    return kept


@pytest.fixture(scope="module")
def leakage(bccd, tmp_path_factory):
    """The leakage study on few images, with chance in the place of training, which other tests do."""
    folder = tmp_path_factory.mktemp("leakage")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train_fold", guess)
        completed = run(["train", "-m", "experiment=leakage", *small_network(bccd)], cwd=folder)
    assert completed.returncode == 0, completed.stderr
    return completed, *runs_in(folder)


def guess(recorder, learner, *, prepared, config, **_):
    """Keep what a model that guesses would have left."""
    images, rng = prepared.images, np.random.default_rng(0)
    parts = {split: images.part(split) for split in ("val", "test")}
    tables = {
        split: predictions_table(
            manifest=part, probabilities=rng.dirichlet(np.ones(4), len(part)), classes=images.classes
        )
        for split, part in parts.items()
    }
    outcome = evaluate_outcome(tables, classes=images.classes, training=images.part("train"), leakage=prepared.leakage)
    keep_outcome(recorder, outcome, images=images)
    recorder.log_metrics({"train_seconds": 1.0}, prefix="cost")
    return FoldResult(
        outcome=outcome,
        cost={},
        history=pd.DataFrame({"epoch": [0]}),
        best_epoch=0,
        features="",
        model_uri="",
    )


@pytest.mark.parametrize("name", sorted(path.stem for path in experiments_dir().glob("*.yaml")))
def test_every_experiment_can_be_composed(name):
    compose_config("train", ["data=bccd", "data.root=/cells", f"experiment={name}"])


def test_the_leakage_study_compares_two_splits_and_changes_nothing_else(configurations, tmp_path):
    run(
        [
            "train",
            "-m",
            "~hydra.callbacks.study",
            "baselines=[]",
            "data=bccd",
            "data.root=/cells",
            "experiment=leakage",
        ],
        cwd=tmp_path,
    )
    random, whole = configurations
    assert (random.split.name, whole.split.name) == ("random", "group_holdout")
    assert (random.split.fraction, random.split.seed) == (whole.split.fraction, whole.split.seed)
    for part in ("data", "backbone", "head", "hyperparameters", "augmentation", "finetune", "debug"):
        assert getattr(random, part) == getattr(whole, part)
    assert (whole.head.hidden_units, whole.finetune.name) == ((), "none")
    assert not whole.hyperparameters.early_stopping.restore_best


def test_the_backbones_study_changes_nothing_but_backbone_and_split(configurations, tmp_path):
    run(
        [
            "train",
            "-m",
            "~hydra.callbacks.study",
            "baselines=[]",
            "data=bccd",
            "data.root=/cells",
            "experiment=backbones",
        ],
        cwd=tmp_path,
    )
    chosen = [(config.split.name, config.backbone.name) for config in configurations]
    backbones = ("MobileNetV2", "Xception", "ResNet50")
    assert chosen == [(split, name) for split in ("notebook", "group_kfold") for name in backbones]
    for part in ("data", "head", "hyperparameters", "augmentation", "finetune", "debug"):
        assert len({str(getattr(config, part)) for config in configurations}) == 1
    assert {config.backbone.interpolation for config in configurations} == {"nearest"}


def test_the_command_line_has_the_last_word_on_what_an_experiment_sweeps(monkeypatch, tmp_path):
    def refuse(*, overrides, **_):
        raise UserError(" ".join(overrides))

    monkeypatch.setattr(study, "start_study", refuse)
    completed = run(
        ["train", "-m", "data=bccd", "data.root=/cells", "experiment=leakage", "split=group_holdout,random"],
        cwd=tmp_path,
    )
    assert completed.stderr == "bloodcell: split=group_holdout,random\n"


def test_the_leakage_study_is_a_parent_run_with_a_run_for_each_split_and_marks_the_leaky_one(leakage):
    completed, parent, random, whole = leakage
    assert parent.info.run_name == "sweep: split"
    assert parent.data.metrics["runs/finished"] == 2
    assert "2 of 2 runs finished" in completed.stdout
    assert [random.info.run_name, whole.info.run_name] == ["random", "group_holdout"]
    assert [child.data.tags["leaky"] for child in (random, whole)] == ["true", "false"]
    assert "random * " in completed.stdout
    assert "group_holdout * " not in completed.stdout
    assert re.search("^\\* ", completed.stdout, flags=re.MULTILINE)  # what the mark means


def test_both_splits_are_tested_on_the_same_images_and_validated_on_as_many(leakage):
    _, _, random, whole = leakage
    tables = [pd.read_parquet(artifacts_of(child) / "manifest.parquet") for child in (random, whole)]
    paths = [set(table.loc[table["split"] == "test", "path"]) for table in tables]
    assert paths[0] == paths[1]
    assert [(table["split"] == "val").sum() for table in tables] == [8, 8]


def test_a_study_logs_the_intervals_of_its_runs_and_draws_them(leakage):
    _, parent, *children = leakage
    board = pd.read_csv(artifacts_of(parent) / "leaderboard.csv").set_index("run_id")
    for child in children:
        for split in ("val", "test"):
            for name in ("accuracy", "photograph_accuracy"):
                low, value, high = (
                    board.loc[child.info.run_id, f"{split}_{name}{end}"] for end in ("_low", "", "_high")
                )
                assert low <= value <= high
                assert high == child.data.metrics[f"{split}/{name}_high"]
    with Image.open(artifacts_of(parent) / "plots" / "leaderboard.png") as picture:
        assert picture.width > 500
