from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bloodcell.evaluation.intervals import (
    Interval,
    accuracy_intervals,
    class_intervals,
    collapse_strata,
    difference_variances,
    effective_number,
    highest_quantile,
    loss_interval,
    score_interval,
    training_half_widths,
    training_variance,
)
from bloodcell.evaluation.outcome import group_confusion_of, per_class_of
from bloodcell.evaluation.predictions import predictions_table
from bloodcell.evaluation.scores import SCORES, Losses, Predictions, Score

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


def answers_of(right: Sequence[int], total: Sequence[int], strata: Sequence[int] | None = None) -> Predictions:
    """Make answers for photographs of so many images, so many of them right, of the classes that their strata are."""
    total = np.asarray(total)
    groups = np.repeat(np.arange(total.size), total)
    labels = np.asarray(strata if strata is not None else [0] * total.size)[groups]
    is_right = np.concatenate([np.arange(n) < r for r, n in zip(right, total, strict=True)])
    k = labels.max() + 2
    return Predictions(
        labels=labels, probabilities=np.eye(k)[np.where(is_right, labels, (labels + 1) % k)], groups=groups
    )


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
    separate = interval_of([8] * 30 + [7] * 30, [9] * 60)
    assert separate.high - separate.low < 0.7 * (whole.high - whole.low)


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
    answers = Predictions(labels=labels, probabilities=sure, groups=np.arange(60))
    for name, truth in (("log_loss", 0.98 * -np.log(0.95) + 0.02 * -np.log(0.025)), ("brier", 0.0038 + 0.02 * 1.85)):
        interval = score_interval(SCORES[name], [answers])
        assert interval.low < SCORES[name].function(labels, sure) < interval.high
        assert interval.low <= truth <= interval.high


@pytest.mark.parametrize("seed", range(5))
def test_the_highest_quantile_is_that_of_all(seed):
    rng = np.random.default_rng(seed)
    mean, unit = np.sort(rng.random(500)), rng.uniform(0.001, 0.1, 500)
    a, b = mean / unit + 0.5, (1 - mean) / unit + 0.5
    assert highest_quantile(a, b) == stats.beta.ppf(0.975, a, b).max()


def test_of_fewer_than_five_groups_there_is_no_interval():
    for n in (1, 4):
        interval = interval_of([70] * n, [100] * n)
        assert np.isnan([interval.low, interval.high]).all()
    assert np.isfinite(interval_of([70] * 5, [100] * 5).low)


def test_the_variance_of_trainings_is_each_configurations_own_and_one_training_has_the_others():
    training = training_variance([[0.9, 0.8], [0.5, 0.5, 0.5], [0.7]])
    assert training.variance == pytest.approx([0.005, 0.0, (0.005 + 2 * 0) / 3])
    assert training.degrees.tolist() == [1, 2, 3]
    half = training_half_widths(training)
    assert half[0] == pytest.approx(stats.t.ppf(0.975, 1) * np.sqrt(0.005 / 2))
    assert training_variance([[0.9, 0.8], [0.7]]).known
    alone = training_variance([[0.9], [0.7]])
    assert not alone.known
    assert training_half_widths(alone).tolist() == [0, 0]


def test_trainings_widen_an_interval_by_the_square_root_of_the_sum_of_squares():
    answers = answers_of([6] * 20, [10] * 20)
    alone = score_interval(SCORES["accuracy"], [answers])
    wider = score_interval(SCORES["accuracy"], [answers], training_error=0.1)
    assert 0.6 - wider.low == pytest.approx(np.hypot(0.6 - alone.low, 0.1))
    assert wider.high - 0.6 == pytest.approx(np.hypot(alone.high - 0.6, 0.1))


def highest_share(wrong: Sequence[int], total: Sequence[int]) -> float:
    """Return the upper end of a share of errors: the highest of those that the worst groups alone would give.

    Korn and Graubard's end, with the correlation of Fleiss and Cuzick and half an error in groups that are wrong as a
    whole, and at least the rule of three for groups.
    """
    e, n = np.array(wrong, dtype=float), np.array(total, dtype=float)
    images, groups = n.sum(), n.size
    ends = [1 - 0.05 ** (1 / groups)]
    for last in np.argsort(-e / n):
        some = np.where(e / n >= e[last] / n[last], e, 0.0)
        share = some.sum() / images
        within = (some * (1 - some / n)).sum()
        correlation = max(1 - within / ((images - groups) * share * (1 - share) + 0.5), 0)
        design = correlation * (n**2).sum() / images + 1 - correlation
        answers = images / design * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, groups - 1)) ** 2
        ends.append(stats.beta.ppf(0.975, share * answers + 0.5, (1 - share) * answers + 0.5))
    return max(ends)


