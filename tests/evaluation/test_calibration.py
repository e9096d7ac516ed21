import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from bloodcell.evaluation.calibration import (
    CalibrationErrors,
    calibration_bins,
    calibration_errors,
    expected_calibration_error,
)
from bloodcell.evaluation.outcome import evaluate_calibrated, evaluate_table
from bloodcell.evaluation.predictions import predictions_table


def two_classes(confidences: list[float]) -> np.ndarray:
    first = np.array(confidences, dtype=np.float64)
    return np.column_stack([first, 1 - first])


def test_bins_with_groups_have_intervals_that_count_them():
    # Twenty images in the last of two bins, one of five wrong: of ten groups, of four groups.
    labels = np.tile([0, 0, 0, 0, 1], 4)
    probabilities = two_classes([0.9] * 20)
    bins = calibration_bins(labels=labels, probabilities=probabilities, n_bins=2, groups=np.arange(20) // 2)
    assert bins["groups"].tolist() == [0, 10]
    low, high = bins["accuracy_low"].iloc[1], bins["accuracy_high"].iloc[1]
    assert 0.4 < low < 0.8 < high < 1
    assert np.isnan(bins["accuracy_low"].iloc[0])
    few = calibration_bins(labels=labels, probabilities=probabilities, n_bins=2, groups=np.arange(20) // 5)
    assert np.isnan(few["accuracy_low"].iloc[1])


def test_the_error_is_the_gap_of_each_bin_weighted_by_its_images():
    # In (0.9, 1]: two images, 0.95 sure, half right. In (0.6, 0.7]: one image, 0.65 sure, right.
    bins = calibration_bins(labels=[0, 1, 0], probabilities=two_classes([0.95, 0.95, 0.65]), n_bins=10)
    filled = bins[bins["images"] > 0]
    np.testing.assert_allclose(filled[["lower", "upper"]], [[0.6, 0.7], [0.9, 1.0]])
    assert filled["images"].tolist() == [1, 2]
    np.testing.assert_allclose(filled["confidence"], [0.65, 0.95])
    np.testing.assert_allclose(filled["accuracy"], [1, 0.5])
    assert expected_calibration_error(bins) == pytest.approx(1 / 3 * 0.35 + 2 / 3 * 0.45)


def test_a_confidence_on_a_border_belongs_to_the_bin_below():
    bins = calibration_bins(labels=[0, 0, 0], probabilities=two_classes([0.5, 0.75, 1.0]), n_bins=4)
    assert bins["images"].tolist() == [0, 1, 1, 1]


def test_there_are_fifteen_bins_and_empty_ones_have_no_means():
    bins = calibration_bins(labels=[0], probabilities=two_classes([1.0]))
    assert len(bins) == 15
    assert bins["images"].sum() == 1
    assert bins.loc[bins["images"] == 0, ["confidence", "accuracy"]].isna().all(axis=None)


def test_a_model_that_is_right_as_often_as_it_is_sure_has_no_error():
    bins = calibration_bins(labels=[0, 0, 0, 1], probabilities=two_classes([0.75] * 4))
    assert expected_calibration_error(bins) == pytest.approx(0)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(0.5, 1), st.booleans()), min_size=1, max_size=40))
def test_one_bin_leaves_the_distance_of_mean_confidence_from_accuracy(images):
    probabilities = two_classes([confidence for confidence, _ in images])
    labels = np.array([int(wrong) for _, wrong in images])
    bins = calibration_bins(labels=labels, probabilities=probabilities, n_bins=1)
    right = (probabilities.argmax(axis=1) == labels).mean()
    assert expected_calibration_error(bins) == pytest.approx(abs(probabilities.max(axis=1).mean() - right))
    assert expected_calibration_error(calibration_bins(labels=labels, probabilities=probabilities)) >= (
        expected_calibration_error(bins) - 1e-9
    )


def test_no_image_has_no_error_to_tell():
    bins = calibration_bins(labels=np.array([], dtype=int), probabilities=np.empty((0, 2)))
    assert math.isnan(expected_calibration_error(bins))


def test_less_than_one_bin_is_refused():
    with pytest.raises(ValueError, match="n_bins"):
        calibration_bins(labels=[0], probabilities=two_classes([1.0]), n_bins=0)


def test_the_debiased_error_is_the_root_of_products_of_gaps_of_different_groups():
    # One bin, as there are fewer than ten groups. Confidence less right: a -0.1 and 0.9, b -0.2, c 0.7.
    labels, probabilities = [0, 1, 0, 1], two_classes([0.9, 0.9, 0.8, 0.7])
    errors = calibration_errors(labels=labels, probabilities=probabilities, groups=list("aabc"))
    a, b, c = 0.8, -0.2, 0.7
    assert errors.debiased == pytest.approx(math.sqrt(2 * (a * b + a * c + b * c) / (4**2 - (2**2 + 1 + 1))))
    assert errors.expected == pytest.approx(
        expected_calibration_error(calibration_bins(labels=labels, probabilities=probabilities))
    )


def test_the_error_by_chance_is_the_mean_over_signs_of_the_groups():
    # Three bins: of 0.95 the groups a and b, whose signs agree half of the time, of 0.65 and 0.75 one group.
    labels, probabilities = [1, 0, 0, 1], two_classes([0.95, 0.95, 0.65, 0.75])
    errors = calibration_errors(labels=labels, probabilities=probabilities, groups=list("abab"))
    assert errors.expected == pytest.approx((0.9 + 0.35 + 0.75) / 4)
    # |0.95 - 0.05| or |0.95 + 0.05|, of which `N_SIGNS` draws give the mean nearly.
    assert errors.by_chance == pytest.approx((0.95 + 0.35 + 0.75) / 4, abs=0.003)


