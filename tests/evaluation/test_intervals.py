from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bloodcell.evaluation.intervals import Interval, accuracy_intervals, score_interval
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
    answers = answers_of(right, total, strata)
    return score_interval(SCORES["accuracy"], [SCORES["accuracy"].measure(answers)], answers=answers)


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


def test_differences_between_classes_do_not_widen_an_interval():
    right, total = [9, 10, 9, 10, 9, 10, 1, 0, 1, 0, 1, 0], [10] * 12
    within = interval_of(right, total, [0] * 6 + [1] * 6)
    across = interval_of(right, total)
    assert within.high - within.low < 0.1 < 0.4 < across.high - across.low


def test_a_class_of_one_photograph_is_not_taken_for_known():
    right, total = [10, 0, 5, 5, 6, 4], [10] * 6
    known = interval_of(right[1:], total[1:], [1, 2, 2, 2, 2])
    assert known.low < 0.3
    lone = interval_of(right, total, [0, 1, 2, 2, 2, 2])
    assert lone.high - lone.low > 0.25


def test_where_no_class_varies_all_photographs_are_resampled_as_one():
    interval = interval_of([1, 1, 0, 0, 0, 0, 0, 0], [1] * 8, [0, 0, 1, 1, 2, 2, 3, 3])
    assert interval.low < 0.1
    assert interval.high > 0.5


@pytest.mark.parametrize("images", [1, 100])
def test_all_right_or_all_wrong_is_no_certainty(images):
    all_right = interval_of([images] * 10, [images] * 10)
    assert all_right.high == 1
    assert all_right.low == pytest.approx(10 / (10 + stats.norm.ppf(0.975) ** 2))  # Wilson's for 10 of 10
    all_wrong = interval_of([0] * 10, [images] * 10)
    assert (all_wrong.low, all_wrong.high) == (0, pytest.approx(1 - all_right.low))


def test_one_photograph_says_nothing():
    assert interval_of([70], [100]) == Interval(low=0, high=1)


def test_a_photograph_of_two_classes_counts_as_of_the_more_frequent():
    table = table_of(photographs=10, copies=3).sort_values("path", ignore_index=True)
    mixed = table.copy()
    mixed.loc[mixed.index[mixed["group"] == "0"][:1], "label"] = "B"
    intervals = accuracy_intervals(mixed, classes=CLASSES)
    same = accuracy_intervals(table, classes=CLASSES)
    for end in ("photograph_accuracy_low", "photograph_accuracy_high"):
        assert intervals[end] == same[end]
    assert intervals["accuracy_low"] < same["accuracy_low"]
