"""Only a run that is fit to be served is registered, and a displaced version is named with its figures."""

from pathlib import Path

import pytest
from commands import run
from mlflow import MlflowClient
from stores import runs_in

OWN = [
    "data.groups=pattern",
    "data.groups_pattern='(.+)'",
    "data.group_name=photograph",
    "backbone=morphology",
    "head=probe",
]


@pytest.fixture(scope="module")
def folder(bccd, tmp_path_factory) -> Path:
    """A folder with a run, and a debug run."""
    folder = tmp_path_factory.mktemp("registered")
    for name, more in (("good", []), ("smoke", ["debug.limit_per_class=4"])):
        words = ["train", "data=bccd", f"data.root={bccd}", *OWN, *more, f"tracking.run_name={name}"]
        completed = run(words, cwd=folder)
        assert completed.returncode == 0, completed.stderr
    return folder


@pytest.fixture
def ids(folder):
    return {each.info.run_name: each.info.run_id for each in runs_in(folder)}


def test_what_limits_a_run_is_in_its_tag_its_description_and_on_the_terminal(folder):
    good, smoke = sorted(runs_in(folder), key=lambda each: each.info.run_name)
    assert good.data.tags["evidence"] == "too few groups, single training"
    assert smoke.data.tags["evidence"].startswith("debug, ")
    assert "- Evidence: debug, " in smoke.data.tags["mlflow.note.content"]


def test_a_debug_run_is_not_registered_unless_it_is_forced(folder, ids):
    completed = run(["register", f"run={ids['smoke']}", "name=guarded"], cwd=folder)
    assert completed.returncode == 2
    assert completed.stderr.startswith(f"bloodcell: run={ids['smoke']}: is a debug run")
    assert completed.stderr.count("\n") == 1
    assert MlflowClient().search_model_versions("name='guarded'") == []
    completed = run(["register", f"run={ids['smoke']}", "name=guarded", "force=true"], cwd=folder)
    assert completed.returncode == 0, completed.stderr
    assert "Warning, debug: " in completed.stdout
    assert MlflowClient().get_model_version_by_alias("guarded", "candidate").tags["evidence"].startswith("debug")


def test_the_version_that_loses_its_alias_is_named_with_its_figures(folder, ids):
    first = run(["register", f"run={ids['good']}", "name=shown"], cwd=folder)
    assert "no longer" not in first.stdout
    second = run(["register", f"run={ids['smoke']}", "name=shown", "force=true"], cwd=folder)
    runs = {each.info.run_id: each for each in runs_in(folder)}
    accuracy = f"{runs[ids['good']].data.metrics['val/accuracy']:.3f}"
    assert f"Version 1 is no longer @candidate. Its figures:\n  validation: accuracy {accuracy}" in second.stdout
    assert MlflowClient().get_model_version_by_alias("shown", "candidate").version in ("2", 2)


def test_the_least_error_that_can_be_promised_is_said_before_the_model_is_loaded(folder, ids, bccd):
    words = ["predict", f"run={ids['good']}", f"images={bccd / 'TEST'}"]
    completed = run([*words, "max_error=0.01"], cwd=folder)
    assert completed.returncode == 2
    least = completed.stderr.partition("the least error that can be promised is ")[2][:4]
    assert run([*words, f"max_error={least}"], cwd=folder).returncode == 0
    below = run([*words, f"max_error={float(least) - 0.01:.2f}"], cwd=folder)
    assert (below.returncode, f"promised is {least}" in below.stderr) == (2, True)
