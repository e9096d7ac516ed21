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
def test_what_a_score_would_be_without_a_photograph_is_what_it_is_without_it(name):
    given = answers()
    score = SCORES[name]
    measured = score.measure(given)
    for group in (0, 7, given.n_groups - 1):
        kept = given.groups != group
        without = score.function(given.labels[kept], given.probabilities[kept])
        assert measured.value - measured.influence[group] == pytest.approx(without, abs=1e-12)


@pytest.mark.parametrize("name", SCORES)
def test_the_shares_of_photographs_sum_to_the_score(name):
    measured = SCORES[name].measure(answers())
    assert measured.share.sum() == pytest.approx(measured.value)


def test_any_function_of_labels_and_probabilities_is_a_score():
    def top_two(labels, probabilities):
        return sk.top_k_accuracy_score(labels, probabilities, k=2, labels=range(4))

    given = answers(n=200, groups=12)
    measured = find_score(top_two).measure(given)
    assert find_score(top_two).name == "top_two"
    assert measured.value == pytest.approx(top_two(given.labels, given.probabilities))
    kept = given.groups != 3
    without = top_two(given.labels[kept], given.probabilities[kept])
    assert measured.influence[3] == pytest.approx(measured.value - without)
    assert measured.share.sum() == pytest.approx(measured.value)


def test_a_function_of_one_s_own_is_measured_as_one_that_is_known():
    known, own = SCORES["macro_f1"], Score(name="f1", function=lambda *given: SCORES["macro_f1"].function(*given))
    given = answers(n=200, groups=12)
    np.testing.assert_allclose(own.measure(given).influence, known.measure(given).influence, atol=1e-12)


def test_auroc_of_one_class_is_not_defined():
    given = answers()
    of_one = Answers(labels=np.zeros_like(given.labels), probabilities=given.probabilities, groups=given.groups)
    assert np.isnan(SCORES["auroc"].measure(of_one).value)


def test_an_unknown_metric_is_refused_by_name():
    with pytest.raises(ValueError, match="there is no metric acuracy; the metrics are accuracy, "):
        find_score("acuracy")
