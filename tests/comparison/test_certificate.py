"""What a comparison says of its own design."""

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate, stats

from bloodcell.comparison import certificate as simulations
from bloodcell.comparison.certificate import Certificate, certify
from bloodcell.comparison.verdicts import compare_pairs
from bloodcell.evaluation.intervals import score_interval
from bloodcell.evaluation.scores import SCORES, Predictions


def answers(rng: np.random.Generator, sizes: np.ndarray, labels: np.ndarray, *, accuracy: float = 0.85) -> Predictions:
    """Draw answers by a generator that the certificate does not use: a share of groups is right or wrong as a whole."""
    whole = rng.random(sizes.size) < 0.6
    all_right = rng.random(sizes.size) < accuracy
    groups = np.repeat(np.arange(sizes.size), sizes)
    right = np.where(whole[groups], all_right[groups], rng.random(groups.size) < accuracy)
    k = labels.max() + 2
    predicted = np.where(right, labels[groups], (labels[groups] + 1) % k)
    return Predictions(labels=labels[groups], probabilities=np.eye(k)[predicted], groups=groups)


def answers_of(right: list[int], sizes: list[int], labels: list[int] | None = None) -> Predictions:
    """Make answers for groups of so many images, so many of them right."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    label = np.array(labels or [0] * len(sizes))[groups]
    is_right = np.concatenate([np.arange(n) < r for r, n in zip(right, sizes, strict=True)])
    return Predictions(labels=label, probabilities=np.eye(3)[np.where(is_right, label, label + 1)], groups=groups)


def test_the_file_has_the_findings():
    found = Certificate(
        coverage=0.93,
        false_differences=0.62,
        power=0.71,
        n_groups=40,
        n_effective=30.8,
        accuracy=0.8,
        correlation=0.5,
        n_simulated=1000,
    )
    assert re.findall(r"[\d,]*\d", str(found)) == ["1,000", "40", "31", "95", "93", "62", "5", "71"]
    assert [replace(found, coverage=coverage).enough for coverage in (0.89, 0.9, 0.91)] == [False, True, True]
    none = replace(found, n_groups=4, n_simulated=0)
    assert re.findall(r"\d+", str(none)) == ["4", "5"]


def test_it_simulates_the_accuracy_and_correlation_of_the_answers():
    """The mean over models of accuracy and of Fleiss and Cuzick's correlation, by hand."""
    sizes = [6, 4, 2, 5, 3]
    one, other = [6, 1, 2, 4, 0], [5, 4, 0, 4, 3]
    found = certify([answers_of(one, sizes), answers_of(other, sizes)], n_simulated=1)
    # Of 20 answers 13 and 16 are right; the sums over groups of n p (1 - p) are 3/4 + 4/5 and 5/6 + 4/5.
    first = 1 - (0.75 + 0.8) / (15 * 0.65 * 0.35)
    second = 1 - (5 / 6 + 0.8) / (15 * 0.8 * 0.2)
    assert found.accuracy == round((0.65 + 0.8) / 2, 2)
    assert found.correlation == round((first + second) / 2, 2)
    assert (found.n_groups, found.n_simulated) == (5, 1)
    assert found.n_effective == pytest.approx(20**2 / (36 + 16 + 4 + 25 + 9))


@pytest.mark.parametrize(
    ("right", "accuracy", "correlation"),
    [(6, 0.98, 0.95), (0, 0.02, 0.95), (3, 0.5, 0.02)],
    ids=["all", "none", "half"],
)
def test_what_is_simulated_is_never_quite_sure(right, accuracy, correlation):
    found = certify([answers_of([right] * 5, [6] * 5)], n_simulated=1)
    assert (found.accuracy, found.correlation) == (accuracy, correlation)


def test_a_correlation_is_found_in_the_only_group_of_two_images():
    found = certify([answers_of([1] * 5, [2, 1, 1, 1, 1])], n_simulated=1)
    assert (found.accuracy, found.correlation) == (0.83, 0.02)


def test_the_order_of_the_groups_does_not_count():
    right, sizes, labels = [5, 2, 3, 1, 4, 0], [6, 2, 5, 2, 4, 3], [0, 1, 0, 1, 1, 0]
    order = [3, 5, 0, 4, 2, 1]
    moved = answers_of(*([each[number] for number in order] for each in (right, sizes, labels)))
    assert certify([moved], n_simulated=9) == certify([answers_of(right, sizes, labels)], n_simulated=9)


def test_the_latent_correlation_gives_right_answers_theirs():
    """For even chances it has a closed form (Sheppard 1899); for others the integral over what groups share."""
    assert simulations._latent_correlation(0.5, 0.4) == pytest.approx(np.sin(np.pi * 0.4 / 2), abs=1e-6)
    latent, level = simulations._latent_correlation(0.9, 0.3), stats.norm.ppf(0.9)
    both, _ = integrate.quad(
        lambda shared: (
            stats.norm.pdf(shared) * stats.norm.cdf((level - latent**0.5 * shared) / (1 - latent) ** 0.5) ** 2
        ),
        *(-8, 8),
    )
    assert (both - 0.9**2) / (0.9 * 0.1) == pytest.approx(0.3, abs=1e-4)
    assert simulations._latent_correlation(0.98, 0.99) == 0.999


@pytest.mark.parametrize("beta", [True, False])
def test_chances_of_groups_have_the_accuracy_and_the_correlation(beta):
    latent = simulations._latent_correlation(0.8, 0.3)
    drawn = simulations._group_accuracies(
        np.random.default_rng(0), 100_000, 0.8, correlation=0.3, latent=latent, beta=beta
    )
    assert drawn.mean() == pytest.approx(0.8, abs=0.005)
    assert drawn.var() / (0.8 * 0.2) == pytest.approx(0.3, abs=0.01)
    # The beta distribution of this mean and variance.
    skewed = stats.beta(0.8 * 7 / 3, 0.2 * 7 / 3).cdf(0.5)
    assert ((drawn < 0.5).mean() == pytest.approx(skewed, abs=0.002)) == beta