@pytest.mark.parametrize(
    ("wrong", "total"),
    [
        ([7, 10, 22, 5, 1, 2, 4], [51, 38, 31, 17, 19, 4, 6]),
        ([18, 9, 22, 40, 1, 13, 7], [22, 59, 37, 57, 2, 28, 50]),
        ([48, 26, 20, 15, 12, 2, 16], [59, 37, 37, 37, 53, 24, 26]),
        ([8, 8, 1, 8, 8], [9, 9, 9, 9, 9]),
    ],
)
def test_the_interval_of_a_share_by_hand(wrong, total):
    interval = interval_of(np.array(total) - wrong, total)
    assert interval.low == pytest.approx(1 - highest_share(wrong, total), abs=1e-9)
    swapped = interval_of(wrong, total)
    assert swapped.high == pytest.approx(highest_share(wrong, total), abs=1e-9)


@pytest.mark.parametrize("right", [24, 13])
@pytest.mark.parametrize("name", ["log_loss", "brier"])
def test_the_interval_of_a_mean_loss_by_hand(name, right):
    """Eight groups of three images; the correlation from mean squares, the ends of a gamma or a beta distribution."""
    rng = np.random.default_rng(4)
    labels = np.where(np.arange(24) < right, 0, 1)
    probabilities = np.array([0.7, 0.1, 0.2]) + np.outer(rng.uniform(-0.1, 0.1, 24), [1, 0, -1])
    answers = Predictions(labels=labels, probabilities=probabilities, groups=np.repeat(np.arange(8), 3))

    def losses_if(label: np.ndarray) -> np.ndarray:
        given = probabilities[np.arange(24), label]
        return -np.log(given) if name == "log_loss" else ((probabilities - np.eye(3)[label]) ** 2).sum(axis=1)

    each, wrong = losses_if(labels), losses_if(np.full(24, 2)).mean()  # the second most probable class is the third
    mean, total = each.mean(), each.var()
    within = each.reshape(8, 3).var(axis=1).mean()
    correlation = 1 - within / (2 / 3 * total + wrong**2 / 24)
    wider = (stats.t.ppf(0.975, 7) / stats.norm.ppf(0.975)) ** 2
    design = wider * (correlation / 8 + (1 - correlation) / 24)
    # The variance for each unit of the mean, each with one loss more.
    expected = mean + wrong / 24
    unit = design * (total + wrong**2 / 24) / (expected * (1 if name == "log_loss" else 1 - expected / 2))
    if name == "log_loss":
        low, high = stats.gamma.ppf([0.025, 0.975], mean / unit + 0.5, scale=unit)
    else:
        low, high = 2 * stats.beta.ppf([0.025, 0.975], mean / unit + 0.5, (2 - mean) / unit + 0.5)
    seldom = 1 - 0.05 ** (1 / 8)
    least = each[:right].mean() + seldom * (wrong - each[:right].mean())
    interval = score_interval(SCORES[name], [answers])
    assert interval.low == pytest.approx(low, rel=1e-6)
    assert interval.high == pytest.approx(max(high, least), rel=1e-6)
    assert (least > high) == (right == 24)


def test_a_loss_that_two_images_share_counts_for_a_quarter():
    """As the pairs of AUROC: a gamma distribution of four times the scale."""
    each, groups = np.array([0.1, 0.5, 0.3, 0.9, 0.2, 0.7]), np.arange(6)
    weights = np.full(6, 1 / 6)
    low, high = loss_interval(Losses(values=each, weights=weights, maximum=np.inf, shared_by=2), groups)
    wider = (stats.t.ppf(0.975, 5) / stats.norm.ppf(0.975)) ** 2
    unit = 4 * wider / 6 * (each.var() + 1 / 6) / (each.mean() + 1 / 6)
    expected = stats.gamma.ppf([0.025, 0.975], each.mean() / unit + 0.5, scale=unit)
    assert (low, high) == pytest.approx(tuple(expected), rel=1e-6)


def test_images_of_groups_that_all_lose_the_same_count_one_by_one():
    """The correlation within them is negative, and set to 0."""
    each, groups = np.tile([0.1, 0.5, 0.9], 20), np.repeat(np.arange(20), 3)
    low, high = loss_interval(Losses(values=each, weights=np.full(60, 1 / 60), maximum=np.inf), groups)
    wider = (stats.t.ppf(0.975, 19) / stats.norm.ppf(0.975)) ** 2
    unit = wider / 60 * (each.var() + 1 / 60) / (0.5 + 1 / 60)
    assert (low, high) == pytest.approx(stats.gamma.ppf([0.025, 0.975], 0.5 / unit + 0.5, scale=unit), rel=1e-6)


