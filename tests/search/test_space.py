import keras_tuner
import pytest

from bloodcell.config.composition import compose_config
from bloodcell.config.search import SpaceEntry
from bloodcell.errors import UserError
from bloodcell.search.space import hyperparameters, overrides_of, probes
from bloodcell.search.tuner import build_oracle

SPACE = {
    "head.hidden_units": SpaceEntry(choice=((), (64,), (256, 32))),
    "hyperparameters.optimizer": SpaceEntry(choice=("adam", "sgd")),
    "hyperparameters.momentum": SpaceEntry(float=(0.5, 0.9), when={"hyperparameters.optimizer": ("sgd",)}),
    "hyperparameters.learning_rate": SpaceEntry(float=(1e-4, 1e-1), log=True),
    "hyperparameters.epochs": SpaceEntry(int=(2, 10), step=2),
    "hyperparameters.early_stopping.patience": SpaceEntry(choice=(None, 3)),
}


def sampled(n: int = 60) -> list[dict[str, str]]:
    oracle = keras_tuner.oracles.RandomSearchOracle(
        objective=keras_tuner.Objective("x", "max"), max_trials=n, hyperparameters=hyperparameters(SPACE), seed=1
    )
    trials = []
    for number in range(n):
        chosen = hyperparameters(SPACE)
        chosen.values = oracle.populate_space(str(number))["values"]
        trials.append(dict(text.split("=", 1) for text in overrides_of(chosen)))
    return trials


def test_a_trial_gets_values_of_the_space_as_overrides():
    trials = sampled()
    assert {trial["head.hidden_units"] for trial in trials} == {"[]", "[64]", "[256,32]"}
    assert {trial["hyperparameters.early_stopping.patience"] for trial in trials} == {"null", "3"}
    assert {int(trial["hyperparameters.epochs"]) for trial in trials} == {2, 4, 6, 8, 10}
    rates = [float(trial["hyperparameters.learning_rate"]) for trial in trials]
    assert min(rates) < 1e-3 < 1e-2 < max(rates)


def test_a_conditional_setting_is_there_only_where_its_condition_holds():
    for trial in sampled():
        assert ("hyperparameters.momentum" in trial) == (trial["hyperparameters.optimizer"] == "sgd")


def test_every_choice_and_end_is_tried_with_what_it_depends_on():
    tried = list(probes(SPACE))
    assert ["hyperparameters.optimizer=sgd", "hyperparameters.momentum=0.9"] in tried
    settings = {setting for overrides in tried for setting in overrides}
    assert {f"head.hidden_units={units}" for units in ("[]", "[64]", "[256,32]")} <= settings
    assert {"hyperparameters.epochs=2", "hyperparameters.epochs=10"} <= settings
    assert len(tried) == 3 + 2, "one for each of three choices, and two for what is conditional"


@pytest.mark.parametrize("strategy", ["random", "bayesian", "hyperband", "grid"])
def test_every_strategy_is_built_from_its_file(strategy, tmp_path):
    config = compose_config("search", ["data=bccd", "data.root=/cells", f"tuner={strategy}"])
    oracle = build_oracle(config.tuner)
    oracle._set_project_dir(str(tmp_path), "search")
    assert oracle.objective.name == "val/accuracy"
    assert oracle.objective.direction == "max"
    assert oracle.create_trial("t").status == "RUNNING"


def test_a_grid_has_the_combinations_of_its_space_and_no_more():
    config = compose_config("search", ["data=bccd", "data.root=/cells", "tuner=grid"])
    assert set(config.tuner.space) == {"head.pooling", "hyperparameters.learning_rate"}


def test_a_search_never_uses_the_test_set():
    with pytest.raises(UserError, match=r"tuner\.final_test"):
        compose_config("search", ["data=bccd", "data.root=/cells", "evaluate_test=true"])


def test_a_search_refuses_to_combine_its_trials():
    with pytest.raises(UserError, match=r"^ensemble=soft: "):
        compose_config("search", ["data=bccd", "data.root=/cells", "ensemble=soft"])
