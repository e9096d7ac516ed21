"""``bloodcell screen`` as a user would run it."""

import json

import pandas as pd
import pytest
from commands import run

FEATURES = ["backbone=colour_histogram", "other_backbones=[morphology]", "permutations=19"]


@pytest.fixture(scope="module")
def screened(bccd, tmp_path_factory):
    folder = tmp_path_factory.mktemp("screened")
    completed = run(
        ["screen", "data=bccd", f"data.root={bccd}", "data.groups=none", *FEATURES, "output=found", "--json"],
        cwd=folder,
    )
    assert completed.returncode == 0, completed.stderr
    return json.loads(completed.stdout), folder / "found"


def test_each_set_of_features_has_a_curve_and_the_majority_class_beside_it(screened, bccd):
    found, folder = screened
    n_images = len(list((bccd / "TRAIN").glob("*/*")))
    assert (found["images"], found["groups"], found["method"]) == (n_images, n_images, "ridge")
    assert {each["backbone"] for each in found["features"]} == {"colour_histogram", "morphology"}
    assert found["majority_class"]["accuracy"] <= 0.5
    for each in found["features"]:
        curve = pd.DataFrame(each["curve"])
        assert len(curve) == 50
        assert curve["l2"].is_monotonic_increasing
        assert each["best"]["log_loss"] == curve["log_loss"].min()
        low, value, high = (curve[f"accuracy{end}"] for end in ("_low", "", "_high"))
        assert ((low <= value) & (value <= high)).all()
        assert each["p_adjusted"] == min(2 * each["p_value"], 1) == 0.1  # of 19 permutations none is as accurate
        assert each["best"]["accuracy"] > found["majority_class"]["accuracy"]
    losses = [each["best"]["log_loss"] for each in found["features"]]
    assert losses == sorted(losses)
    table = pd.read_csv(folder / "accuracy_by_strength.csv")
    assert len(table) == 100
    assert (folder / "plots" / "accuracy_by_strength.png").stat().st_size > 10_000


def test_the_influence_of_each_group_is_that_of_the_best_features(screened):
    found, folder = screened
    groups, best = pd.DataFrame(found["influence"]), found["features"][0]["best"]
    assert len(groups) == found["groups"] == len(pd.read_csv(folder / "influence.csv"))
    right = (groups["label"] == groups["predicted"]).mean()  # each image is a group here
    assert right == pytest.approx(best["photograph_accuracy"])
    assert (groups["probability"] >= groups["label_probability"]).all()
    assert groups["effect"].abs().between(0, 0.5).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["other_backbones=[morphologie]"], "other_backbones: backbone=morphologie: "),
        (["other_backbones=[colour_histogram]"], "other_backbones: colour_histogram is given twice"),
        (["method=svm"], "method=svm: "),
        (["poolings=[]"], "poolings"),
        (["data.groups=pattern", "data.groups_pattern=(T)RAIN|(?P<group>)TEST", "data.group_name=slide"], "data"),
    ],
)
def test_a_users_error_is_one_line(bccd, tmp_path, wrong, message):
    given = [] if any(each.startswith("data.groups") for each in wrong) else ["data.groups=none"]
    completed = run(
        ["screen", "data=bccd", f"data.root={bccd}", "backbone=colour_histogram", *given, *wrong], cwd=tmp_path
    )
    assert completed.returncode == 2
    (line,) = [each for each in completed.stderr.splitlines() if each.startswith("bloodcell: ")][-1:]
    assert message in line
    assert not list(tmp_path.glob("**/*.csv"))
