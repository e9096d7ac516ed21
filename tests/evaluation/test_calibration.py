import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloodcell.evaluation.calibration import calibration_bins, expected_calibration_error


def two_classes(confidences: list[float]) -> np.ndarray:
    first = np.array(confidences, dtype=np.float64)
    return np.column_stack([first, 1 - first])


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
