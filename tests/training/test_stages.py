import keras
import pytest

from bloodcell.config.finetune import FrozenPlan, GradualPlan, StageConfig, StagedPlan, TopPlan
from bloodcell.errors import UserError
from bloodcell.training.stages import Stage, plan_stages


@pytest.fixture(scope="module")
def application() -> keras.Model:
    return keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(32, 32, 3))


def plan(application, finetune) -> list[Stage]:
    return plan_stages(application, finetune=finetune, epochs=7, learning_rate=1e-3)


def staged(**stage) -> StagedPlan:
    return StagedPlan(name="staged", stages=(StageConfig(epochs=2, learning_rate=1e-5, **stage),))


def gradual(**changes) -> GradualPlan:
    chosen = {"blocks": 3, "epochs": 4, "learning_rate": 1e-4, "learning_rate_decay": 0.5, "batch_norm": "inference"}
    return GradualPlan(name="gradual", **chosen | changes)


@pytest.mark.parametrize("finetune", [FrozenPlan(name="none"), staged(fraction=0.5), gradual()])
def test_every_plan_begins_with_the_head(application, finetune):
    head = plan(application, finetune)[0]
    assert head == Stage(name="head", boundary=None, epochs=7, learning_rate=1e-3, train_statistics=False)


def test_a_frozen_plan_has_only_the_head(application):
    assert len(plan(application, FrozenPlan(name="none"))) == 1


@pytest.mark.parametrize(
    ("where", "first"),
    [
        ({"block": "block_13"}, "block_13_expand"),
        ({"block": "block_1"}, "block_1_expand"),
        ({"layer": "block_16_project"}, "block_16_project"),
        ({"fraction": 1.0}, "Conv1"),
        ({"fraction": 0.001}, "Conv_1_bn"),
    ],
)
def test_a_stage_begins_at_a_layer_a_block_or_a_fraction(application, where, first):
    _, stage = plan(application, staged(**where))
    assert application.layers[stage.boundary].name == first
    assert (stage.epochs, stage.learning_rate, stage.train_statistics) == (2, 1e-5, False)


def test_a_fraction_of_a_half_trains_half_of_the_layers_with_weights(application):
    _, stage = plan(application, staged(fraction=0.5))
    weighted = [bool(layer.weights) for layer in application.layers]
    assert sum(weighted[stage.boundary :]) == sum(weighted) / 2


def test_the_top_is_the_last_block_or_a_tenth_of_a_backbone_without_blocks(application):
    top = TopPlan(name="top", epochs=3, learning_rate=1e-4, batch_norm="inference")
    _, stage = plan(application, top)
    assert (application.layers[stage.boundary].name, stage.epochs) == ("block_16_expand", 3)
    nameless = keras.Sequential([keras.layers.Input((8, 8, 3)), *(keras.layers.Conv2D(1, 1) for _ in range(20))])
    _, stage = plan(nameless, top)
    assert sum(bool(layer.weights) for layer in nameless.layers[stage.boundary :]) == 2


def test_stages_come_as_they_are_listed(application):
    blocks = ["block_16", "block_10", "block_3"]
    stages = tuple(
        StageConfig(epochs=number, learning_rate=1e-4, block=block) for number, block in enumerate(blocks, start=1)
    )
    tuning = plan(application, StagedPlan(name="staged", stages=stages))[1:]
    assert [(stage.name, stage.epochs) for stage in tuning] == [
        (f"from {block}", number) for number, block in enumerate(blocks, start=1)
    ]


def test_a_gradual_plan_unfreezes_one_more_block_each_stage(application):
    tuning = plan(application, gradual())[1:]
    firsts = [application.layers[stage.boundary].name for stage in tuning]
    assert firsts == ["block_16_expand", "block_15_expand", "block_14_expand"]
    assert [stage.learning_rate for stage in tuning] == pytest.approx([1e-4, 5e-5, 2.5e-5])
    assert {stage.epochs for stage in tuning} == {4}


def test_batch_normalisation_learns_statistics_only_if_a_plan_says_so(application):
    _, stage = plan(application, staged(fraction=0.5, batch_norm="train"))
    assert stage.train_statistics
    assert all(stage.train_statistics for stage in plan(application, gradual(batch_norm="train"))[1:])


@pytest.mark.parametrize(
    ("finetune", "named"),
    [
        (staged(layer="block_99_expand"), "finetune: .* has no layer block_99_expand"),
        (staged(block="block_99"), "finetune: .* has no block block_99"),
        (gradual(blocks=18), "finetune.blocks=18: .* has 17 blocks"),
    ],
)
def test_a_missing_layer_or_block_is_named_in_one_line(application, finetune, named):
    with pytest.raises(UserError, match=f"^{named}") as caught:
        plan(application, finetune)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("finetune", [staged(fraction=0.5), gradual()])
def test_the_epochs_of_fine_tuning_can_be_limited_for_a_trial(application, finetune):
    head, *tuning = plan_stages(application, finetune=finetune, epochs=7, learning_rate=1e-3, max_finetune_epochs=1)
    assert head.epochs == 7
    assert {stage.epochs for stage in tuning} == {1}


def test_a_stage_may_lower_the_learning_rate_from_block_to_block(application):
    assert plan(application, staged(fraction=0.5))[1].learning_rate_decay == 1
    assert plan(application, staged(fraction=0.5, learning_rate_decay=0.4))[1].learning_rate_decay == 0.4


def test_without_named_blocks_learning_rates_cannot_fall_from_block_to_block():
    image = keras.Input((8, 8, 3))
    plain = keras.Model(image, keras.layers.Conv2D(2, 3, name="only")(image), name="plain")
    with pytest.raises(
        UserError, match=r"^finetune.stages: learning_rate_decay=0.4 .* plain have no names; remove it$"
    ):
        plan(plain, staged(fraction=0.5, learning_rate_decay=0.4))
