import dataclasses
import re
import subprocess

import pytest
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

import bloodcell.config.composition
from bloodcell.config.composition import VariedConfig, compose_config, parse_config
from bloodcell.config.conf_files import conf_dir, experiments_dir
from bloodcell.config.data import FolderData
from bloodcell.config.finetune import StagedPlan
from bloodcell.config.schemas import UiConfig
from bloodcell.config.split import GroupHoldoutSplit
from bloodcell.config.training import TrainConfig
from bloodcell.errors import UserError
from bloodcell.models.feature_sets import FEATURE_SETS

ROOT = ("data=bccd", "data.root=/cells")

GROUPS = {
    folder.name: [path.stem for path in sorted(folder.glob("*.yaml"))]
    for folder in sorted(conf_dir().iterdir())
    if folder.name in {field.name for field in dataclasses.fields(TrainConfig)} - {"data"}
}


@pytest.fixture
def experiments(tmp_path, monkeypatch):
    """A folder of experiments of this test alone."""
    monkeypatch.setattr(bloodcell.config.composition, "experiments_dir", lambda: tmp_path)
    before = ConfigStore.instance().repo.pop("experiment", None)
    yield tmp_path
    ConfigStore.instance().repo.pop("experiment", None)
    if before is not None:
        ConfigStore.instance().repo["experiment"] = before