def test_of_independent_images_of_one_confidence_it_is_kumars():
    right, n, confidence = 14, 20, 0.9
    labels = np.array([0] * right + [1] * (n - right))
    errors = calibration_errors(labels=labels, probabilities=two_classes([confidence] * n), groups=np.arange(n))
    accuracy = right / n
    chance = accuracy * (1 - accuracy) / (n - 1)
    assert errors.debiased == pytest.approx(math.sqrt((confidence - accuracy) ** 2 - chance))
    assert errors.expected == pytest.approx(confidence - accuracy)


def simulated(*, gap: float, correlation: float, seed: int, n_groups: int = 60, images: int = 20) -> CalibrationErrors:
    """A model that is right `gap` less often than it is sure, and of a group's images together or for each."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), images)
    quantile = norm.cdf(
        np.sqrt(correlation) * rng.standard_normal(n_groups)[groups]
        + np.sqrt(1 - correlation) * rng.standard_normal(groups.size)
    )
    confidence = 0.5 + 0.5 * np.sqrt(rng.uniform(size=n_groups))[groups]
    labels = (quantile >= confidence - gap).astype(int)
    return calibration_errors(labels=labels, probabilities=two_classes(list(confidence)), groups=groups)


@pytest.mark.parametrize("correlation", [0.1, 0.85])
def test_of_a_calibrated_model_chance_explains_the_expected_error(correlation):
    found = [simulated(gap=0.0, correlation=correlation, seed=seed) for seed in range(100)]
    expected = np.mean([each.expected for each in found])
    assert np.mean([each.by_chance for each in found]) == pytest.approx(expected, rel=0.12)
    assert np.mean([each.debiased for each in found]) < 0.5 * expected
    assert np.median([each.debiased for each in found]) < 0.25 * expected


@pytest.mark.parametrize("gap", [0.1, 0.2])
@pytest.mark.parametrize("correlation", [0.1, 0.85])
def test_of_a_model_that_is_too_sure_the_mean_square_is_its_gaps(gap, correlation):
    found = [simulated(gap=gap, correlation=correlation, seed=seed).debiased for seed in range(100)]
    assert np.sqrt(np.mean(np.square(found))) == pytest.approx(gap, rel=0.15)


def test_the_more_sure_a_model_is_without_reason_the_greater_its_debiased_error():
    errors = [simulated(gap=gap, correlation=0.3, seed=0).debiased for gap in (0.0, 0.1, 0.2, 0.4)]
    assert errors == sorted(errors)
    assert errors[0] < errors[-1]


def test_copies_of_images_and_the_order_of_rows_change_no_error():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 40, 200)
    probabilities = two_classes(list(rng.uniform(0.5, 1, 200)))
    labels = rng.integers(0, 2, 200)
    once = calibration_errors(labels=labels, probabilities=probabilities, groups=groups)
    rows = rng.permutation(np.tile(np.arange(200), 2))
    twice = calibration_errors(labels=labels[rows], probabilities=probabilities[rows], groups=groups[rows])
    assert (twice.expected, twice.by_chance, twice.debiased) == pytest.approx(
        (once.expected, once.by_chance, once.debiased)
    )


def test_images_of_equal_confidence_share_a_bin_in_whatever_order_they_come():
    # All right images come first: bins that cut through equal confidences would find large gaps.
    labels = np.repeat([0, 1], [75, 25])
    errors = calibration_errors(labels=labels, probabilities=two_classes([0.75] * 100), groups=np.arange(100))
    assert errors.expected == pytest.approx(0)
    assert errors.debiased == 0
    assert errors.by_chance == pytest.approx(math.sqrt(2 / math.pi * 0.75 * 0.25 / 100), rel=0.1)


def test_one_group_gives_no_error_and_chance_can_explain_all():
    errors = calibration_errors(labels=[0, 0, 1], probabilities=two_classes([0.9, 0.8, 0.7]), groups=list("aaa"))
    assert math.isnan(errors.debiased)
    assert errors.by_chance == pytest.approx(errors.expected)


def test_images_need_a_group_each():
    with pytest.raises(ValueError, match="2 images need a group each"):
        calibration_errors(labels=[0, 1], probabilities=two_classes([0.9, 0.8]), groups=["a"])
    with pytest.raises(ValueError, match="at least one image"):
        calibration_errors(labels=np.array([], int), probabilities=np.empty((0, 2)), groups=[])


def test_a_table_is_measured_by_its_groups_as_it_is_and_calibrated():
    labels, probabilities = [0, 1, 0, 1], two_classes([0.9, 0.9, 0.8, 0.7])
    table = pd.DataFrame({"path": list("1234"), "label": list("xyxy"), "group": list("aabc"), "split": "test"})
    table = predictions_table(manifest=table, probabilities=probabilities, classes=("x", "y"))
    errors = calibration_errors(labels=labels, probabilities=probabilities, groups=list("aabc"))
    metrics = evaluate_table(table, classes=("x", "y"), label_smoothing=0.0)
    calibrated = evaluate_calibrated(table, classes=("x", "y"), calibrated=probabilities)
    for found in (metrics, calibrated):
        assert found["ece"] == pytest.approx(errors.expected)
        assert (found["ece_by_chance"], found["calibration_error"]) == pytest.approx(
            (errors.by_chance, errors.debiased)
        )
