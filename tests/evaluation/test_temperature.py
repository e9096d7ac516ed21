import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from bloodcell.evaluation.calibration import calibration_bins, expected_calibration_error
from bloodcell.evaluation.temperature import TEMPERATURES, cross_calibrated, fit_temperature, with_temperature


def answers(*, sharpened: float, n: int = 3000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from probabilities, and what a model says that has them to the power of `sharpened`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, 4))
    truth = softmax(logits, axis=1)
    labels = (truth.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return np.minimum(labels, 3), softmax(logits * sharpened, axis=1)


@pytest.mark.parametrize("sharpened", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_was_sharpened(sharpened):
    labels, probabilities = answers(sharpened=sharpened)
    found = fit_temperature(labels=labels, probabilities=probabilities, groups=np.arange(labels.size))
    assert found == pytest.approx(sharpened, rel=0.1)


def test_a_model_that_was_too_sure_is_calibrated():
    labels, probabilities = answers(sharpened=3)
    temperature = fit_temperature(labels=labels, probabilities=probabilities, groups=np.arange(labels.size))
    fresh, predicted = answers(sharpened=3, seed=1)
    before = expected_calibration_error(calibration_bins(labels=fresh, probabilities=predicted))
    after = expected_calibration_error(
        calibration_bins(labels=fresh, probabilities=with_temperature(predicted, temperature))
    )
    assert after < 0.03 < 0.1 < before


def test_each_photograph_counts_once_however_many_images_it_has():
    labels, probabilities = answers(sharpened=2, n=200)
    once = fit_temperature(labels=labels, probabilities=probabilities, groups=np.arange(200))
    copies = np.random.default_rng(0).integers(1, 30, 200)
    repeated = np.repeat(np.arange(200), copies)
    many = fit_temperature(labels=labels[repeated], probabilities=probabilities[repeated], groups=repeated)
    assert many == pytest.approx(once, rel=1e-3)


def test_predictions_all_right_or_all_wrong_stay_within_the_bounds():
    probabilities = np.array([[0.7, 0.3], [0.2, 0.8], [1.0, 0.0]])
    right = fit_temperature(labels=[0, 1, 0], probabilities=probabilities, groups=["a", "b", "c"])
    wrong = fit_temperature(labels=[1, 0, 1], probabilities=probabilities, groups=["a", "b", "c"])
    assert right == pytest.approx(TEMPERATURES[0], rel=1e-3)
    assert wrong == pytest.approx(TEMPERATURES[1], rel=1e-3)


def test_a_probability_of_zero_for_the_true_class_raises_the_temperature_and_no_error():
    labels, probabilities = answers(sharpened=1, n=300)
    surest = np.eye(4, dtype=np.float32)[(labels[:1] + 1) % 4]
    found = fit_temperature(
        labels=np.append(labels, labels[0]), probabilities=np.vstack([probabilities, surest]), groups=np.arange(301)
    )
    assert 1 < found < TEMPERATURES[1]


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.floats(0.2, 20))
def test_a_temperature_never_changes_what_is_predicted(seed, temperature):
    probabilities = np.random.default_rng(seed).dirichlet(np.full(5, 0.3), size=6)
    changed = with_temperature(probabilities, temperature)
    np.testing.assert_array_equal(changed.argmax(axis=1), probabilities.argmax(axis=1))
    np.testing.assert_allclose(changed.sum(axis=1), 1)
    assert changed.dtype == np.float64


def test_a_temperature_of_one_leaves_probabilities_as_they_are():
    probabilities = np.array([[1, 0, 0], [0.5, 0.25, 0.25]], dtype=np.float32)
    np.testing.assert_allclose(with_temperature(probabilities, 1), probabilities, atol=1e-7)


def test_what_is_no_temperature_or_has_no_image_is_refused():
    with pytest.raises(ValueError, match="temperature"):
        with_temperature(np.array([[0.5, 0.5]]), 0)
    with pytest.raises(ValueError, match="at least one image"):
        fit_temperature(labels=np.array([], int), probabilities=np.empty((0, 2)), groups=[])
    with pytest.raises(ValueError, match="each"):
        fit_temperature(labels=[0, 1], probabilities=np.full((2, 2), 0.5), groups=["a"])


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    return -float(np.log(probabilities[np.arange(labels.size), labels]).mean())


def test_what_is_calibrated_by_other_photographs_is_no_measure_of_fit():
    fitted, honest, fresh = [], [], []
    for seed in range(30):
        labels, probabilities = answers(sharpened=2.0, n=60, seed=seed)
        known = {"labels": labels, "probabilities": probabilities, "groups": np.arange(60) // 2}
        temperature = fit_temperature(**known)
        fitted.append(log_loss(labels, with_temperature(probabilities, temperature)))
        honest.append(log_loss(labels, cross_calibrated(**known)))
        others, predicted = answers(sharpened=2.0, n=2000, seed=1000 + seed)
        fresh.append(log_loss(others, with_temperature(predicted, temperature)))
    assert np.mean(fitted) < np.mean(honest)
    assert np.mean(honest) - np.mean(fitted) == pytest.approx(np.mean(fresh) - np.mean(fitted), abs=0.03)


def test_a_single_photograph_is_calibrated_by_no_other():
    labels, probabilities = answers(sharpened=3.0, n=5)
    one = cross_calibrated(labels=labels, probabilities=probabilities, groups=np.zeros(5))
    np.testing.assert_array_equal(one, probabilities)
