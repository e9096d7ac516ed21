"""Examples in docstrings run and give what they show."""

import doctest
import importlib
import re

import pytest
from commands import REPOSITORY

DOCUMENTED = sorted(
    {
        module
        for page in (REPOSITORY / "docs" / "api").glob("*.md")
        for module in re.findall(r"^::: (bloodcell[\w.]*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    }
)
WITH_EXAMPLES = [
    module
    for module in DOCUMENTED
    if ">>>" in (REPOSITORY / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
]


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_the_examples_of_a_page_run(module, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.failed == 0