@pytest.mark.parametrize(("name", "if_wrong"), [("brier", 2.0), ("log_loss", 52 * np.log(2))])
def test_where_nothing_is_lost_it_starts_at_nothing_and_ends_at_the_rule_of_three(name, if_wrong):
    """Also of losses that are not 0 or 1: a model that is quite sure would lose much if it were wrong."""
    sure = Predictions(labels=np.arange(10) % 2, probabilities=np.eye(2)[np.arange(10) % 2], groups=np.arange(10))
    interval = score_interval(SCORES[name], [sure])
    assert interval.low == 0
    assert interval.high >= (1 - 0.05 ** (1 / 10)) * if_wrong
    assert loss_interval(SCORES[name].losses(sure.labels, sure.probabilities), sure.groups)[0] == 0


def test_a_share_of_none_or_all_is_bounded_by_the_rule_of_three():
    seldom = 1 - 0.05 ** (1 / 6)
    for each, ends in ((np.zeros(12), (0, seldom)), (np.ones(12), (1 - seldom, 1))):
        losses = Losses(values=each, weights=np.full(12, 1 / 12))
        assert loss_interval(losses, np.repeat(np.arange(6), 2)) == pytest.approx(ends)


def mean_square(labels: np.ndarray, probabilities: np.ndarray) -> float:
    return float((probabilities[:, 0] ** 2).mean())


def test_of_a_function_of_one_s_own_it_is_students_interval():
    """The mean of one number for each image; in two strata with Satterthwaite's degrees of freedom."""
    rng = np.random.default_rng(5)
    p = rng.random(12)
    answers = Predictions(labels=np.zeros(12, dtype=np.int64), probabilities=np.c_[p, 1 - p], groups=np.arange(12))
    score = Score(name="square", function=mean_square)
    interval, expected = score_interval(score, [answers]), stats.ttest_1samp(p**2, 0).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    of_two = Predictions(labels=np.repeat([0, 1], [5, 7]), probabilities=answers.probabilities, groups=np.arange(12))
    variances = [n * (part**2).var(ddof=1) / 144 for n, part in ((5, p[:5]), (7, p[5:]))]
    degrees = sum(variances) ** 2 / (variances[0] ** 2 / 4 + variances[1] ** 2 / 6)
    half = stats.t.ppf(0.975, degrees) * sum(variances) ** 0.5
    interval = score_interval(score, [of_two])
    assert (interval.low, interval.high) == pytest.approx(((p**2).mean() - half, (p**2).mean() + half))


def test_of_a_constant_function_the_interval_is_its_value():
    interval = score_interval(Score(name="five", function=lambda *_: 5.0), [answers_of([1] * 6, [2] * 6)])
    assert (interval.low, interval.high) == (5, 5)


def test_a_score_that_is_not_defined_has_no_interval():
    answers = answers_of([1] * 6, [2] * 6, [0] * 6)
    assert np.isnan(score_interval(SCORES["auroc"], [answers]).low)
    without = Score(name="no", function=lambda labels, _: 1.0 if labels.size == 12 else float("nan"))
    assert np.isnan(score_interval(without, [answers]).high)


def test_of_several_trainings_it_is_the_mean_of_their_intervals_and_ends_where_the_score_does():
    one, other = answers_of([6] * 20, [10] * 20), answers_of([9] * 10 + [8] * 10, [10] * 20)
    first, second = (score_interval(SCORES["accuracy"], [each]) for each in (one, other))
    both = score_interval(SCORES["accuracy"], [one, other])
    assert both.low == pytest.approx((first.low + second.low) / 2)
    assert both.high == pytest.approx((first.high + second.high) / 2)
    unsure = score_interval(SCORES["accuracy"], [one, other], training_error=2.0)
    assert (unsure.low, unsure.high) == (0, 1)


def test_differences_of_sums_over_groups_add_by_strata():
    parts = np.array([[0.1, 0.2, -0.3, 0.4, 0.0], [0.0, -0.1, -0.1, 0.2, 0.3]])
    strata, weights = np.array([0, 0, 1, 1, 1]), np.array([0.1, 0.2, 0.2, 0.3, 0.2])
    variance, squares = difference_variances(parts, np.array([0]), np.array([1]), strata=strata, weights=weights)
    difference = parts[0] - parts[1]
    own = [2 * difference[:2].var(ddof=1), 3 * difference[2:].var(ddof=1)]
    # Bell and McCaffrey's degrees of freedom: (0.01 + 0.04)^2 / (0.0001 + 0.0016) - 1 is less than 1.
    degrees = [1, 0.17**2 / (0.0016 + 0.0081 + 0.0016) - 1]
    assert variance == pytest.approx([sum(own)])
    assert squares == pytest.approx([own[0] ** 2 / degrees[0] + own[1] ** 2 / degrees[1]])


