import numpy as np
import pytest
from sklearn import metrics as sk

from bloodcell.evaluation.metrics import evaluate
from bloodcell.evaluation.scores import SCORES, Answers, Score, find_score


def answers(*, n: int = 600, groups: int = 40, mixed: bool = True) -> Answers:
    """Draw answers of four classes with ties, and some photographs of two classes."""
    rng = np.random.default_rng(0)
    group = np.unique(np.sort(rng.integers(0, groups, n)), return_inverse=True)[1]
    labels = group % 4
    if mixed:
        labels[:9] = rng.integers(0, 4, 9)
    probabilities = rng.dirichlet(np.ones(4), n)
    probabilities[np.arange(n), labels] += 0.4
    probabilities = np.round(probabilities / probabilities.sum(axis=1, keepdims=True), 2) + 1e-3
    return Answers(labels=labels, probabilities=probabilities / probabilities.sum(axis=1, keepdims=True), groups=group)


def test_scores_are_those_that_a_run_reports_of_itself():
    given = answers()
    reported = evaluate(labels=given.labels, probabilities=given.probabilities, classes="ABCD")
    for name, score in SCORES.items():
        assert score.measure(given).value == pytest.approx(reported[name], abs=1e-12)


@pytest.mark.parametrize("name", SCORES)
def test_the_parts_of_groups_are_the_infinitesimal_jackknife(name):
    """By how much the score changes when one group's images count a little more (Efron 1982), weights by copies."""
    given, n_copies = answers(n=200, groups=12), 400
    score = SCORES[name]
    parts = score.measure(given).parts
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
    mean = (losses.weights * losses.each).sum()
    assert losses.weights.sum() == pytest.approx(1)
    assert losses.each.min() >= 0
    value = score.function(given.labels, given.probabilities)
    assert (1 - mean if score.greater_is_better else mean) == pytest.approx(value)


def test_auroc_of_probabilities_that_tie_is_scikit_learns():
    """A nearest-neighbours classifier's probabilities are ninths, whose sums are 1 but for rounding."""
    rng = np.random.default_rng(1)
    votes = np.array([rng.multinomial(9, each) for each in rng.dirichlet(np.ones(4), 500)])
    labels = np.array([rng.choice(4, p=each / 9) for each in votes])
    table = votes.astype(np.float32) / np.float32(9)
    expected = np.mean([sk.roc_auc_score(labels == label, table[:, label]) for label in range(4)])
    given = Answers(labels=labels, probabilities=table.astype(np.float64), groups=np.arange(500))
    assert SCORES["auroc"].measure(given).value == pytest.approx(expected, abs=1e-12)


def test_groups_of_several_classes_are_one_stratum():
    assert np.unique(answers(mixed=False).strata).tolist() == [0, 1, 2, 3]
    assert np.unique(answers().strata).tolist() == [0]


def test_any_function_of_labels_and_probabilities_is_a_score():
    def top_two(labels, probabilities):
        return sk.top_k_accuracy_score(labels, probabilities, k=2, labels=range(4))

    given = answers(n=200, groups=12)
    measured = find_score(top_two).measure(given)
    assert find_score(top_two).name == "top_two"
    assert measured.value == pytest.approx(top_two(given.labels, given.probabilities))
    kept = given.groups != 3
    without = top_two(given.labels[kept], given.probabilities[kept])
    share = (given.groups == 3).mean()
    assert measured.parts[3] == pytest.approx((1 - share) * (measured.value - without), abs=1e-6)


def test_a_function_of_one_s_own_is_measured_nearly_as_one_that_is_known():
    known, own = SCORES["macro_f1"], Score(name="f1", function=lambda *given: SCORES["macro_f1"].function(*given))
    given = answers(n=200, groups=12)
    np.testing.assert_allclose(own.measure(given).parts, known.measure(given).parts, atol=0.006)


def test_auroc_of_one_class_is_not_defined():
    given = answers()
    of_one = Answers(labels=np.zeros_like(given.labels), probabilities=given.probabilities, groups=given.groups)
    assert np.isnan(SCORES["auroc"].measure(of_one).value)


def test_an_unknown_metric_is_refused_by_name():
    with pytest.raises(ValueError, match="there is no metric acuracy; the metrics are accuracy, "):
        find_score("acuracy")
