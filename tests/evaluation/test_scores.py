import numpy as np
import pytest
from sklearn import metrics as sk

from bloodcell.evaluation.metrics import evaluate
from bloodcell.evaluation.scores import SCORES, Predictions, Score, ScoreByGroup, find_score, register_score


def answers(*, n: int = 600, groups: int = 40, mixed: bool = True) -> Predictions:
    """Draw answers of four classes with ties, and some photographs of two classes."""
    rng = np.random.default_rng(0)
    group = np.unique(np.sort(rng.integers(0, groups, n)), return_inverse=True)[1]
    labels = group % 4
    if mixed:
        labels[:9] = rng.integers(0, 4, 9)
    probabilities = rng.dirichlet(np.ones(4), n)
    probabilities[np.arange(n), labels] += 0.4
    probabilities = np.round(probabilities / probabilities.sum(axis=1, keepdims=True), 2) + 1e-3
    return Predictions(
        labels=labels, probabilities=probabilities / probabilities.sum(axis=1, keepdims=True), groups=group
    )


def test_scores_are_those_that_a_run_reports_of_itself():
    given = answers()
    reported = evaluate(labels=given.labels, probabilities=given.probabilities, classes="ABCD")
    for name, score in SCORES.items():
        assert score.by_group(given).value == pytest.approx(reported[name], abs=1e-12)


@pytest.mark.parametrize("name", SCORES)
def test_the_parts_of_groups_are_the_infinitesimal_jackknife(name):
    """By how much the score changes when one group's images count a little more (Efron 1982), weights by copies."""
    given, n_copies = answers(n=200, groups=12), 400
    score = SCORES[name]
    parts = score.by_group(given).contributions
    assert parts.sum() == pytest.approx(0, abs=1e-12)
    copies = np.tile(np.arange(given.labels.size), n_copies)
    whole = score.function(given.labels, given.probabilities)
    for group in (0, 7, given.n_groups - 1):
        more = np.r_[copies, np.flatnonzero(given.groups == group)]
        changed = score.function(given.labels[more], given.probabilities[more])
        assert n_copies * (changed - whole) == pytest.approx(parts[group], rel=0.02, abs=1e-5)


@pytest.mark.parametrize("name", SCORES)
def test_a_score_is_the_weighted_mean_of_its_losses(name):
    given, score = answers(), SCORES[name]
    losses = score.losses(given.labels, given.probabilities)
    mean = (losses.weights * losses.values).sum()
    assert losses.weights.sum() == pytest.approx(1)
    assert losses.values.min() >= 0
    value = score.function(given.labels, given.probabilities)
    assert (1 - mean if score.greater_is_better else mean) == pytest.approx(value)


MEANS = ("accuracy", "log_loss", "brier")


def test_only_scores_that_are_means_over_images_have_a_mean_of_groups():
    assert [name for name, score in SCORES.items() if score.is_mean] == sorted(MEANS, key=list(SCORES).index)
    assert not Score(name="mine", function=lambda labels, _: float(labels.mean())).is_mean


@pytest.mark.parametrize("name", MEANS)
def test_the_mean_of_groups_counts_each_group_once(name):
    given, score = answers(n=50, groups=7), SCORES[name]
    members = [given.groups == group for group in range(given.n_groups)]
    each = [score.function(given.labels[own], given.probabilities[own]) for own in members]
    assert len({own.sum() for own in members}) > 1
    assert score.group_mean(given) == pytest.approx(np.mean(each))
    assert score.group_mean(given) != pytest.approx(score.function(given.labels, given.probabilities), rel=1e-3)


def test_auroc_of_probabilities_that_tie_is_scikit_learns():
    """A nearest-neighbours classifier's probabilities are ninths, whose sums are 1 but for rounding."""
    rng = np.random.default_rng(1)
    votes = np.array([rng.multinomial(9, each) for each in rng.dirichlet(np.ones(4), 500)])
    labels = np.array([rng.choice(4, p=each / 9) for each in votes])
    table = votes.astype(np.float32) / np.float32(9)
    expected = np.mean([sk.roc_auc_score(labels == label, table[:, label]) for label in range(4)])
    given = Predictions(labels=labels, probabilities=table.astype(np.float64), groups=np.arange(500))
    assert SCORES["auroc"].by_group(given).value == pytest.approx(expected, abs=1e-12)