def test_scores_that_differ_by_rounding_have_no_negative_variance():
    rng = np.random.default_rng(6)
    one = rng.random((1, 9))
    parts = np.vstack([one, one + 1e-12 * rng.random((200, 9))])
    others = np.arange(1, 201)
    design = {"strata": np.zeros(9, dtype=np.int64), "weights": np.full(9, 1 / 9)}
    variance, squares = difference_variances(parts, np.zeros_like(others), others, **design)
    assert min(variance.min(), squares.min()) >= 0
    assert variance.max() < 1e-12


def test_one_group_shows_no_variance():
    one = {"strata": np.zeros(1, dtype=np.int64), "weights": np.ones(1)}
    variance, squares = difference_variances(np.array([[0.1], [0.2]]), np.array([0]), np.array([1]), **one)
    assert (variance.tolist(), squares.tolist()) == ([0], [0])


def test_unequal_weights_count_as_fewer_equal_ones():
    assert effective_number(np.array([2.0, 2, 2])) == pytest.approx(3)
    assert effective_number(np.array([3.0, 1])) == pytest.approx(1.6)


def test_strata_of_one_group_are_joined_with_each_other_or_the_smallest():
    assert collapse_strata(np.array([0, 1, 2, 2, 2])).tolist() == [0, 0, 2, 2, 2]
    assert collapse_strata(np.array([0, 1, 1, 2, 2, 2])).tolist() == [0, 0, 0, 2, 2, 2]
    assert collapse_strata(np.array([0, 0, 1, 1])).tolist() == [0, 0, 1, 1]


def test_a_photograph_of_two_classes_counts_as_of_the_more_frequent():
    table = table_of(photographs=10, copies=3).sort_values("path", ignore_index=True)
    mixed = table.copy()
    mixed.loc[mixed.index[mixed["group"] == "0"][:1], "label"] = "B"
    intervals = accuracy_intervals(mixed, classes=CLASSES)
    same = accuracy_intervals(table, classes=CLASSES)
    for end in ("photograph_accuracy_low", "photograph_accuracy_high"):
        assert intervals[end] == same[end]
    assert intervals["accuracy_low"] < same["accuracy_low"]


@pytest.mark.parametrize("groups", [(20, 20, 20, 20), (48, 13, 6, 4)])
def test_intervals_of_clustered_images_have_about_their_nominal_coverage(groups):
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


def test_the_interval_of_a_classs_recall_is_that_of_accuracy_on_its_images():
    table = table_of(photographs=40, copies=3)
    classes = sorted(table["label"].unique())
    found = class_intervals(table, classes=classes)
    for name, row in zip(classes, found.to_dict("records"), strict=True):
        of_class = table[table["label"] == name]
        assert row["groups"] == of_class["group"].nunique()
        # Jeffreys' interval does not know of the other classes.
        accuracy = accuracy_intervals(of_class, classes=classes)
        assert row["recall_low"] == pytest.approx(accuracy["accuracy_low"])
        assert row["recall_high"] == pytest.approx(accuracy["accuracy_high"])


def test_class_intervals_contain_their_metrics_and_are_unknown_for_few_groups():
    table = table_of(photographs=40, copies=3)
    classes = sorted(table["label"].unique())
    metrics = per_class_of(table, classes=classes)
    for name in ("precision", "recall", "f1"):
        assert (metrics[f"{name}_low"] <= metrics[name]).all()
        assert (metrics[name] <= metrics[f"{name}_high"]).all()
    of_few = per_class_of(table_of(photographs=4, copies=3), classes=classes)
    assert of_few[["precision_low", "recall_high", "f1_low"]].isna().all(axis=None)


def test_groups_are_counted_in_every_cell_that_they_have_an_image_in():
    table = pd.DataFrame(
        {
            "label": ["a", "a", "a", "b"],
            "group": ["1", "1", "2", "2"],
            "p_a": [0.9, 0.2, 0.9, 0.1],
            "p_b": [0.1, 0.8, 0.1, 0.9],
        }
    )
    assert group_confusion_of(table, classes=["a", "b"]).tolist() == [[2, 1], [0, 1]]