def test_intervals_and_p_values_of_simulated_counts_are_those_of_answers():
    right, other, sizes, labels = [6, 1, 2, 4, 0, 3], [5, 4, 0, 5, 3, 3], [6, 4, 2, 5, 3, 3], [0, 0, 0, 1, 1, 1]
    images, score = np.array(sizes), SCORES["accuracy"]
    expected = score_interval(score, [answers_of(right, sizes, labels)])
    assert simulations._interval(np.array(right), images) == pytest.approx((expected.low, expected.high), abs=1e-12)
    both = [[score.by_group(answers_of(each, sizes, labels))] for each in (right, other)]
    pairs = compare_pairs(both, strata=np.array(labels), max_difference=1.0)
    simulated = np.array([[right, other, right], [right, right, other]])
    p, difference = simulations._compared_with_first(simulated, images, weights=images / 23, strata=np.array(labels))
    assert p == pytest.approx(np.array([[pairs.p_value[0], 1.0], [1.0, pairs.p_value[0]]]))
    assert difference == pytest.approx(np.array([[pairs.difference[0], 0.0], [0.0, pairs.difference[0]]]))


def test_it_counts_intervals_that_hold_the_truth_and_p_values_that_are_significant(monkeypatch):
    """Five simulations whose intervals and p-values are given; groups are drawn at half their size, 4,000 images."""
    intervals = iter([(0.5, 1.0), (0.0, 0.5), (0.6, 1.0), (0.2, 0.7), (0.4, 0.9)])
    equal = [(0.04, 0.1), (0.05, 0.1), (0.2, 0.0), (0.01, 0.0), (0.5, 0.0)]
    worse = [(0.2, -0.1), (0.01, 0.2), (0.04, 0.0), (0.05, 0.3), (0.03, 1.0)]
    tests = iter(np.stack([equal, worse], axis=1))  # a simulation after another: the memory has room for one
    weighed = []
    drawn, levels = [], []

    def chances(rng, n, accuracy, *, correlation, latent, beta):
        levels.append((accuracy, beta))
        return np.ones(n)

    monkeypatch.setattr(simulations, "_group_accuracies", chances)
    monkeypatch.setattr(
        simulations, "_interval", lambda right, images: drawn.append((right, images)) or next(intervals)
    )
    monkeypatch.setattr(
        simulations,
        "_compared_with_first",
        lambda *_, weights, strata: weighed.append(weights.tolist()) or next(tests)[None].transpose(2, 0, 1),
    )
    monkeypatch.setattr(simulations, "SIMULATED_AT_ONCE", 5)
    sizes = (1, 3, 996, 1000, 6000)
    known = {"sizes": sizes, "strata": (0,) * 5, "accuracy": 0.5, "correlation": 0.37, "seed": 0}
    found = simulations._simulate(**known, n_simulated=5)
    assert (found.coverage, found.false_differences, found.power) == (0.8, 0.4, 0.4)
    assert levels == [(each, beta) for beta in (False, True, False, True, False) for each in (0.5, 0.5, 0.45)]
    images = [1, 2, 498, 500, 3000]
    assert [each.tolist() for each in drawn[0]] == [images] * 2
    assert weighed[0] == pytest.approx(np.array(images) / 4001)


def test_a_poor_model_is_compared_with_one_that_is_hardly_ever_right(monkeypatch):
    levels, drawn = [], []
    monkeypatch.setattr(
        simulations, "_group_accuracies", lambda rng, n, accuracy, **_: levels.append(accuracy) or np.full(n, accuracy)
    )
    monkeypatch.setattr(simulations, "_interval", lambda right, images: drawn.append(images.tolist()) or (0, 1))
    certify([answers_of([0] * 5, [6] * 5)], n_simulated=1, seed=7)
    assert levels == [0.02, 0.02, 0.01]
    assert drawn == [[6] * 5]  # few images are drawn as they are


def test_of_fewer_than_five_groups_nothing_is_simulated():
    rng = np.random.default_rng(2)
    certificate = certify([answers(rng, np.full(4, 9), np.arange(4) % 2)])
    assert (certificate.n_simulated, certificate.enough) == (0, False)
    assert (certificate.coverage, certificate.false_differences, certificate.power) == (0, 0, 0)
    assert certificate.n_groups == certificate.n_effective == 4


def test_its_coverage_is_what_another_generator_finds():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), (12, 8, 20))
    sizes = rng.integers(3, 60, labels.size)
    certificate = certify([answers(rng, sizes, labels) for _ in range(4)], n_simulated=300)
    held = 0
    for _ in range(300):
        interval = score_interval(SCORES["accuracy"], [answers(rng, sizes, labels)])
        held += interval.low <= 0.85 <= interval.high
    assert certificate.coverage == pytest.approx(held / 300, abs=0.05)
    assert certificate.enough
    assert certificate.false_differences <= 0.06
    assert certificate.n_groups == 40
    assert 20 < certificate.n_effective < 40


def test_more_groups_have_more_power_and_results_are_reproducible():
    rng = np.random.default_rng(1)
    few, many = ([answers(rng, np.full(n, 5), np.arange(n) % 2) for _ in range(2)] for n in (20, 400))
    assert certify(few, n_simulated=200).power < 0.2 < certify(many, n_simulated=200).power
    assert certify(few, n_simulated=200) == certify(few, n_simulated=200)