def test_groups_of_several_classes_are_one_stratum():
    assert np.unique(answers(mixed=False).strata).tolist() == [0, 1, 2, 3]
    assert np.unique(answers().strata).tolist() == [0]


def test_any_function_of_labels_and_probabilities_is_a_score():
    def top_two(labels, probabilities):
        return sk.top_k_accuracy_score(labels, probabilities, k=2, labels=range(4))

    given = answers(n=200, groups=12)
    measured = find_score(top_two).by_group(given)
    assert find_score(top_two).name == "top_two"
    assert measured.value == pytest.approx(top_two(given.labels, given.probabilities))
    kept = given.groups != 3
    without = top_two(given.labels[kept], given.probabilities[kept])
    share = (given.groups == 3).mean()
    assert measured.contributions[3] == pytest.approx((1 - share) * (measured.value - without), abs=1e-6)


def test_a_function_of_one_s_own_is_measured_nearly_as_one_that_is_known():
    known, own = SCORES["macro_f1"], Score(name="f1", function=lambda *given: SCORES["macro_f1"].function(*given))
    given = answers(n=200, groups=12)
    np.testing.assert_allclose(own.by_group(given).contributions, known.by_group(given).contributions, atol=0.006)


def of_five_classes() -> Predictions:
    """Seven images in four groups: class 1 is only predicted, class 3 only a label, and class 4 neither."""
    predicted = np.array([0, 0, 1, 2, 2, 0, 2])
    probabilities = np.full((7, 5), 0.05)
    probabilities[np.arange(7), predicted] = np.linspace(0.5, 0.8, 7)
    probabilities[:, 4] = 0.3 - np.linspace(0, 0.3, 7) + 0.05
    return Predictions(
        labels=np.array([0, 0, 0, 2, 2, 3, 3]), probabilities=probabilities, groups=np.array([0, 0, 1, 1, 2, 2, 3])
    )


def test_scores_are_scikit_learns_also_where_classes_are_missing():
    given = of_five_classes()
    labels, table = given.labels, given.probabilities
    predicted = table.argmax(axis=1)
    areas = [sk.roc_auc_score(labels == label, table[:, label]) for label in (0, 2, 3)]
    expected = {
        "accuracy": sk.accuracy_score(labels, predicted),
        "balanced_accuracy": np.mean([2 / 3, 1, 0]),
        "macro_f1": sk.f1_score(labels, predicted, average="macro", zero_division=0),
        "log_loss": sk.log_loss(labels, table, labels=range(5)),
        "brier": ((table - np.eye(5)[labels]) ** 2).sum(axis=1).mean(),
        "auroc": np.mean(areas),
    }
    assert {name: score.by_group(given).value for name, score in SCORES.items()} == pytest.approx(expected)


@pytest.mark.parametrize("name", SCORES)
def test_parts_are_the_infinitesimal_jackknife_also_where_classes_are_missing(name):
    given, score = of_five_classes(), SCORES[name]
    copies = np.tile(np.arange(7), 2000)
    whole = score.function(given.labels, given.probabilities)
    changed = [
        score.function(given.labels[more], given.probabilities[more]) - whole
        for more in (np.r_[copies, np.flatnonzero(given.groups == group)] for group in range(4))
    ]
    assert score.by_group(given).contributions == pytest.approx(2000 * np.array(changed), rel=0.01, abs=1e-3)


def test_parts_of_few_images_of_many_classes():
    """Of three images, one alone of its class; balanced accuracy has half of each class, F1 three classes."""
    given = Predictions(labels=np.array([0, 0, 1]), probabilities=np.eye(5)[[0, 4, 4]], groups=np.arange(3))
    assert SCORES["balanced_accuracy"].by_group(given).contributions == pytest.approx([1 / 8, -1 / 8, 0])
    # F1 of class 0 is 2 / 3, of 1 and 4 it is 0; their derivatives by each image's counts, over 3 classes.
    assert SCORES["macro_f1"].by_group(given).contributions == pytest.approx([2 / 27, -2 / 27, 0])


