import pytest

from bloodcell.config.composition import compose_config
from bloodcell.errors import UserError

ROOT = ("data=bccd", "data.root=/cells")


def refusal(*overrides):
    with pytest.raises(UserError) as caught:
        compose_config("train", [*ROOT, *overrides])
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("override", ["head.l2=some", "head.l2=-1", "head.projection=0"])
def test_a_strength_is_a_number_or_auto_and_a_projection_has_a_component(override):
    message = refusal(override)
    assert message.startswith(f"{override}: ")
    assert "more error" not in message


@pytest.mark.parametrize(
    ("overrides", "setting"),
    [
        (["head=dense", "head.solver=lbfgs"], "head.hidden_units=[256]: "),
        (["head=linear", "head.solver=lbfgs"], "head.dropout=0.2: "),
        (["head=linear", "head.solver=lda"], "head.dropout=0.2: "),
        (["head=linear", "head.l2=auto"], "head.l2=auto: "),
        (["head=probe", "hyperparameters.label_smoothing=0.1"], "hyperparameters.label_smoothing=0.1: "),
    ],
)
def test_what_a_solver_cannot_do_is_refused_with_what_to_do_instead(overrides, setting):
    message = refusal(*overrides)
    assert message.startswith(setting)
    assert "head.solver=gradient" in message


@pytest.mark.parametrize("backbone", ["majority", "colour_histogram", "morphology"])
def test_without_a_network_nothing_can_be_tuned(backbone):
    message = refusal(f"backbone={backbone}", "finetune=gradual")
    assert message.startswith(f"finetune=gradual: backbone={backbone} ")


def test_what_needs_no_tuning_is_not_tuned_unless_asked():
    smears = "data=smears"
    assert not compose_config("train", [smears]).stays_frozen
    assert compose_config("train", [smears, "finetune=none"]).stays_frozen
    assert compose_config("train", [smears, "backbone=morphology"]).stays_frozen
    assert compose_config("train", [smears, "head=probe"]).stays_frozen
    assert not compose_config("train", [smears, "head=probe", "finetune=staged"]).stays_frozen


def test_only_rendered_smears_know_their_photographs():
    assert "data=smears" in refusal("data.groups=known")
    assert compose_config("train", ["data=smears", "data.groups=recover"]).data.groups == "recover"


def test_extra_features_go_with_other_features_and_with_a_network():
    config = compose_config(
        "train", [*ROOT, "backbone=morphology", "head=probe", "head.extra_features=[colour_histogram]"]
    )
    assert (config.backbone.name, config.head.extra_features) == ("morphology", ("colour_histogram",))
    config = compose_config(
        "train", [*ROOT, "crop=nucleus", "head=probe", "head.extra_features=[morphology,colour_histogram]"]
    )
    assert (config.crop.name, config.head.solver, config.head.hidden_units) == ("nucleus", "lbfgs", ())


@pytest.mark.parametrize(
    "override",
    ["crop=cells", "head.pooling=cells", "head.extra_features=[majority]", "head.l2=-1", "backbone.taps=block_6"],
)
def test_what_is_no_value_of_a_setting_is_named(override):
    assert override.split("=")[0].split(".")[0] in refusal(override)


def test_names_that_are_registered_elsewhere_are_refused_with_the_nearest():
    message = refusal("crop.name=nucleas")
    assert message.startswith("crop.name=nucleas: ")
    assert message.endswith("nucleus?")
    with pytest.raises(UserError, match=r"^metrics\.0=acuracy: .*auroc.* accuracy\?"):
        compose_config("compare", ["study=a", "metrics=[acuracy]"])
    with pytest.raises(UserError, match=r"^tuner\.objective=val/f1: .*val/accuracy"):
        compose_config("search", [*ROOT, "tuner.objective=val/f1"])