def refusal(job, *overrides):
    with pytest.raises(UserError) as caught:
        compose_config(job, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_folders_are_those_of_the_checkout():
    assert (conf_dir() / "train.yaml").is_file()
    assert experiments_dir().parent == conf_dir().parent


def test_a_configuration_is_composed_into_the_jobs_dataclass():
    config = compose_config("train", [*ROOT, "backbone=xception", "hyperparameters.learning_rate=2e-4"])
    assert isinstance(config, TrainConfig)
    assert isinstance(config.split, GroupHoldoutSplit)
    assert (config.backbone.name, config.backbone.input_size) == ("Xception", 299)
    assert config.hyperparameters.learning_rate == 2e-4
    assert isinstance(compose_config("ui"), UiConfig)


def test_a_choice_brings_its_own_settings():
    config = compose_config("train", ["data=folder", "data.train_dir=a", "data.test_dir=b", "finetune=staged"])
    assert isinstance(config.data, FolderData)
    assert isinstance(config.finetune, StagedPlan)
    assert config.finetune.stages[0].batch_norm == "inference"


def test_folds_and_validation_images_of_ones_own_do_not_go_together():
    overrides = ["data=folder", "data.train_dir=a", "data.test_dir=b", "data.val_dir=c"]
    assert compose_config("train", overrides).data.val_dir == "c"
    message = refusal("train", *overrides, "split=group_kfold")
    assert message.startswith("data.val_dir=c: ")
    assert "split=group_kfold" in message


def test_a_backbone_is_spelt_as_keras_does():
    config = compose_config("train", [*ROOT, "backbone=application", "backbone.name=inceptionv3"])
    assert config.backbone.name == "InceptionV3"


@pytest.mark.parametrize("turn", range(max(map(len, GROUPS.values()))))
def test_every_choice_in_the_configuration_is_valid(turn):
    chosen = {group: choices[turn % len(choices)] for group, choices in GROUPS.items()}
    if chosen["backbone"] in FEATURE_SETS:
        chosen["finetune"] = "none"
    if chosen["debug"] == "overfit":  # validates on the training images
        chosen["split"] = "random"
    named = ["backbone.name=VGG16"] if chosen["backbone"] == "application" else []
    overrides = [f"{group}={choice}" for group, choice in chosen.items()]
    assert isinstance(compose_config("train", [*ROOT, *overrides, *named]), TrainConfig)


def test_an_experiment_overrides_choices_and_values(experiments):
    (experiments / "finer.yaml").write_text(
        "defaults:\n  - override /backbone: xception\nhyperparameters:\n  learning_rate: 2e-4\n", encoding="utf-8"
    )
    config = compose_config("train", [*ROOT, "experiment=finer"])
    assert (config.backbone.name, config.hyperparameters.learning_rate) == ("Xception", 2e-4)
    above = compose_config("train", [*ROOT, "experiment=finer", "backbone=resnet50"])
    assert above.backbone.name == "ResNet50"


def test_an_unknown_experiment_is_refused_with_the_nearest(experiments):
    (experiments / "finer.yaml").write_text("hyperparameters:\n  epochs: 3\n", encoding="utf-8")
    message = refusal("train", *ROOT, "experiment=fine")
    assert message.startswith("experiment=fine: ")
    assert "finer?" in message


def test_a_wrong_choice_inside_an_experiment_is_refused_with_the_nearest(experiments):
    (experiments / "bad.yaml").write_text("defaults:\n  - override /head: linaer\n", encoding="utf-8")
    message = refusal("train", *ROOT, "experiment=bad")
    assert message.startswith("head=linaer: ")
    assert "linear?" in message


def test_an_experiment_that_is_no_yaml_is_refused_with_its_line(experiments):
    (experiments / "bad.yaml").write_text("hyperparameters:\n  epochs: [3\nseed: 1\n", encoding="utf-8")
    assert "bad.yaml, line 3: " in refusal("train", *ROOT)


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["hyperparameters.lerning_rate=1"], ["hyperparameters.lerning_rate", "hyperparameters.learning_rate?"]),
        (["+hyperparameters.lerning_rate=1"], ["hyperparameters.lerning_rate", "hyperparameters.learning_rate?"]),
        (["backbon=xception"], ["backbon ", "train", "backbone?"]),
        (["seed=1"], ["seed ", "train", "split.seed or hyperparameters.seed?"]),
        (["xyz=1"], ["xyz ", "`bloodcell train --cfg job`"]),
        (["hydra.jop.name=x"], ["hydra.jop.name ", "hydra.job.name?"]),
        (["data.train_dir=x"], ["data.train_dir ", "data=folder", "data=bccd"]),
        (["finetune.stages.0.epochs=3"], ["finetune.stages.0.epochs ", "finetune=staged", "finetune=top"]),
        (["head=linaer"], ["head=linaer: ", "linear?", "dense, lda, linear, probe, ridge"]),
        (["hydra/launcher=jobli"], ["hydra/launcher=jobli: ", "joblib?", "basic, joblib"]),
        (["head=null"], ["head=null: ", "~GROUP"]),
        (["hyperparameters.learning_rate=-1"], ["hyperparameters.learning_rate=-1: ", "greater than 0"]),
        (["hyperparameters.epochs=many"], ["hyperparameters.epochs=many: ", "integer"]),
        (["hyperparameters.learning_rate=nan"], ["hyperparameters.learning_rate=nan: ", "finite"]),
        (["hyperparameters.optimizer=adm"], ["hyperparameters.optimizer=adm: ", "adam, adamw or sgd", "adam?"]),
        (["finetune.name=stagd"], ["finetune.name=stagd: ", "none, top, staged, gradual", "staged?"]),
        (["tracking.run_name=5"], ["tracking.run_name=5: ", """"tracking.run_name='5'\""""]),
        (["tracking.run_name=''"], ["tracking.run_name='': ", "1 character"]),
        (["head.hidden_units=5"], ["head.hidden_units=5: ", "[5]"]),
        (
            ["finetune=staged", "finetune.stages.0.learning_rate=-1"],
            ["finetune.stages.0.learning_rate=-1: ", "greater than 0"],
        ),
        (["finetune=staged", "+finetune.stages.1.layer=x"], ["finetune.stages.1: ", "layer, block and fraction"]),
        (["finetune=staged", "finetune.stages=[]"], ["finetune.stages: ", "1 item"]),
        (["~data.root"], ["data.root ", "data.root=VALUE"]),
        (["hyperparameters.epochs=0", "head.dropout=2", "split.fraction=1"], ["split.fraction=1: ", "2 more"]),
        (["data.groups=pattern"], ["data.groups_pattern=null: ", "data.groups=pattern", "regular expression"]),
        (["data.groups=column"], ["data.groups_file=null: ", "data.groups=column", "data.groups_column"]),
        (["data.groups_file=a.csv"], ["data.groups_file=a.csv: ", "data.groups=column", "data.groups=recover"]),
        (
            ["data.groups=none", "data.groups_pattern='(.)'"],
            ["data.groups_pattern=(.): ", "data.groups=pattern", "data.groups=none"],
        ),
        (["data.groups=pattern", "data.groups_pattern=abc"], ["data.groups_pattern=abc: ", "parentheses"]),
        (["data.groups=pattern", "data.groups_pattern='(a'"], ["data.groups_pattern=(a: ", "missing )", "position 0"]),
        (["data.photographs=pattern"], ["data.photographs_pattern=null: ", "data.photographs=pattern"]),
        (
            ["data.photographs=groups"],
            ["data.photographs=groups: ", "data.groups=column, pattern, folder", "data.groups=recover"],
        ),
        (
            ["data.groups=recove"],
            ["data.groups=recove: ", "known, recover, column, pattern, folder or none", "recover?"],
        ),
        (["split=group_kfold", "debug=overfit"], ["debug.overfit_images=16: ", "split=group_kfold"]),
        (["hyperparameters.cutmix=1"], ["hyperparameters.cutmix=1: ", "features=on_the_fly", "hyperparameters.mixup"]),
        (
            ["hyperparameters.cutmix=1", "features=on_the_fly", "backbone=morphology"],
            ["hyperparameters.cutmix: ", "backbone=morphology"],
        ),
        (["split=group_kfold", "split.folds=1"], ["split.folds=1: ", "equal to 2"]),
        (["backbone"], ["backbone: ", "backbone=VALUE"]),
        (["tracking.dir=a(b"], ["tracking.dir=a(b: ", """"tracking.dir='a(b'\""""]),
        (["head=dense,linear"], ["head=dense,linear: ", "-m", "'head=[dense,linear]'"]),
        (["tracking.dir=${oc.env:BLOODCELL_NOT_SET}"], ["tracking.dir: ", "BLOODCELL_NOT_SET"]),
    ],
)
def test_a_mistake_is_named_in_one_line(overrides, parts):
    message = refusal("train", *ROOT, *overrides)
    assert message.startswith(parts[0])
    assert [part for part in parts if part not in message] == []


