import numpy as np
import pytest
from scipy import stats

from bloodcell.evaluation.jackknife import (
    Spread,
    interval,
    joined,
    p_value,
    proportion_interval,
    spread_of,
    without_skewness,
)


def influences(values: np.ndarray) -> np.ndarray:
    """Return by how much a mean is above what it would be without each value."""
    n = values.shape[-1]
    return (values - values.mean(axis=-1, keepdims=True)) / (n - 1)


def test_the_spread_of_a_mean_is_that_of_the_textbook():
    values = np.random.default_rng(0).normal(size=400)
    spread = spread_of(influences(values), np.zeros(400, dtype=np.int64))
    assert spread.variance == pytest.approx(values.var(ddof=1) / 400, rel=0.01)
    assert spread.skewness == pytest.approx(stats.skew(values) / 20, abs=0.01)
    assert 150 < spread.degrees <= 399


def test_an_interval_is_student_s_where_nothing_is_skewed():
    values = np.random.default_rng(1).normal(size=300)
    values = np.concatenate([values, -values]) + 5
    spread = spread_of(influences(values), np.zeros(600, dtype=np.int64))
    low, high = interval(np.array(values.mean()), spread)
    expected = stats.t.interval(0.95, 599, loc=values.mean(), scale=values.std(ddof=1) / np.sqrt(600))
    assert (low, high) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("symmetric", [False, True])
def test_p_values_below_five_in_a_hundred_are_of_what_the_interval_is_without(symmetric):
    rng = np.random.default_rng(2)
    values = rng.lognormal(size=(200, 30)) - 1.6
    spread = spread_of(influences(values), np.zeros(30, dtype=np.int64), symmetric=symmetric)
    means = values.mean(axis=1)
    low, high = interval(means, spread)
    outside = (low > 0) | (high < 0)
    assert (outside == (p_value(means, spread) < 0.05)).mean() > 0.97
    assert outside.any()
    assert not outside.all()


def test_skewed_means_are_held_as_often_as_the_interval_says():
    rng = np.random.default_rng(3)
    values = rng.exponential(size=(4000, 25))
    low, high = interval(values.mean(axis=1), spread_of(influences(values), np.zeros(25, dtype=np.int64)))
    held = ((low <= 1) & (high >= 1)).mean()
    plain = stats.t.interval(0.95, 24, loc=values.mean(axis=1), scale=values.std(axis=1, ddof=1) / 5)
    assert ((plain[0] <= 1) & (plain[1] >= 1)).mean() < held
    assert 0.93 < held < 0.97


def test_a_proportion_s_interval_is_wilson_s():
    right = np.repeat([1.0, 0.0], [90, 10])
    spread = spread_of(influences(right), np.zeros(100, dtype=np.int64))
    low, high = proportion_interval(np.array(0.9), spread, n_groups=100, evenly=True)
    expected = stats.binomtest(90, 100).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.01)


@pytest.mark.parametrize("skewness", [-2.0, -0.6, -0.1, 0.0, 0.1, 0.6, 2.0])
def test_the_correction_for_skewness_grows_with_the_distance_and_is_what_the_interval_undoes(skewness):
    t = np.linspace(-30, 30, 6001)
    corrected = without_skewness(t, np.array(skewness))
    assert (np.diff(corrected) > 0).all()
    spread = Spread(variance=np.array(4.0), skewness=np.array(skewness), degrees=np.array(12.0))
    for end in interval(np.array(0.0), spread):
        assert p_value(-end, spread) == pytest.approx(0.05)


def test_what_does_not_vary_has_no_interval_but_itself():
    spread = spread_of(np.zeros((2, 5)), np.zeros(5, dtype=np.int64))
    low, high = interval(np.array([0.3, 0.0]), spread)
    np.testing.assert_array_equal(low, high)
    assert p_value(np.array([0.3, 0.0]), spread).tolist() == [0.0, 1.0]


def test_a_stratum_of_one_goes_with_the_smallest_other():
    strata = np.array([0, 1, 1, 2, 2, 2])
    influence = np.arange(6.0)
    assert joined(strata, influence=influence).tolist() == [0, 0, 0, 2, 2, 2]
    assert joined(strata[1:], influence=influence[1:]).tolist() == strata[1:].tolist()


def test_training_differences_widen_the_spread_and_have_their_own_degrees_of_freedom():
    values = np.random.default_rng(4).normal(size=50)
    alone = spread_of(influences(values), np.zeros(50, dtype=np.int64))
    more = alone.plus(variance=alone.variance * 4, degrees=np.array(2.0))
    assert more.variance == pytest.approx(5 * alone.variance)
    assert 2 < more.degrees < 4
    assert abs(more.skewness) < abs(alone.skewness)
