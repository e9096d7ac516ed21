"""The alias best moves to a candidate only on a verdict, on images that neither model was trained on."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from commands import run
from mlflow import MlflowClient
from stores import artifacts_of, look_into, runs_in

from bloodcell.errors import UserError
from bloodcell.tracking import held_out
from bloodcell.tracking.runs import run_or_none

OWN = [
    *("data=bccd", "data.root=cells", "data.groups=pattern", "data.groups_pattern='(.+)'"),
    *("data.group_name=photograph", "head=probe", "explain=none"),
]
FOLDS = ["split=group_kfold", "split.folds=2", "split.refit=true", "baselines=[]"]
HALVES = ["split=group_holdout", "split.fraction=0.5"]
TRAININGS = {
    "good": ["backbone=morphology", *FOLDS],
    "same": ["backbone=morphology", *FOLDS],
    "poor": ["backbone=colour_histogram", *FOLDS],
    "half": ["backbone=morphology", *HALVES],
    "other half": ["backbone=morphology", *HALVES, "split.seed=1"],
    "smoke": ["backbone=morphology", "debug.limit_per_class=4"],
}


@pytest.fixture(scope="module")
def folder(bccd, tmp_path_factory) -> Path:
    """A folder with images, and a run of each training."""
    folder = tmp_path_factory.mktemp("promoted")
    shutil.copytree(bccd, folder / "cells")
    for name, words in TRAININGS.items():
        completed = run(["train", *OWN, *words, f"tracking.run_name='{name}'"], cwd=folder)
        assert completed.returncode == 0, completed.stderr
    return folder


@pytest.fixture(scope="module")
def ids(folder):
    return {each.info.run_name: each.info.run_id for each in runs_in(folder)}


@pytest.fixture
def best(folder):
    """Return a function that returns the version of a registered model that has the alias."""
    look_into(folder)
    return lambda name: MlflowClient().get_model_version_by_alias(name, "best")


def promote(folder, *words):
    return run(["promote", *words, "n_resamples=100"], cwd=folder)


def challenges(version):
    return [value for tag, value in version.tags.items() if tag.startswith("challenges.")]


def versions(name):
    return sorted(int(each.version) for each in MlflowClient().search_model_versions(f"name='{name}'"))


def test_the_first_model_is_promoted_if_it_is_better_than_the_baseline(folder, ids, best):
    completed = promote(folder, "model=first", f"candidate={ids['poor']}")
    assert completed.returncode == 4, completed.stderr
    assert completed.stderr == ""
    assert "poor (candidate) and majority class is inconclusive" in completed.stdout
    assert "more photographs would detect a difference of this size." in completed.stdout
    assert "Cannot tell, so not promoted: models:/first@best has no version" in completed.stdout
    assert versions("first") == []
    assert MlflowClient().get_run(ids["poor"]).data.tags["promotion"] == "cannot tell"

    completed = promote(folder, "model=first", f"candidate={ids['good']}")
    assert completed.returncode == 0, completed.stderr
    assert "good (candidate) is better than majority class by " in completed.stdout
    assert "Promoted: models:/first@best is now version 1" in completed.stdout
    version = best("first")
    assert version.tags["run_id"] == version.tags["promotion_candidate_run"] == ids["good"]
    assert version.tags["promotion_verdict"] in completed.stdout
    assert version.tags["promotion_report"] == f"runs:/{ids['good']}/promotion/report.html"
    assert version.description.startswith("# ")
    (kept,) = [each for each in runs_in(folder) if each.info.run_id == ids["good"]]
    assert "promotion_champion_run" not in version.tags
    assert (
        version.tags["promotion_verdict"]
        in json.loads((artifacts_of(kept) / "promotion" / "report.json").read_text("utf-8"))["facts"]["decision"]
    )


def test_a_worse_model_is_not_promoted_and_a_better_one_is(folder, ids, best):
    assert run(["register", f"run={ids['good']}", "name=ranked", "alias=best"], cwd=folder).returncode == 0
    completed = promote(folder, "model=ranked", f"candidate={ids['poor']}", "--json")
    assert completed.returncode == 3, completed.stderr
    found = json.loads(completed.stdout)
    assert (found["outcome"], found["verdict"], found["version"]) == ("not promoted", "worse", None)
    assert (found["champion_version"], found["champion_run"]) == (1, ids["good"])
    assert "error" not in found
    assert found["comparison"]["split"] == "val"
    assert found["comparison"]["images"] == 40
    assert (found["challenges"], challenges(best("ranked"))) == (1, ["1"])
    assert Path(found["page"]).is_file()
    assert (versions("ranked"), int(best("ranked").version)) == ([1], 1)
    tags = MlflowClient().get_run(ids["poor"]).data.tags
    assert (tags["promotion"], tags["promotion_verdict"]) == ("not promoted", found["sentence"])

    assert run(["register", f"run={ids['poor']}", "name=ranked", "alias=best"], cwd=folder).returncode == 0
    completed = promote(folder, "model=ranked", f"candidate={ids['good']}", "--json")
    assert completed.returncode == 0, completed.stderr
    found = json.loads(completed.stdout)
    assert (found["outcome"], found["verdict"], found["version"]) == ("promoted", "better", 3)
    version = best("ranked")
    assert int(version.version) == 3
    assert version.tags["promotion_champion_version"] == "2"
    assert version.tags["promotion_champion_run"] == ids["poor"]
    assert version.tags["promotion_verdict"] == found["sentence"]
    # The second candidate on these images, though the first one's champion was another.
    assert found["challenges"] == 2
    assert challenges(MlflowClient().get_model_version("ranked", "2")) == ["2"]


def test_an_ensemble_is_a_candidate_and_a_champion(folder, ids, best):
    completed = run(["ensemble", f"runs=[{ids['good']},{ids['poor']}]", "tracking.run_name=both"], cwd=folder)
    assert completed.returncode == 0, completed.stderr
    both = next(each.info.run_id for each in runs_in(folder) if each.info.run_name == "both")
    assert run(["register", f"run={ids['poor']}", "name=several", "alias=best"], cwd=folder).returncode == 0
    completed = promote(folder, "model=several", f"candidate={both}")
    assert completed.returncode == 0, completed.stderr
    assert best("several").tags["run_id"] == both
    completed = promote(folder, "model=several", f"candidate={ids['poor']}", "--json")
    assert completed.returncode == 3, completed.stderr
    found = json.loads(completed.stdout)
    assert (found["champion_run"], found["challenges"]) == (both, 2)


def test_an_equivalent_model_is_promoted_only_if_it_is_cheaper(folder, ids, best):
    assert run(["register", f"run={ids['good']}", "name=cheap", "alias=best"], cwd=folder).returncode == 0
    completed = promote(folder, "model=cheap", f"candidate={ids['same']}")
    assert completed.returncode == 3, completed.stderr
    assert "are equivalent within 1 point" in completed.stdout
    assert "The candidate is not cheaper: both have as many parameters" in completed.stdout
    assert versions("cheap") == [1]
    MlflowClient().log_metric(ids["same"], "cost/parameters", 3)
    completed = promote(folder, "model=cheap", f"candidate={ids['same']}")
    assert completed.returncode == 0, completed.stderr
    assert "The candidate is cheaper: it has 3 parameters, the champion " in completed.stdout
    assert int(best("cheap").version) == 2
    assert challenges(MlflowClient().get_model_version("cheap", "1")) == ["1"]  # twice the same candidate


def test_the_champion_predicts_only_what_it_was_not_trained_on(folder, ids, best, monkeypatch):
    monkeypatch.chdir(folder)  # the run's folder of images is relative
    assert run(["register", f"run={ids['half']}", "name=halves", "alias=best"], cwd=folder).returncode == 0
    version = best("halves")
    champion, candidate = run_or_none(ids["half"]), run_or_none(ids["other half"])
    found = held_out.held_out_predictions(candidate, champion, address=f"models:/halves/{version.version}")
    recorded, others = (each.predictions[each.predictions["split"] == "val"] for each in (champion, candidate))
    both = sorted(set(recorded["path"]) & set(others["path"]))
    assert 5 <= len(both) < len(others)
    assert found.champion["path"].tolist() == sorted(found.candidate["path"]) == both
    # The same as when the champion was evaluated: not calibrated, and of these files.
    expected = recorded.set_index("path").loc[both]
    columns = [column for column in recorded if column.startswith("p_")]
    assert np.allclose(found.champion[columns], expected[columns], atol=1e-4)
    assert found.champion["label"].tolist() == expected["label"].tolist()

    completed = promote(folder, "model=halves", f"candidate={ids['other half']}", "--json")
    assert completed.returncode == 4, completed.stderr
    document = json.loads(completed.stdout)
    assert document["verdict"] == "inconclusive"
    assert "more" in document["sentence"]
    assert document["comparison"]["images"] == len(both)
    assert f"{len(both)} of the 20 validation images" in document["comparison"]["warnings"][0]
    assert (versions("halves"), int(best("halves").version)) == ([1], 1)


def test_a_champion_that_was_trained_on_all_images_is_not_compared(folder, ids):
    assert run(["register", f"run={ids['good']}", "name=whole", "alias=best"], cwd=folder).returncode == 0
    completed = promote(folder, "model=whole", f"candidate={ids['half']}")
    assert completed.returncode == 2
    assert completed.stderr.count("\n") == 1
    assert "was not trained on 0, of 0 photographs, which are too few" in completed.stderr


def test_images_that_are_gone_or_changed_are_refused(folder, ids):
    assert run(["register", f"run={ids['half']}", "name=gone", "alias=best"], cwd=folder).returncode == 0
    cells, away = folder / "cells", folder / "away"
    cells.rename(away)
    try:
        gone = promote(folder, "model=gone", f"candidate={ids['other half']}")
        shutil.copytree(away, cells)
        for file in cells.glob("TRAIN/*/*.jpeg"):
            file.write_bytes(file.read_bytes() + b"\0")
        changed = promote(folder, "model=gone", f"candidate={ids['other half']}")
    finally:
        shutil.rmtree(cells)
        away.rename(cells)
    for completed in (gone, changed):
        assert completed.returncode == 2
        assert completed.stderr.count("\n") == 1
        assert "are not on this machine as they were recorded" in completed.stderr


def manifest(rows):
    table = pd.DataFrame(rows, columns=["path", "source", "group", "sha256", "split"])
    return table.assign(label="x")


def test_images_are_seen_by_content_and_through_sources_and_groups_of_either_run():
    champion = manifest(
        [("old/a", "s1", "p1", "a", "train"), ("old/b", "s2", "p1", "b", "val"), ("old/c", "s3", "p3", "c", "test")]
    )
    candidate = manifest(
        [
            ("a", "t1", "q1", "a", "val"),  # the same content
            ("a2", "t1", "q1x", "a2", "val"),  # a copy of the same photograph
            ("b", "t2", "q2", "b", "val"),  # the same patient, as the champion's run knows
            ("b2", "t3", "q2", "b2", "val"),  # and as the candidate's run knows of this one
            ("c", "t4", "q3", "c", "val"),
            ("d", "t5", "q4", "d", "val"),
            ("e", "s1", "q5", "e", "val"),  # a photograph with a name in the champion's training
        ]
    )
    runs = [SimpleNamespace(id=name, manifest=each) for name, each in (("new", candidate), ("old", champion))]
    assert held_out.unseen_images(*runs) == {"c", "d"}
    runs[0].manifest, runs[1].manifest = candidate.assign(bits=12), champion.assign(bits=16)
    with pytest.raises(UserError, match="uses 12 bits a channel and the champion 16"):
        held_out.unseen_images(*runs)


def test_runs_that_are_not_fit_are_refused(folder, ids):
    completed = promote(folder, "model=fit", f"candidate={ids['smoke']}")
    assert completed.returncode == 2
    assert completed.stderr.startswith(f"bloodcell: candidate={ids['smoke']}: is a debug run")
    assert versions("fit") == []
    forced = promote(folder, "model=fit", f"candidate={ids['smoke']}", "force=true")
    assert forced.returncode == 4, forced.stderr  # it cannot win
    assert versions("fit") == []
    assert promote(folder, "model=fit", "candidate=nobody").returncode == 2
    assert promote(folder, "model=fit", f"candidate={ids['good']}").returncode == 0
    again = promote(folder, "model=fit", f"candidate={ids['good']}")
    assert again.returncode == 2
    assert "is already models:/fit@best, version 1" in again.stderr


def test_an_alias_that_moved_meanwhile_stays(folder, ids, best, monkeypatch):
    for name in ("poor", "good"):
        assert run(["register", f"run={ids[name]}", "name=moved", "alias=best"], cwd=folder).returncode == 0
    MlflowClient().set_registered_model_alias("moved", "best", "1")

    def move(*_):
        MlflowClient().set_registered_model_alias("moved", "best", "2")

    monkeypatch.setattr("bloodcell.jobs.promote.log_folder", move)
    completed = promote(folder, "model=moved", f"candidate={ids['same']}")
    assert completed.returncode == 2
    assert completed.stderr.count("\n") == 1
    assert "moved during this command, from version 1 to version 2" in completed.stderr
    assert (versions("moved"), int(best("moved").version)) == ([1, 2], 2)


def test_a_rollback_keeps_its_reason_and_refuses_what_is_not_fit(folder, ids, best):
    for name in ("good", "smoke", "poor"):
        words = ["register", f"run={ids[name]}", "name=back", "alias=best", "force=true"]
        assert run(words, cwd=folder).returncode == 0
    completed = promote(folder, "model=back", "to=1", "reason=fails on slides of the new stain", "--json")
    assert completed.returncode == 0, completed.stderr
    found = json.loads(completed.stdout)
    assert (found["outcome"], found["version"], found["from_version"]) == ("rolled back", 1, 3)
    version = best("back")
    assert int(version.version) == 1
    assert version.tags["rollback_reason"] == "fails on slides of the new stain"
    assert version.tags["rollback_from_version"] == "3"
    assert version.tags["rollback_time"].endswith(" UTC")
    for words, message in (
        (["to=2", "reason=x"], "is a debug run"),
        (["to=9", "reason=x"], "to=9: back has no such version"),
        (["to=1", "reason=x"], "to=1: is already models:/back@best"),
        (["to=3"], "reason: belongs to to=VERSION"),
        (["to=3", "reason=x", f"candidate={ids['good']}"], "candidate and to: give exactly one"),
    ):
        refused = promote(folder, "model=back", *words)
        assert refused.returncode == 2
        assert message in refused.stderr
        assert refused.stderr.count("\n") == 1
    assert int(best("back").version) == 1
    forced = promote(folder, "model=back", "to=2", "reason=x", "force=true")
    assert forced.returncode == 0, forced.stderr
    assert "models:/back@best is now version 2, from version 1" in forced.stdout