def test_groups_have_their_share_of_the_images_or_of_the_classes():
    given = of_five_classes()
    for name in ("accuracy", "log_loss", "brier"):
        assert SCORES[name].by_group(given).weights == pytest.approx(np.array([2, 2, 2, 1]) / 7)
    for name in ("balanced_accuracy", "macro_f1", "auroc"):
        assert SCORES[name].by_group(given).weights == pytest.approx([2 / 9, 1 / 9 + 1 / 6, 1 / 3, 1 / 6])
    assert (given.images.tolist(), given.n_groups) == ([2, 2, 2, 1], 4)


def test_losses_weigh_images_as_their_score_does():
    given = of_five_classes()
    losses = {name: score.losses(given.labels, given.probabilities) for name, score in SCORES.items()}
    wrong = [0, 0, 1, 0, 0, 1, 1]
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert losses[name].values.tolist() == wrong
        assert (losses[name].if_wrong, losses[name].if_right, losses[name].maximum) == (1, 0, 1)
    assert losses["balanced_accuracy"].weights == pytest.approx([1 / 9] * 3 + [1 / 6] * 4)
    of_one_image = SCORES["balanced_accuracy"].losses(np.array([0, 0, 1]), np.eye(2)[[0, 0, 1]])
    assert of_one_image.weights == pytest.approx([1 / 4, 1 / 4, 1 / 2])
    # Of 3 + 3 labels and predictions of class 0, 1 of 1, 2 + 3 of 2, 2 of 3, four classes: each error counts in two.
    own, other = np.array([1 / 6] * 3 + [1 / 5] * 2 + [1 / 2] * 2), np.array([6, 6, 1, 5, 5, 6, 5])
    assert losses["macro_f1"].weights == pytest.approx((own + 1 / other) / 4)
    assert [losses[name].maximum for name in ("log_loss", "brier", "auroc")] == [np.inf, 2, 1]
    assert [losses[name].shared_by for name in ("accuracy", "brier", "auroc")] == [1, 1, 2]
    # Each image is in a pair of its own class and in one of each other's.
    sizes = {0: 3, 2: 2, 3: 2}
    weights = [sum(1 / (n if each == label else 7 - n) for label, n in sizes.items()) / 6 for each in given.labels]
    assert losses["auroc"].weights == pytest.approx(weights)


@pytest.mark.parametrize("name", ["log_loss", "brier"])
def test_a_loss_if_all_were_wrong_is_that_of_the_second_most_probable_classes(name):
    labels = np.array([0, 1, 2, 2])
    table = np.array([[0.6, 0.3, 0.1], [0.1, 0.7, 0.2], [0.5, 0.4, 0.1], [0.1, 0.1, 0.8]])
    losses = SCORES[name].losses(labels, table)

    def loss(row: int, label: int) -> float:
        return -np.log(table[row, label]) if name == "log_loss" else ((table[row] - np.eye(3)[label]) ** 2).sum()

    assert losses.values == pytest.approx([loss(row, label) for row, label in enumerate(labels)])
    assert losses.if_wrong == pytest.approx(np.mean([loss(0, 1), loss(1, 2), loss(2, 1), loss(3, 0)]))
    assert losses.if_right == pytest.approx(np.mean([loss(0, 0), loss(1, 1), loss(3, 2)]))
    assert SCORES[name].losses(np.array([2, 0, 1, 0]), table).if_right == 0


def test_the_log_loss_of_an_impossible_label_is_scikit_learns():
    given = Predictions(labels=np.array([1, 0]), probabilities=np.array([[1.0, 0.0], [1.0, 0.0]]), groups=np.arange(2))
    assert SCORES["log_loss"].by_group(given).value == pytest.approx(-np.log(2.0**-52) / 2)
    losses = SCORES["log_loss"].losses(given.labels, given.probabilities)
    assert losses.if_wrong == pytest.approx(-np.log(2.0**-52))


