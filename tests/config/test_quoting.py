"""Settings that a program writes for Hydra and for a shell."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from bloodcell.config.quoting import NAME_LENGTH, for_shell, override, readable_overrides, short_name

PATHS = ["cells", "/home/jörg/cells (1)", "it's, [here]", "a=b", "${HOME}/x", "ends in \\", "", " leading", "x\\'y"]


def read_back(word: str) -> str:
    parsed = OverridesParser.create().parse_override(word)
    return OmegaConf.create({"value": parsed.value()}).value


@pytest.mark.parametrize("path", PATHS)
def test_hydra_reads_a_value_as_it_was_given(path):
    assert read_back(override("output", path)) == path


ANYTHING = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0$"), max_size=30)


@given(ANYTHING)
def test_hydra_reads_any_value_as_it_was_given(text):
    assert read_back(override("output", text)) == text


@pytest.mark.parametrize("path", PATHS)
def test_a_shell_reads_words_as_they_were(path):
    words = ["bloodcell", "train", override("data.root", path)]
    assert shlex.split(for_shell(words)) == words


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ("backbone=xception,hyperparameters.learning_rate=0.0001", "xception, lr 1e-4"),
        ("head.hidden_units=[64,32],hyperparameters.seed=1", "units [64,32], seed 1"),
        ("hyperparameters.optimizer=sgd,head.dropout=0.25", "sgd, dropout 0.25"),
        ("evaluate_test=false,hyperparameters.learning_rate=1e38", "evaluate_test false, lr 1e38"),
        ("ensemble: soft", "ensemble: soft"),
    ],
)
def test_a_run_is_named_after_what_differs(overrides, name):
    assert readable_overrides(overrides) == name


def test_a_name_has_a_length_that_is_shown():
    name = short_name([f"head.setting_{number}=0.5" for number in range(20)])
    assert name.startswith("setting_0 0.5, setting_1 0.5")
    assert len(name) <= NAME_LENGTH
