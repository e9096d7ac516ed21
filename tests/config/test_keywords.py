"""Settings from keyword arguments, and defaults that are the command line's."""

import pytest

from bloodcell.config.composition import compose_config
from bloodcell.config.data import BccdData, FolderData
from bloodcell.config.finetune import FrozenPlan, GradualPlan, TopPlan
from bloodcell.config.keywords import train_config
from bloodcell.config.search import BayesianTuner, GridTuner, HyperbandTuner, RandomTuner, SearchConfig
from bloodcell.config.split import GroupHoldoutSplit, GroupKfoldSplit, NotebookSplit, RandomSplit
from bloodcell.config.training import OnTheFly, StoredFeatures, TrainConfig


def test_the_defaults_of_the_schema_are_what_conf_composes():
    assert compose_config("train") == TrainConfig()


@pytest.mark.parametrize(
    ("override", "default"),
    [
        ("split=group_holdout", GroupHoldoutSplit()),
        ("split=group_kfold", GroupKfoldSplit()),
        ("split=random", RandomSplit()),
        ("split=notebook", NotebookSplit()),
        ("finetune=none", FrozenPlan()),
        ("finetune=top", TopPlan()),
        ("finetune=gradual", GradualPlan()),
        ("features=stored", StoredFeatures()),
        ("features=on_the_fly", OnTheFly()),
    ],
)
def test_a_kind_of_settings_has_the_defaults_of_its_file(override, default):
    assert getattr(compose_config("train", [override]), override.partition("=")[0]) == default


def test_settings_of_images_have_the_defaults_of_their_files():
    composed = compose_config("train", ["data=folder", "data.train_dir=cells", "data.test_dir=null"])
    assert composed.data == FolderData(train_dir="cells")
    assert compose_config("train", ["data=bccd", "data.root=cells"]).data == BccdData(root="cells")


@pytest.mark.parametrize("tuner", [RandomTuner, BayesianTuner, HyperbandTuner, GridTuner])
def test_a_search_has_the_defaults_of_its_files(tuner):
    strategy = tuner(name="a", space={"head.dropout": {"float": [0.0, 0.1]}}).strategy
    composed = compose_config("search", [f"tuner={strategy}"])
    assert composed == SearchConfig(tuner=tuner(name=strategy, space=composed.tuner.space))


@pytest.mark.parametrize(
    ("settings", "overrides"),
    [
        ({}, []),
        ({"backbone": "Xception", "head": "dense"}, ["backbone=xception", "head=dense"]),
        ({"data": "smears"}, ["data=smears"]),
        ({"head": "probe", "augmentation": "flips"}, ["head=probe", "augmentation=flips"]),
        ({"backbone": "InceptionV3"}, ["backbone=application", "backbone.name=InceptionV3"]),
        ({"epochs": 3, "seed": 7}, ["hyperparameters.epochs=3", "hyperparameters.seed=7"]),
        ({"split": {"fraction": 0.3}}, ["split.fraction=0.3"]),
        ({"split": {"name": "group_kfold", "folds": 3}}, ["split=group_kfold", "split.folds=3"]),
        ({"debug": "limit"}, ["debug=limit"]),
        ({"debug": "limit", "epochs": 5}, ["debug=limit", "hyperparameters.epochs=5"]),
        ({"early_stopping": {"patience": None}}, ["hyperparameters.early_stopping.patience=null"]),
        ({"finetune": FrozenPlan(), "evaluate_test": False}, ["finetune=none", "evaluate_test=false"]),
        ({"head": {"hidden_units": [64]}}, ["head.hidden_units=[64]"]),
    ],
)
def test_keywords_are_the_overrides_of_the_command_line(settings, overrides):
    assert train_config(**settings) == compose_config("train", overrides)