def test_a_probability_that_is_more_than_1_by_rounding_loses_nothing():
    table = np.array([[1 + 1e-7, 0.0], [0.0, 1 + 1e-7]])
    assert SCORES["log_loss"].losses(np.arange(2), table).values.tolist() == [0, 0]


def test_a_score_s_ends_and_direction_are_what_is_registered_and_else_unknown(monkeypatch):
    ends = {name: (score.lowest, score.highest, score.greater_is_better) for name, score in SCORES.items()}
    assert ends.pop("log_loss") == (0, np.inf, False)
    assert ends.pop("brier") == (0, 2, False)
    assert set(ends.values()) == {(0, 1, True)}
    assert [name for name, score in SCORES.items() if score.is_share] == [*ends]
    monkeypatch.setitem(SCORES, "of_nothing", None)

    def of_nothing(labels, probabilities):
        return 0.0

    assert register_score()(of_nothing) is of_nothing
    for score in (SCORES["of_nothing"], find_score(of_nothing)):
        assert score == Score(name="of_nothing", function=of_nothing)
        assert (score.lowest, score.highest, score.greater_is_better, score.losses) == (-np.inf, np.inf, True, None)
        assert not score.is_share
    assert not Score(name="signed", function=of_nothing, lowest=-1, highest=1).is_share
    assert find_score(SCORES["brier"]) is SCORES["brier"]


def test_each_group_is_left_out_once_whatever_the_order_of_the_images():
    """Of the mean of one number, by hand; a group without which it is not defined has no part."""
    seen = []

    def mean(labels, probabilities):
        seen.append(sorted(probabilities[:, 0].tolist()))
        labels[:] = 9  # as a careless function may
        if 0.5 not in probabilities[:, 0]:
            raise ValueError("0.5 is missing")
        return probabilities[:, 0].mean()

    p = np.array([0.1, 0.5, 0.3, 0.2, 0.9])
    given = Predictions(
        labels=np.zeros(5, dtype=np.int64), probabilities=np.c_[p, 1 - p], groups=np.array([1, 0, 2, 1, 2])
    )
    found: ScoreByGroup = Score(name="mean", function=mean).by_group(given)
    assert seen == [[0.1, 0.2, 0.3, 0.5, 0.9], [0.1, 0.2, 0.3, 0.9], [0.3, 0.5, 0.9], [0.1, 0.2, 0.5]]
    assert found.value == pytest.approx(0.4)
    assert np.isnan(found.contributions[0])
    assert found.contributions[1:] == pytest.approx([0.6 * (0.4 - 1.7 / 3), 0.6 * (0.4 - 0.8 / 3)])
    assert found.weights == pytest.approx([0.2, 0.4, 0.4])
    assert given.labels.tolist() == [0] * 5


def test_a_function_that_fails_on_all_images_is_named():
    def broken(labels, probabilities):
        raise KeyError("no\n  such thing")

    with pytest.raises(ValueError, match="broken"):
        find_score(broken).by_group(of_five_classes())


def test_a_photograph_s_answer_is_the_mean_of_its_images():
    found = of_five_classes().by_source()
    assert found.labels.tolist() == [0, 0, 2, 3]
    assert found.groups.tolist() == [0, 1, 2, 3]
    assert found.probabilities[0] == pytest.approx(of_five_classes().probabilities[:2].mean(axis=0))


def test_auroc_of_one_class_is_not_defined():
    given = answers()
    of_one = Predictions(labels=np.zeros_like(given.labels), probabilities=given.probabilities, groups=given.groups)
    measured = SCORES["auroc"].by_group(of_one)
    assert np.isnan([measured.value, *measured.contributions]).all()


def test_an_unknown_metric_is_refused_by_name():
    with pytest.raises(ValueError, match=r"acuracy .*accuracy"):
        find_score("acuracy")
