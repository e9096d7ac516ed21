from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bloodcell.evaluation.intervals import (
    Interval,
    accuracy_intervals,
    pooled,
    score_interval,
    training_errors,
    training_of,
)
from bloodcell.evaluation.predictions import predictions_table
from bloodcell.evaluation.scores import SCORES, Answers

CLASSES = ("A", "B", "C")


def table_of(*, photographs: int, copies: int, seed: int = 0) -> pd.DataFrame:
    """Make predictions of so many photographs of each class, six in ten of them right, each with all its copies."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(CLASSES)), photographs)
    right = np.tile(np.arange(photographs) % 10 < 6, len(CLASSES))
    probabilities = np.eye(len(CLASSES))[np.where(right, labels, (labels + 1) % len(CLASSES))]
    rows = np.repeat(np.arange(labels.size), copies)
    manifest = pd.DataFrame(
        {
            "path": [f"{row}/{copy}" for copy, row in enumerate(rows)],
            "label": np.array(CLASSES)[labels[rows]],
            "group": [str(row) for row in rows],
            "split": "test",
        }
    )
    table = predictions_table(manifest=manifest, probabilities=probabilities[rows], classes=CLASSES)
    return table.iloc[rng.permutation(len(table))]


def answers_of(right: Sequence[int], total: Sequence[int], strata: Sequence[int] | None = None) -> Answers:
    """Make answers for photographs of so many images, so many of them right, of the classes that their strata are."""
    total = np.asarray(total)
    groups = np.repeat(np.arange(total.size), total)
    labels = np.asarray(strata if strata is not None else [0] * total.size)[groups]
    is_right = np.concatenate([np.arange(n) < r for r, n in zip(right, total, strict=True)])
    k = labels.max() + 2
    return Answers(labels=labels, probabilities=np.eye(k)[np.where(is_right, labels, (labels + 1) % k)], groups=groups)


def interval_of(right: Sequence[int], total: Sequence[int], strata: Sequence[int] | None = None) -> Interval:
    return score_interval(SCORES["accuracy"], [answers_of(right, total, strata)])


def clustered(rng: np.random.Generator, *, groups: tuple[int, ...], images: int) -> dict[str, np.ndarray]:
    """Draw photographs whose copies share their chance of being right: most are nearly all right or all wrong."""
    strata = np.repeat(np.arange(len(groups)), groups)
    return {
        "right": rng.binomial(images, rng.beta(0.5, 0.5, strata.size)),
        "total": np.full(strata.size, images),
        "strata": strata,
    }


def test_an_interval_is_wider_when_as_many_images_come_of_fewer_photographs():
    few = accuracy_intervals(table_of(photographs=10, copies=100), classes=CLASSES)
    many = accuracy_intervals(table_of(photographs=1000, copies=1), classes=CLASSES)
    # The width goes with the root of the number of photographs.
    assert few["accuracy_high"] - few["accuracy_low"] > 8 * (many["accuracy_high"] - many["accuracy_low"])
    assert few["accuracy_low"] < 0.6 < few["accuracy_high"]


def test_copies_of_images_do_not_narrow_an_interval():
    once = accuracy_intervals(table_of(photographs=20, copies=1), classes=CLASSES)
    assert accuracy_intervals(table_of(photographs=20, copies=50), classes=CLASSES) == pytest.approx(once)


@pytest.mark.parametrize("groups", [(20, 20, 20, 20), (48, 13, 6, 4)])
def test_intervals_of_clustered_images_hold_the_truth_about_as_often_as_they_say(groups):
    rng = np.random.default_rng(0)
    held, naive = [], []
    for _ in range(400):
        drawn = clustered(rng, groups=groups, images=30)
        interval = interval_of(**drawn)
        # What the truth is: even chances, whatever the class.
        held.append(interval.low <= 0.5 <= interval.high)
        accuracy = drawn["right"].sum() / drawn["total"].sum()
        naive.append(abs(accuracy - 0.5) <= 1.96 * np.sqrt(0.25 / drawn["total"].sum()))
    assert 0.9 <= np.mean(held) <= 0.98
    assert np.mean(naive) < 0.6


def test_an_interval_is_the_same_every_time_and_in_any_order():
    drawn = clustered(np.random.default_rng(1), groups=(30, 9), images=20)
    interval = interval_of(**drawn)
    assert interval_of(**drawn) == interval
    order = np.random.default_rng(2).permutation(39)
    other = interval_of(**{name: values[order] for name, values in drawn.items()})
    assert (other.low, other.high) == pytest.approx((interval.low, interval.high), abs=1e-12)


def test_groups_of_one_image_have_jeffreys_interval():
    """By scipy.stats.beta, at the number of groups times the squared ratio of the normal to Student's quantile."""
    interval = interval_of([1] * 50 + [0] * 10, [1] * 60)
    effective = 60 * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 59)) ** 2
    expected = stats.beta.ppf([0.025, 0.975], 50 / 60 * effective + 0.5, 10 / 60 * effective + 0.5)
    assert (interval.low, interval.high) == pytest.approx(tuple(expected), abs=1e-9)


