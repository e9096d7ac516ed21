import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import binom

from bloodcell.evaluation.selective_prediction import (
    area_under_risk_coverage,
    risk_coverage,
    threshold_for_error,
    upper_bound,
)
from bloodcell.evaluation.sources import average_by_source, by_source


def two_classes(confidences) -> np.ndarray:
    first = np.asarray(confidences, dtype=np.float64)
    return np.column_stack([first, 1 - first])


def photographs(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Confidences from 0.5 to 1 and which answers are wrong, the more often the less sure; 6 % of all."""
    sure = expit(np.abs(rng.normal(4, 2, n)))
    return sure, rng.random(n) > sure


def test_risk_and_coverage_are_counted_by_image_and_by_photograph():
    curve = risk_coverage(
        labels=[0, 0, 0, 1], probabilities=two_classes([0.9, 0.7, 0.6, 0.55]), sources=["a", "a", "b", "c"]
    )
    # Photographs a, b and c are answered with 0.8, 0.6 and 0.55; c is wrong, as is its one image.
    np.testing.assert_allclose(curve["threshold"], [0.55, 0.6, 0.7, 0.8, 0.9])
    np.testing.assert_allclose(curve["image_coverage"], [1, 0.75, 0.5, 0.25, 0.25])
    np.testing.assert_allclose(curve["image_risk"], [0.25, 0, 0, 0, 0])
    np.testing.assert_allclose(curve["photograph_coverage"], [1, 2 / 3, 1 / 3, 1 / 3, 0])
    np.testing.assert_allclose(curve["photograph_risk"], [1 / 3, 0, 0, 0, np.nan])


def test_the_area_is_the_mean_risk_of_the_most_confident_ones():
    rng = np.random.default_rng(0)
    sure, wrong = photographs(rng, 80)
    curve = risk_coverage(labels=wrong.astype(int), probabilities=two_classes(sure), sources=np.arange(80))
    ranked = wrong[np.argsort(-sure)]
    expected = (ranked.cumsum() / np.arange(1, 81)).mean()
    assert area_under_risk_coverage(curve, unit="image") == pytest.approx(expected)
    assert area_under_risk_coverage(curve, unit="photograph") == pytest.approx(expected)


def test_the_area_is_lower_where_errors_are_where_the_model_is_least_sure():
    sure = np.linspace(0.5, 1, 50)
    areas = []
    for labels in (np.arange(50) < 10, np.arange(50) >= 40):
        curve = risk_coverage(labels=labels.astype(int), probabilities=two_classes(sure), sources=np.arange(50))
        areas.append(area_under_risk_coverage(curve, unit="photograph"))
    assert areas[0] < 0.05 < 0.5 < areas[1]


@pytest.mark.parametrize(("errors", "answered"), [(0, 59), (3, 80), (40, 277)])
def test_so_few_errors_have_a_chance_of_five_percent_at_the_upper_bound(errors, answered):
    bound = float(upper_bound(errors=errors, covered=answered, confidence=0.95))
    assert binom.cdf(errors, answered, bound) == pytest.approx(0.05)


def test_of_no_answer_or_no_right_one_nothing_better_is_known_than_that_all_may_be_wrong():
    np.testing.assert_array_equal(upper_bound(errors=[0, 4], covered=[0, 4], confidence=0.95), [1, 1])


def test_the_promise_holds_on_photographs_not_seen():
    repetitions, max_error = 400, 0.05
    fresh_sure, fresh_wrong = photographs(np.random.default_rng(1), 200_000)
    broken, coverages = 0, []
    for repetition in range(repetitions):
        sure, wrong = photographs(np.random.default_rng([2, repetition]), 277)
        found = threshold_for_error(
            labels=wrong.astype(int), probabilities=two_classes(sure), groups=np.arange(277), max_error=max_error
        )
        coverages.append(found.coverage if found else 0)
        broken += bool(found and fresh_wrong[fresh_sure >= found.value].mean() > max_error)
    assert fresh_wrong.mean() > max_error  # to answer all would break it
    assert broken / repetitions <= 0.05
    assert np.mean(coverages) > 0.7


def test_the_lowest_threshold_with_a_low_error_would_break_the_guarantee():
    # What the test above would see without the bound: the same 277 photographs, the error itself held at 5 %.
    fresh_sure, fresh_wrong = photographs(np.random.default_rng(1), 200_000)
    broken = 0
    for repetition in range(100):
        sure, wrong = photographs(np.random.default_rng([2, repetition]), 277)
        order = np.argsort(-sure)
        good = np.flatnonzero(wrong[order].cumsum() / np.arange(1, 278) <= 0.05)
        broken += fresh_wrong[fresh_sure >= sure[order][good[-1]]].mean() > 0.05
    assert broken / 100 > 0.3


def test_the_numbers_of_a_threshold_are_counts():
    sure, wrong = photographs(np.random.default_rng(3), 277)
    found = threshold_for_error(
        labels=wrong.astype(int), probabilities=two_classes(sure), groups=np.arange(277), max_error=0.05
    )
    assert found is not None
    answered = sure >= found.value
    assert (found.covered, found.wrong, found.sources) == (answered.sum(), wrong[answered].sum(), 277)
    assert found.coverage == pytest.approx(answered.mean())
    assert found.error == pytest.approx(wrong[answered].mean())
    assert found.error < found.upper_bound <= 0.05


def test_copies_of_photographs_promise_no_more_than_the_photographs():
    sure, wrong = photographs(np.random.default_rng(3), 100)
    groups = np.repeat(np.arange(100), 30)
    once, copied = (
        threshold_for_error(
            labels=wrong[rows].astype(int), probabilities=two_classes(sure[rows]), groups=rows, max_error=0.1
        )
        for rows in (np.arange(100), groups)
    )
    assert once is not None
    assert once == copied


def test_fifty_eight_photographs_without_an_error_promise_nothing_at_five_percent():
    for n, promised in ((58, False), (59, True)):
        found = threshold_for_error(
            labels=np.zeros(n, int), probabilities=two_classes(np.full(n, 0.99)), groups=np.arange(n), max_error=0.05
        )
        assert (found is not None) == promised


def test_a_model_that_is_always_right_answers_everything():
    found = threshold_for_error(
        labels=np.zeros(277, int),
        probabilities=two_classes(np.linspace(0.51, 1, 277)),
        groups=np.arange(277),
        max_error=0.05,
    )
    assert found is not None
    assert (found.value, found.coverage) == (0, 1)


def test_a_model_that_guesses_gets_no_threshold():
    rng = np.random.default_rng(0)
    found = threshold_for_error(
        labels=rng.integers(0, 2, 277),
        probabilities=two_classes(rng.uniform(0.5, 1, 277)),
        groups=np.arange(277),
        max_error=0.05,
    )
    assert found is None


def test_one_image_of_each_photograph_is_less_sure_than_their_mean():
    # Every fifth image of a photograph is wrong and unsure: seen together no photograph is, one image may be.
    groups = np.repeat(np.arange(277), 5)
    confidence = np.tile([0.99, 0.99, 0.99, 0.99, 0.4], 277)
    one_of_each = np.arange(277) * 5 + np.random.default_rng(0).integers(0, 5, 277)
    together, alone = (
        threshold_for_error(
            labels=np.zeros(chosen.size, int),
            probabilities=two_classes(confidence[chosen]),
            groups=groups[chosen],
            max_error=0.05,
        )
        for chosen in (np.arange(groups.size), one_of_each)
    )
    assert together is not None
    assert alone is not None
    assert together.value == 0
    assert alone.value > 0.6
    assert alone.coverage == pytest.approx(0.8, abs=0.06)


def test_images_are_put_together_as_in_the_table_by_photograph():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), size=60)
    table = pd.DataFrame({"label": rng.choice(list("abc"), 60), "source": rng.choice(list("wxyz"), 60)})
    table["group"] = table["source"]
    table[["p_a", "p_b", "p_c"]] = probabilities
    expected = by_source(table, ["a", "b", "c"])
    labels = table["label"].map({"a": 0, "b": 1, "c": 2}).to_numpy()
    numbers, means = average_by_source(labels=labels, probabilities=probabilities, sources=table["source"].to_numpy())
    np.testing.assert_allclose(means, expected[["p_a", "p_b", "p_c"]])
    assert ["abc"[label] for label in numbers] == expected["label"].tolist()


@pytest.mark.parametrize("wrong", [{"max_error": 0.0}, {"max_error": 1.0}, {"confidence": 1.0}, {"grid": (0.5, 0.9)}])
def test_what_cannot_be_promised_by_its_numbers_is_refused(wrong):
    settings = {"max_error": 0.05} | wrong
    with pytest.raises(ValueError, match=r"between 0 and 1|grid"):
        threshold_for_error(labels=[0], probabilities=two_classes([0.9]), groups=["a"], **settings)
