"""Every command of the README is run, as it is written but for the folder of images and the size of the work."""

import json
import os
import re
import shlex
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from commands import REPOSITORY, run, start
from documents import BLOODCELL, blocks_of, commands_of
from stores import runs_in

from bloodcell.config.jobs import split_job

DOCS = REPOSITORY / "docs"
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
COMMANDS = commands_of(README)
JOBS = [command.partition(BLOODCELL)[2] for command in COMMANDS if BLOODCELL in command]
COMBINED = next(job for job, after in pairwise(JOBS) if after.startswith("compare"))
"""The sweep whose runs are compared and combined."""
OWN_PAGE = (DOCS / "your-own-images.md").read_text(encoding="utf-8")
YOUR_OWN_IMAGES = [command.removeprefix(BLOODCELL) for command in commands_of(OWN_PAGE)]
TRAINING = [
    job
    for job in JOBS
    if job.startswith(("train", "search")) and job != COMBINED and (job not in YOUR_OWN_IMAGES or "root" in job)
]
OF_A_SWEEP = [job for job in JOBS if job.startswith(("compare", "ensemble"))]
OF_A_MODEL = [job for job in JOBS if job.startswith(("predict", "register"))]
PYTHON = [block.text for block in blocks_of(README) if block.language == "python"]
PUBLIC_JOBS = [path for path in (REPOSITORY / "bloodcell" / "jobs").glob("*.py") if not path.stem.startswith("_")]
WEIGHTS = os.environ.get("BLOODCELL_TEST_WEIGHTS")
PRETRAINED = [f"backbone.weights={WEIGHTS}", "backbone.input_size=96", "explain=none"] if WEIGHTS else []
"""Of a MobileNetV2, where this machine has a file of them."""
FEW_SMEARS = ["data.train_photographs=20", "data.test_photographs=20", "data.copies=2"]
FEW_PIXELS = ["backbone.weights=null", "backbone.input_size=75", "debug=one_batch", "explain=none"]


def test_the_readme_has_no_command_that_is_not_run_here_or_is_this_test():
    run_here = {*TRAINING, *OF_A_SWEEP, *OF_A_MODEL, COMBINED, "demo", "cache", "ui"}
    others = {*YOUR_OWN_IMAGES, "data fetch"}  # each has a test of its own
    assert [job for job in JOBS if job not in run_here | others] == []
    set_up = ["git clone REPOSITORY_URL bloodcell && cd bloodcell", "pip install uv"]
    assert [command for command in COMMANDS if BLOODCELL not in command] == [*set_up, "uv run pytest"]


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 130


def test_every_job_has_a_command_in_the_readme_or_on_a_page():
    pages = README + "".join(page.read_text(encoding="utf-8") for page in DOCS.glob("*.md"))
    commands = re.findall(r"^(?:.*&& )?uv run bloodcell (.+)", pages, flags=re.MULTILINE)
    assert {split_job(shlex.split(command))[0] for command in commands} == {path.stem for path in PUBLIC_JOBS}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("command", TRAINING)
def test_a_training_command_of_the_readme_runs(command, bccd, tmp_path):
    words = [word.replace("path/to/blood-cells", str(bccd)) for word in shlex.split(command)]
    in_folds = any(word.startswith(("experiment=best", "split=group_kfold")) for word in words)
    few_folds = ["split.folds=2"] if in_folds else []
    few_baselines = ["baselines=[majority]"] if "-m" in words or words[0] == "search" else []
    few_smears = [] if "data=" in command else FEW_SMEARS
    few_trials = ["tuner.max_trials=1"] if words[0] == "search" else []
    # Cross-validation within a sweep has tests of its own.
    fewer = {
        "experiment=backbones": ["backbone=mobilenetv2", "split=notebook,group_holdout"],
        "hyperparameters.learning_rate=1e-3,1e-4": ["backbone=mobilenetv2"],
        "experiment=best_ensemble": ["backbone=morphology,colour_histogram"],
    }
    few_runs = next((fewer[word] for word in words if word in fewer), [])
    few_pixels = PRETRAINED if PRETRAINED and words[-1] == "debug=limit" else FEW_PIXELS
    few = [*few_pixels, *few_smears, *few_folds, *few_baselines, *few_trials, *few_runs]
    completed = run([*words, *few], cwd=tmp_path, drawn=True)
    assert completed.returncode == 0, completed.stderr
    assert "majority class" in completed.stdout


@pytest.mark.slow
def test_the_commands_of_the_readme_that_compare_and_combine_do_so_with_the_runs_of_a_sweep(bccd, tmp_path):
    words = [word.replace("path/to/blood-cells", str(bccd)) for word in shlex.split(COMBINED)]
    few = ["backbone=morphology,colour_histogram", "split.folds=2"]
    assert run([*words, *few], cwd=tmp_path, drawn=True).returncode == 0
    for command in OF_A_SWEEP:
        words = shlex.split(command.replace("PARENT_RUN_ID", runs_in(tmp_path)[0].info.run_id))
        completed = run(words, cwd=tmp_path, drawn=True)
        assert completed.returncode == 0, completed.stderr
        assert "majority" in completed.stdout


@pytest.mark.slow
def test_the_commands_of_the_readme_that_ask_and_register_a_model_run(bccd, tmp_path):
    own = [
        "data.groups=pattern",
        "data.groups_pattern='(.+)'",
        "data.group_name=photograph",
        "backbone=morphology",
        "head=probe",
    ]
    assert run(["train", "data=bccd", f"data.root={bccd}", *own], cwd=tmp_path).returncode == 0
    run_id = runs_in(tmp_path)[0].info.run_id
    for job in OF_A_MODEL:
        words = shlex.split(job.replace("RUN_ID", run_id))
        completed = run([word.replace("path/to/images", str(bccd / "TEST")) for word in words], cwd=tmp_path)
        assert completed.returncode == 0, completed.stderr
        assert "majority class" in completed.stdout or "20 files" in completed.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_of_the_readme_ends_with_a_report(tmp_path):
    browser = tmp_path / "browser.py"
    browser.write_text("import pathlib, sys; pathlib.Path('opened.txt').write_text(sys.argv[1])")
    screen = {"DISPLAY": ":0", "BROWSER": f"{sys.executable} {browser} %s"}
    process = start(["demo", "photographs=20", "copies=2", "folds=2", "--json"], cwd=tmp_path, **screen)
    completed, errors = process.communicate()
    assert process.returncode == 0, errors
    document = json.loads(completed)
    assert (tmp_path / "opened.txt").read_text() == Path(document["report"]).as_uri()
    report = Path(document["report"]).read_text(encoding="utf-8")
    assert all(name in report for name in ("mobilenetv2_inner", "majority", "morphology", "colour_histogram"))
    assert f"study={document['study']}" in errors


@pytest.mark.slow
def test_the_ui_command_of_the_readme_prints_its_address(tmp_path):
    process = start(["ui"], cwd=tmp_path, PYTHONUNBUFFERED="1")
    assert "http://127.0.0.1:5000/#/experiments/" in process.stdout.readline()
    process.terminate()
    process.communicate(timeout=30)


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for block in PYTHON:
        exec(block, {})
    assert "inconclusive" in capsys.readouterr().out
