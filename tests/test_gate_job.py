"""``bloodcell gate``: its exit codes and numbers, on files of predictions and on the best run of a sweep."""

import json

import numpy as np
import pandas as pd
import pytest
from commands import run
from stores import runs_in


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gate")
    hard = np.random.default_rng(0).random(300)
    for name, accuracy in (("old", 0.7), ("same", 0.71), ("new", 0.9), ("worse", 0.5)):
        right = hard < accuracy
        of_x = np.where(right, 0.9, 0.1)
        images = {"path": [f"{number}.png" for number in range(300)], "label": "x", "group": np.arange(300) // 2}
        table = pd.DataFrame({**images, "p_x": of_x, "p_y": 1 - of_x})
        table.loc[::2, ["label", "p_x", "p_y"]] = table.loc[::2, ["label", "p_y", "p_x"]].to_numpy()
        table.loc[::2, "label"] = "y"
        table.to_csv(folder / f"{name}.csv", index=False)
    return folder


@pytest.mark.parametrize(
    ("candidate", "code", "verdict"), [("new", 0, "keep"), ("worse", 3, "reject"), ("same", 4, "cannot tell")]
)
def test_the_exit_code_is_the_verdict(folder, candidate, code, verdict):
    words = ["gate", "incumbent=old.csv", f"candidate={candidate}.csv", f"ledger={candidate}.ledger"]
    completed = run([*words, "max_trainings=1", "--json"], cwd=folder)
    assert completed.returncode == code, completed.stderr
    document = json.loads(completed.stdout)
    assert document["verdict"] == verdict
    assert (document["number"], "error" in document) == (1, False)
    assert not (folder / "outputs").exists()


def test_a_test_set_has_few_answers(folder):
    words = ["gate", "predictions=test", "ledger=few.ledger", "test_budget=1"]
    first = run([*words, "candidate=old.csv"], cwd=folder)
    assert (first.returncode, "0 answers left" in first.stdout) == (0, True)
    second = run([*words, "candidate=new.csv"], cwd=folder)
    assert second.returncode == 2
    assert second.stderr.startswith("bloodcell: ledger=few.ledger: the 1 answer")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["candidate=new.csv"], "incumbent: "),
        (["incumbent=old.csv"], "candidate and study: "),
        (["incumbent=old.csv", "candidate=none.csv"], "runs=none.csv: there is no such file"),
        (["incumbent=old.csv", "candidate=new.csv", "alpha=2"], "alpha"),
    ],
)
def test_what_is_wrong_is_one_line(folder, words, message):
    completed = run(["gate", "ledger=wrong.ledger", *words], cwd=folder)
    assert completed.returncode == 2
    assert message in completed.stderr
    assert completed.stderr.count("\n") == 1
    assert not (folder / "wrong.ledger").exists()


def test_the_best_run_of_a_sweep_counts_as_the_best_of_all_its_runs(bccd, tmp_path):
    own = ["data.groups=pattern", "data.groups_pattern='(.+)'", "data.group_name=photograph", "head=probe"]
    words = ["data=bccd", f"data.root={bccd}", *own, "backbone=morphology", "baselines=[]", "log_model=false"]
    assert run(["train", "-m", *words, "head.l2=1,0.1,0.01"], cwd=tmp_path).returncode == 0
    runs = runs_in(tmp_path)
    (study,) = (each for each in runs if each.data.tags.get("study"))
    other = next(each for each in runs if each.info.run_id not in (study.info.run_id, study.data.tags["best_run"]))
    asked = ["gate", f"incumbent={other.info.run_id}", f"study={study.info.run_id}", "ledger=l", "--json"]
    completed = run(asked, cwd=tmp_path)
    assert completed.returncode in (3, 4), completed.stderr
    assert json.loads(completed.stdout)["number"] == 3
