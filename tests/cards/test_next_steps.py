"""What a training says to try next."""

import shlex

import pytest
from commands import run

from bloodcell.cards.next_steps import suggestions
from bloodcell.config.command import Command
from bloodcell.config.composition import compose_config
from bloodcell.data.leaks import Leakage

CLEAN = Leakage(shared=(), split_by_file=False, groups_known=True)


def tried(*overrides: str, leakage: Leakage = CLEAN, weights: str = "imagenet", **given: object) -> list[str]:
    config = compose_config("train", ["data=bccd", "data.root=/my cells", *overrides])
    command = Command(
        overrides=["data=bccd", "data.root=/my cells", *overrides], choices={"backbone": "mobilenetv2"} | given
    )
    return [each.command for each in suggestions(config, leakage=leakage, weights=weights, given=command)]


def test_a_plain_run_gets_three_suggestions():
    assert tried("finetune=none", "crop=none") == [
        "bloodcell train data=bccd 'data.root=/my cells' finetune=none crop=nucleus",
        "bloodcell train data=bccd 'data.root=/my cells' crop=none finetune=top",
        "bloodcell train -m data=bccd 'data.root=/my cells' finetune=none crop=none backbone=mobilenetv2,xception",
    ]


def test_settings_of_a_replaced_choice_are_removed():
    first, *_ = tried("split.fraction=0.3", "split.seed=4", "crop=nucleus", "finetune=staged", "hyperparameters.seed=1")
    assert first == (
        "bloodcell train data=bccd 'data.root=/my cells' crop=nucleus finetune=staged hyperparameters.seed=1 "
        "split=group_kfold"
    )


@pytest.mark.parametrize(
    ("leakage", "change"),
    [
        (Leakage(shared=(), split_by_file=True, groups_known=True), "split=group_holdout"),
        (Leakage(shared=(), split_by_file=False, groups_known=False), "data.groups=recover"),
    ],
)
def test_leakage_comes_first(leakage, change):
    assert tried(leakage=leakage)[0].endswith(change)


def test_random_weights_give_way_to_pretrained_ones():
    assert tried("backbone.weights=null", weights="random")[0].endswith(" backbone.weights=auto")
    assert "backbone.weights=null" not in tried("backbone.weights=null", weights="random")[0]
    assert "backbone.weights" not in " ".join(tried(weights="mine.weights.h5"))


def test_nothing_is_suggested_that_has_to_be_downloaded_where_nothing_could_be():
    assert tried(weights="smears")[-1].endswith(" backbone=mobilenetv2,mobilenetv2_inner")
    assert "imagenet" not in " ".join(tried(weights="smears"))


def test_another_class_of_keras_is_not_swept_under_its_name():
    overrides = ["backbone=application", "backbone.name=VGG16"]
    assert tried(*overrides, backbone="application")[-1].endswith("/my cells' backbone=mobilenetv2,xception")


def test_a_small_run_gets_the_advice_to_run_it_completely():
    assert (
        tried("debug=limit", "debug.limit_per_class=9")[0]
        == "bloodcell train data=bccd 'data.root=/my cells' debug=none"
    )


@pytest.mark.parametrize(
    "overrides",
    [[], ["debug=limit"], ["backbone=morphology", "head=probe"], ["data.groups=pattern", "data.groups_pattern='(.+)'"]],
)
def test_every_command_is_one_that_bloodcell_takes(overrides, tmp_path):
    for command in tried(*overrides):
        words = [word for word in shlex.split(command)[1:] if word != "-m"]
        words = [word.replace("mobilenetv2,xception", "xception") for word in words]
        completed = run([*words, "--cfg", "job", "--resolve"], cwd=tmp_path)
        assert completed.returncode == 0, completed.stderr
