"""CONTRIBUTING.md, followed to the letter in a copy of the checkout: each file is written, each command is run."""

import os
import shlex
import shutil
import subprocess
import sys

import pytest
from commands import REPOSITORY
from documents import BLOODCELL, blocks_of

STEPS = blocks_of((REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## How to add")[2])
FEW_PIXELS = [
    *("backbone.weights=null", "backbone.input_size=32", "explain=none", "log_model=false"),
    *("data.groups=pattern", "data.groups_pattern='(.+)'"),
]


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
    for name in ("bloodcell", "conf", "experiments", "tests"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    return folder


@pytest.mark.slow
def test_a_backbone_a_crop_and_a_metric_are_added_as_it_says(checkout, bccd):
    for step in STEPS:
        if step.title:
            file = checkout / step.title
            with file.open("a", encoding="utf-8") as text:
                text.write(f"\n\n{step.text}" if file.is_file() and text.tell() else step.text)
        else:
            for command in step.text.splitlines():
                _run(command, checkout, bccd)
    said = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--config", REPOSITORY / "pyproject.toml", checkout / "bloodcell"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout
    (report,) = checkout.glob("outputs/**/report.json")
    assert "matthews" in report.read_text(encoding="utf-8")
    assert [*checkout.glob("outputs/**/crops.png")]


def _run(command, checkout, bccd):
    words = shlex.split(command.replace("path/to/blood-cells", shlex.quote(str(bccd))))
    if command.startswith(BLOODCELL):
        few = FEW_PIXELS if words[3] == "train" else []
        arguments = ["-m", "bloodcell", *words[3:], *few]
    else:
        assert words[:3] == ["uv", "run", "pytest"]
        arguments = ["-m", "pytest", "-n0", "-p", "no:cacheprovider", *words[3:]]
    said = subprocess.run(
        [sys.executable, *arguments],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, f"{command}\n{said.stdout}{said.stderr}"
