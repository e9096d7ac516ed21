import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from bloodcell.evaluation.calibration import CalibrationErrors, calibration_bins, calibration_errors
from bloodcell.evaluation.selective_prediction import risk_coverage, threshold_for_error
from bloodcell.evaluation.temperature import with_temperature
from bloodcell.plots.confidence import reliability, risk_against_coverage

TITLE = (
    "Of a run with a name that is as long as a figure is wide and then some more, so that it takes two lines, $ and $"
)


NOTHING = CalibrationErrors(expected=0.0, by_chance=0.0, debiased=0.0)


@pytest.fixture(scope="module")
def answers() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 277)
    logits = rng.normal(0, 1, (277, 4))
    logits[np.arange(277), labels] += rng.normal(5, 2.5, 277)
    groups = np.repeat(np.arange(277), 6)
    return {
        "labels": labels[groups],
        "probabilities": softmax(2 * logits[groups] + rng.normal(0, 1, (groups.size, 4)), axis=1),
        "groups": groups,
    }


def curve_of(answers: dict[str, np.ndarray]) -> pd.DataFrame:
    return risk_coverage(labels=answers["labels"], probabilities=answers["probabilities"], sources=answers["groups"])


def test_a_reliability_diagram_shows_the_errors_before_and_after(answers, texts_of, check_legible):
    labels, probabilities = answers["labels"], answers["probabilities"]
    both = (probabilities, with_temperature(probabilities, 1.8))
    groups = answers["groups"]
    before, after = (calibration_bins(labels=labels, probabilities=each, groups=groups) for each in both)
    errors = tuple(calibration_errors(labels=labels, probabilities=each, groups=answers["groups"]) for each in both)
    figure = reliability(before, after, errors=errors, temperature=1.8, cross_fitted=True, title=TITLE)
    texts = texts_of(figure)
    for name, error in zip(("Uncalibrated", "Temperature 1.80, cross-fitted"), errors, strict=True):
        (text,) = [text for text in texts if text.startswith(name)]
        for number in (error.expected, error.by_chance, error.debiased):
            assert f"{100 * number:.1f}" in text
    assert sum("1,662 images" in text for text in texts) == 2
    check_legible(figure)


def test_bars_show_accuracy_and_its_distance_to_confidence():
    bins = calibration_bins(labels=[0, 1, 0, 1], probabilities=np.tile([0.9, 0.1], (4, 1)), n_bins=4, groups=range(4))
    (right, distance) = reliability(bins, bins, errors=(NOTHING, NOTHING), temperature=1.0, title="t").axes[0].patches
    assert right.get_height() == pytest.approx(0.5)
    assert (distance.get_y(), distance.get_height()) == (pytest.approx(0.5), pytest.approx(0.4))


def test_a_bin_has_its_interval_unless_it_has_too_few_groups(answers):
    labels, probabilities = answers["labels"], answers["probabilities"]
    bins = calibration_bins(labels=labels, probabilities=probabilities, groups=answers["groups"])
    axes = reliability(bins, bins, errors=(NOTHING, NOTHING), temperature=1.0, title="t").axes[0]
    ends = [np.asarray(ends)[:, 1].tolist() for lines in axes.collections for ends in lines.get_segments()]
    known = bins.dropna(subset="accuracy_low")
    assert 0 < len(known) < (bins["images"] > 0).sum()
    assert ends == known[["accuracy_low", "accuracy_high"]].to_numpy().tolist()


def test_a_single_image_can_be_drawn(check_legible):
    bins = calibration_bins(labels=[0], probabilities=np.array([[0.6, 0.4]]), groups=["a"])
    check_legible(reliability(bins, bins, errors=(NOTHING, NOTHING), temperature=0.2, title="t"))
    curve = risk_coverage(labels=[1], probabilities=np.array([[0.6, 0.4]]), sources=["a"])
    check_legible(risk_against_coverage(curve, threshold=None, title="t"))


def test_the_threshold_is_marked_and_described(answers, texts_of, check_legible):
    curve = curve_of(answers)
    threshold = threshold_for_error(**answers, max_error=0.05)
    assert threshold is not None
    figure = risk_against_coverage(curve, threshold=threshold, title=TITLE)
    text = next(text for text in texts_of(figure) if text.startswith("Threshold "))
    assert f"{threshold.wrong} of {threshold.covered} wrong" in text
    assert f"{threshold.upper_bound:.1%} with 95% confidence" in text
    points = [line.get_xydata() for line in figure.axes[0].get_lines()]
    assert any(
        xy.shape == (1, 2) and np.allclose(xy, [threshold.coverage, threshold.error]) for xy in map(np.asarray, points)
    )
    check_legible(figure)


def test_without_a_threshold_there_are_only_the_curves(answers, texts_of, check_legible):
    figure = risk_against_coverage(curve_of(answers), threshold=None, title="t")
    texts = texts_of(figure)
    assert not any("Threshold " in text for text in texts)
    assert any(text.startswith("By image:") for text in texts)
    assert any(text.startswith("By photograph:") for text in texts)
    check_legible(figure)