def test_a_missing_value_is_an_error_with_its_meaning():
    message = refusal("train", "data=bccd")
    assert message.startswith("data.root ")
    assert "data.root=VALUE" in message
    assert "TRAIN and TEST" in message
    assert "1 more" in refusal("train", "data=folder")


def test_a_class_of_keras_given_as_a_choice_is_led_to_the_choice_that_takes_it():
    message = refusal("train", *ROOT, "backbone=inceptionv3")
    assert "did you mean backbone=application backbone.name=InceptionV3?" in message
    message = refusal("train", *ROOT, "backbone=mobilnetv2")
    assert message.startswith("backbone=mobilnetv2: ")
    assert "mobilenetv2?" in message
    assert "keras.applications" in message


def test_a_name_that_keras_does_not_have_is_refused():
    message = refusal("train", *ROOT, "backbone=application", "backbone.name=Xcepton")
    assert message.startswith("backbone.name=Xcepton: ")
    assert "Xception" in message


def test_a_group_of_another_job_is_no_setting():
    assert refusal("ui", "backbone=xception").startswith("backbone ")


def test_an_unknown_job_is_refused_with_the_nearest():
    assert "train?" in refusal("trian")


def test_hydras_own_node_is_not_part_of_a_jobs_configuration():
    config = OmegaConf.create({"hydra": {"job": {}}, "host": "h", "tracking": {}})
    with pytest.raises(UserError, match=r"^port "):
        parse_config("ui", config)


def test_what_is_fitted_to_validation_needs_predictions_out_of_fold():
    assert compose_config("train", [*ROOT, "ensemble=soft"]).ensemble == "soft"
    assert compose_config("train", [*ROOT, "ensemble=greedy", "split=group_kfold"]).ensemble == "greedy"
    message = refusal("train", *ROOT, "ensemble=greedy")
    assert message.startswith("ensemble=greedy: ")
    assert "split=group_kfold" in message


@pytest.mark.parametrize("name", ["mixup", "weight_averaging", "weight_decay"])
def test_what_does_nothing_to_a_solved_head_is_refused(name):
    given = f"hyperparameters.{name}=0.1"
    message = refusal("train", *ROOT, "head=probe", given)
    assert message.startswith(f"{given}: ")
    assert "head.solver=gradient" in message
    staged = compose_config("train", [*ROOT, "head=probe", "finetune=staged", given])
    assert getattr(staged.hyperparameters, name) == 0.1


@pytest.mark.parametrize(
    "value", ["it's", "a,b", "c,d'e", "x=y", "[a", 'say "hi"', "{a: b", "back\\slash'", "a, b", "(x"]
)
def test_the_advice_on_quotes_works_when_pasted_into_a_shell(value):
    with pytest.raises(UserError) as refused:
        compose_config("train", ["data=bccd", f"data.root={value}"])
    (advice,) = re.findall(r"(?:is text, write|for text) (.+)", str(refused.value))
    pasted = subprocess.run(["sh", "-c", f"printf %s {advice}"], capture_output=True, text=True, check=True).stdout
    assert compose_config("train", ["data=bccd", pasted]).data.root == value


@pytest.mark.parametrize(
    "further",
    [
        ["head.dropout=0.3", "hyperparameters.learning_rate=0.003", "head.hidden_units=[64]"],
        ["head=probe", "hyperparameters.seed=7"],
        ["finetune=staged", "backbone=xception"],
        [],
    ],
)
def test_a_varied_configuration_is_that_of_all_overrides(further: list[str]) -> None:
    overrides = ["data=smears", "hyperparameters.epochs=3"]
    varied = VariedConfig("search", overrides)
    assert varied.with_overrides(["head.dropout=0.1"]).head.dropout == 0.1
    assert varied.with_overrides(further) == compose_config("search", [*overrides, *further])


@pytest.mark.parametrize("wrong", ["head.dropou=0.3", "head.dropout=3", "head.dropout=[", "head=none_such"])
def test_an_error_in_a_varied_configuration_is_explained_as_in_a_command(wrong: str) -> None:
    with pytest.raises(UserError) as expected:
        compose_config("search", [wrong])
    with pytest.raises(UserError) as found:
        VariedConfig("search", []).with_overrides([wrong])
    assert str(found.value) == str(expected.value)