def test_groups_that_are_right_or_wrong_as_a_whole_count_as_one_answer_each():
    whole, single = interval_of([9] * 50 + [0] * 10, [9] * 60), interval_of([1] * 50 + [0] * 10, [1] * 60)
    assert (whole.low, whole.high) == pytest.approx((single.low, single.high), abs=0.001)
    apart = interval_of([8] * 30 + [7] * 30, [9] * 60)
    assert apart.high - apart.low < 0.7 * (whole.high - whole.low)


@pytest.mark.parametrize("images", [1, 100])
def test_all_right_or_all_wrong_is_no_certainty(images):
    all_right = interval_of([images] * 10, [images] * 10)
    assert all_right.high == 1
    assert all_right.low == pytest.approx(0.05 ** (1 / 10))  # the rule of three for ten groups
    all_wrong = interval_of([0] * 10, [images] * 10)
    assert (all_wrong.low, all_wrong.high) == (0, pytest.approx(1 - all_right.low))


@pytest.mark.parametrize(("groups", "images"), [((8, 8), (3, 100)), ((13, 6, 4, 48), (5, 60)), ((5,) * 12, (10, 11))])
def test_one_error_more_never_makes_an_accuracy_surer(groups, images):
    rng = np.random.default_rng(0)
    strata = np.repeat(np.arange(len(groups)), groups)
    total = rng.integers(*images, strata.size)
    right = total.copy()
    last = interval_of(right, total, strata)
    for _ in range(12):
        group = rng.choice(np.flatnonzero(right))
        right[group] -= 1
        interval = interval_of(right, total, strata)
        assert interval.low <= last.low + 1e-12
        assert interval.high <= last.high + 1e-12
        last = interval


def test_a_model_that_is_always_as_sure_has_an_interval_also_where_all_is_right():
    labels = np.arange(60) % 3
    sure = np.full((60, 3), 0.025)
    sure[np.arange(60), labels] = 0.95
    answers = Answers(labels=labels, probabilities=sure, groups=np.arange(60))
    for name, truth in (("log_loss", 0.98 * -np.log(0.95) + 0.02 * -np.log(0.025)), ("brier", 0.0038 + 0.02 * 1.85)):
        interval = score_interval(SCORES[name], [answers])
        assert interval.low < SCORES[name].function(labels, sure) < interval.high
        assert interval.low <= truth <= interval.high


def test_of_fewer_than_five_groups_there_is_no_interval():
    for n in (1, 4):
        interval = interval_of([70] * n, [100] * n)
        assert np.isnan([interval.low, interval.high]).all()
    assert np.isfinite(interval_of([70] * 5, [100] * 5).low)


def test_the_variance_of_trainings_is_each_configurations_own_and_one_training_has_the_others():
    training = training_of([[0.9, 0.8], [0.5, 0.5, 0.5], [0.7]])
    assert training.variance == pytest.approx([0.005, 0.0, (0.005 + 2 * 0) / 3])
    assert training.degrees.tolist() == [1, 2, 3]
    half = training_errors(training)
    assert half[0] == pytest.approx(stats.t.ppf(0.975, 1) * np.sqrt(0.005 / 2))
    alone = training_of([[0.9], [0.7]])
    assert not alone.known
    assert training_errors(alone).tolist() == [0, 0]


def test_trainings_widen_an_interval_by_the_square_root_of_the_sum_of_squares():
    answers = answers_of([6] * 20, [10] * 20)
    alone = score_interval(SCORES["accuracy"], [answers])
    wider = score_interval(SCORES["accuracy"], [answers], training_error=0.1)
    assert 0.6 - wider.low == pytest.approx(np.hypot(0.6 - alone.low, 0.1))
    assert wider.high - 0.6 == pytest.approx(np.hypot(alone.high - 0.6, 0.1))


def test_strata_of_one_group_are_joined_with_each_other_or_the_smallest():
    assert pooled(np.array([0, 1, 2, 2, 2])).tolist() == [0, 0, 2, 2, 2]
    assert pooled(np.array([0, 1, 1, 2, 2, 2])).tolist() == [0, 0, 0, 2, 2, 2]
    assert pooled(np.array([0, 0, 1, 1])).tolist() == [0, 0, 1, 1]


def test_a_photograph_of_two_classes_counts_as_of_the_more_frequent():
    table = table_of(photographs=10, copies=3).sort_values("path", ignore_index=True)
    mixed = table.copy()
    mixed.loc[mixed.index[mixed["group"] == "0"][:1], "label"] = "B"
    intervals = accuracy_intervals(mixed, classes=CLASSES)
    same = accuracy_intervals(table, classes=CLASSES)
    for end in ("photograph_accuracy_low", "photograph_accuracy_high"):
        assert intervals[end] == same[end]
    assert intervals["accuracy_low"] < same["accuracy_low"]
