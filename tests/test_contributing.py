"""CONTRIBUTING.md, followed to the letter in a copy of the checkout: each file is written, each command is run."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from commands import REPOSITORY
from documents import blocks_of

STEPS = blocks_of((REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## How to add")[2])

RUN = """
import json, pathlib, shlex, sys

import pytest
from commands import run

commands, data, few = json.loads(sys.argv[1])
for command in commands:
    uv, run_, tool, *words = shlex.split(command)
    assert (uv, run_) == ("uv", "run")
    if tool == "pytest":
        assert not pytest.main(["-n0", "-p", "no:cacheprovider", *words]), command
    else:
        assert tool == "bloodcell"
        words = [word.replace("path/to/blood-cells", data) for word in words]
        completed = run([*words, *(few if words[0] == "train" else [])], cwd=pathlib.Path.cwd())
        assert completed.returncode == 0, f"{command}: {completed.stderr}"
"""
FEW_PIXELS = [
    *("backbone.weights=null", "backbone.input_size=32", "explain=none", "log_model=false"),
    *("data.groups=pattern", "data.groups_pattern='(.+)'", "data.group_name=photograph"),
]


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
    for name in ("bloodcell", "conf", "experiments", "tests"):
        shutil.copytree(REPOSITORY / name, folder / name)
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    return folder


@pytest.mark.slow
def test_the_steps_to_add_a_crop_a_backbone_and_a_metric_work(checkout, bccd):
    # All files first, so that one process, whose imports take longer than its work, runs all commands.
    for step in STEPS:
        if step.language != "bash":
            _write(checkout / step.title, step)
    _run([line for step in STEPS if step.language == "bash" for line in step.text.splitlines()], checkout, bccd)
    (report,) = checkout.glob("outputs/**/report.json")
    assert "matthews" in report.read_text(encoding="utf-8")
    assert [*checkout.glob("outputs/**/crops.png")]
    lint = [sys.executable, "-m", "ruff", "check", "--no-cache", "bloodcell"]
    linted = subprocess.run(lint, cwd=checkout, capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout


def _write(file, step):
    """Make a file, append to Python that exists, or apply a change."""
    before = file.read_text(encoding="utf-8") if file.is_file() else ""
    if step.language == "diff":
        old, new = ("".join(line[1:] for line in step.text.splitlines(True) if line[0] in (" ", kind)) for kind in "-+")
        assert before.count(old) == 1, f"{step.title}: {old}"
        after = before.replace(old, new)
    else:
        after = f"{before}\n\n{step.text}" if before else step.text
    file.write_text(after, encoding="utf-8")


def _run(commands, checkout, bccd):
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps([commands, str(bccd), FEW_PIXELS])],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": f"{checkout}{os.pathsep}{checkout / 'tests'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
