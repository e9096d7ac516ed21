"""`bloodcell.sweep`, as a notebook calls it."""

import pytest
from commands import one_pixel

import bloodcell
import bloodcell.experiment.sweep as sweeping
from bloodcell.comparison.candidates import MAJORITY
from bloodcell.errors import UserError
from bloodcell.experiment.sweep import combinations
from bloodcell.plots.drawing import Pictures

SMEARS = {"source": "smears", "train_photographs": 24, "test_photographs": 20, "copies": 2}
SETTINGS = {"data": SMEARS, "head": "probe", "finetune": "none", "explain": "none", "log_model": False}
MISSING = {"name": "MobileNetV2", "weights": "no-such-file.h5", "input_size": 96}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pictures, "draw", one_pixel)
        return bloodcell.sweep(
            {"backbone": ["colour_histogram", MISSING, "morphology"]},
            **SETTINGS,
            folder=tmp_path_factory.mktemp("sweep") / "study",
            quiet=True,
        )


def test_a_training_that_fails_does_not_stop_the_others(study):
    assert list(study.results) == ["colour_histogram", "morphology"]
    (reason,) = study.failed.values()
    assert "no-such-file.h5" in reason
    assert sorted(path.name.partition("-")[0] for path in study.folder.iterdir()) == ["0", "2"]


def test_a_study_compares_its_results_and_shows_the_ranking_the_baseline_and_what_failed(study):
    assert set(study.comparison.ranking["run"]) == {"colour_histogram", "morphology", MAJORITY}
    by_f1 = study.compare(metrics=["macro_f1"], split="test")
    assert by_f1.n_images == 40
    assert by_f1.costs["parameters"]["morphology"] == study["morphology"].cost["parameters"] > 0
    page = study._repr_html_()
    assert study.comparison._repr_html_() in page
    assert "no-such-file.h5" in page
    assert study.comparison.best in repr(study)
    assert study["colour_histogram"].predictions is study.results["colour_histogram"].predictions


@pytest.mark.parametrize(
    ("vary", "settings"),
    [
        ({}, {}),
        ({"backbone": "morphology"}, {}),
        ({"seed": [0, 0]}, {}),
        ({"seed": [0, 1]}, {"seed": 2}),
        ({"no_such_setting": [0, 1]}, {}),
        ({"backbone": ["morphology", "no_such_backbone"]}, {}),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_trained(vary, settings, tmp_path):
    with pytest.raises(UserError, match=r"[;,] "):
        bloodcell.sweep(vary, **settings, folder=tmp_path / "study")
    assert not list(tmp_path.iterdir())


def test_names_say_what_differs():
    names = combinations({"backbone": ["morphology", "xception"], "split": [{"fraction": 0.3}], "seed": [0, 1]}, {})
    assert list(names)[:2] == ["morphology, fraction=0.3, seed=0", "morphology, fraction=0.3, seed=1"]
    assert names["xception, fraction=0.3, seed=1"] == {"backbone": "xception", "split": {"fraction": 0.3}, "seed": 1}


def test_varied_choices_share_what_is_given_as_a_dictionary(monkeypatch):
    trained = {}
    monkeypatch.setattr(sweeping, "train", lambda config, *, folder, quiet: trained.update({folder.name: config}))
    bloodcell.sweep({"backbone": ["xception", "mobilenetv2_inner"]}, backbone={"input_size": 96}, quiet=True)
    assert [(each.backbone.name.lower(), each.backbone.input_size) for each in trained.values()] == [
        ("xception", 96),
        ("mobilenetv2", 96),
    ]
    assert [len(each.backbone.taps) for each in trained.values()] == [0, 2]
