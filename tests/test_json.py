"""What ``--json`` leaves on the standard output: one document, whatever else the job says, and however it ends."""

import json
import os
import sys
import warnings
from types import ModuleType

import numpy as np
import pytest
from commands import run, start

from bloodcell.cli.main import main
from bloodcell.console.json_output import plain, set_json_result
from bloodcell.console.logs import log_file
from bloodcell.errors import UserError


@pytest.fixture
def train(monkeypatch):
    """Put a function in the place of the job ``train``."""

    def put(work):
        module = ModuleType("bloodcell.jobs.train")
        module.run = lambda config, **_: work()
        monkeypatch.setitem(sys.modules, "bloodcell.jobs.train", module)

    return put


def test_the_document_is_the_last_result_and_everything_else_is_on_the_error_stream(train, tmp_path):
    def work():
        print("a table")
        set_json_result(part=1)
        set_json_result(accuracy=0.5, log=log_file())

    train(work)
    completed = run(["train", "--json", "data=bccd", "data.root=/cells"], cwd=tmp_path)
    document = json.loads(completed.stdout)
    assert (document["job"], document["accuracy"]) == ("train", 0.5)
    assert "part" not in document
    assert document["log"].endswith("train.log")
    assert completed.stderr == "a table\n"


def test_what_is_written_below_python_does_not_get_between(tmp_path):
    process = start(["cache", f"dir={tmp_path}", "--json"], cwd=tmp_path)
    out, err = process.communicate(timeout=120)
    assert json.loads(out)["features"] == []
    assert "No features in" in err


def test_lines_of_libraries_in_other_languages_go_to_the_error_stream(train, tmp_path, capfd):
    train(lambda: os.write(1, b"from below\n"))
    completed = run(["train", "data=bccd", "data.root=/cells", "--json"], cwd=tmp_path)
    json.loads(completed.stdout)
    written = capfd.readouterr()
    assert "from below" not in written.out
    assert "from below" in written.err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["train", "data=bccd", "data.root=/cells", "split.fraction=2"], "split.fraction=2: "),
        (["trian"], "trian: "),
        (["train", "--frobnicate"], "--frobnicate: "),
    ],
)
def test_a_users_error_is_one_line_and_an_error_in_the_document(tmp_path, words, error):
    completed = run([*words, "--json"], cwd=tmp_path)
    assert completed.returncode == 2
    assert completed.stderr.startswith(f"bloodcell: {error}")
    assert completed.stderr.count("\n") == 1
    assert json.loads(completed.stdout)["error"].startswith(error)


def test_the_result_stays_if_the_job_then_fails(train, tmp_path):
    def work():
        set_json_result(findings=3)
        raise UserError("too many")

    train(work)
    completed = run(["train", "--json", "data=bccd", "data.root=/cells"], cwd=tmp_path)
    document = json.loads(completed.stdout)
    assert (document["findings"], document["error"]) == (3, "too many")


def test_an_error_of_the_program_is_in_the_document_and_logged_with_its_traceback(train, tmp_path, capsys, monkeypatch):
    def work():
        raise ValueError("a mistake in the program")

    train(work)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="a mistake in the program"):
        main(["train", "--json", "data=bccd", "data.root=/cells"])
    assert json.loads(capsys.readouterr().out)["error"] == "ValueError: a mistake in the program"
    (log,) = tmp_path.glob("outputs/*/*/train.log")
    assert "Traceback" in log.read_text(encoding="utf-8")


def test_warnings_of_libraries_go_to_the_runs_log_and_not_to_the_terminal(train, tmp_path):
    train(lambda: warnings.warn("is deprecated", DeprecationWarning, stacklevel=1))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        completed = run(["train", "data=bccd", "data.root=/cells"], cwd=tmp_path)
    assert (completed.stdout, completed.stderr) == ("", "")
    (log,) = tmp_path.glob("outputs/*/*/train.log")
    assert "is deprecated" in log.read_text(encoding="utf-8")


def test_asking_about_a_job_is_answered_as_ever(tmp_path):
    assert (
        "learning_rate: 0.01"
        in run(["train", "hyperparameters.learning_rate=1e-2", "--cfg", "job", "--json"], cwd=tmp_path).stdout
    )
    assert "--json" in run(["train", "--help"], cwd=tmp_path).stdout


def test_numbers_that_are_none_are_null_and_arrays_are_lists():
    document = plain(
        {"a": np.float32(0.5), "b": float("nan"), "c": np.array([[1, 2]]), "d": ("é", True), 5: np.int64(3)}
    )
    assert json.loads(json.dumps(document, allow_nan=False)) == {
        "a": 0.5,
        "b": None,
        "c": [[1, 2]],
        "d": ["é", True],
        "5": 3,
    }
