"""Settings that a program writes for Hydra and for a shell."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from bloodcell.config.quoting import for_shell, override

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
