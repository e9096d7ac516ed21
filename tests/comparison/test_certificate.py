"""What a comparison says of its own design."""

import numpy as np
import pytest

from bloodcell.comparison.certificate import certify
from bloodcell.evaluation.intervals import score_interval
from bloodcell.evaluation.scores import SCORES, Answers


def answers(rng: np.random.Generator, sizes: np.ndarray, labels: np.ndarray, *, accuracy: float = 0.85) -> Answers:
    """Draw answers by a generator that the certificate does not use: a share of groups is right or wrong as a whole."""
    whole = rng.random(sizes.size) < 0.6
    all_right = rng.random(sizes.size) < accuracy
    groups = np.repeat(np.arange(sizes.size), sizes)
    right = np.where(whole[groups], all_right[groups], rng.random(groups.size) < accuracy)
    k = labels.max() + 2
    told = np.where(right, labels[groups], (labels[groups] + 1) % k)
    return Answers(labels=labels[groups], probabilities=np.eye(k)[told], groups=groups)


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


def test_more_groups_find_more_and_the_same_design_says_the_same():
    rng = np.random.default_rng(1)
    few, many = ([answers(rng, np.full(n, 5), np.arange(n) % 2) for _ in range(2)] for n in (20, 400))
    assert certify(few, n_simulated=200).power < 0.2 < certify(many, n_simulated=200).power
    assert certify(few, n_simulated=200) == certify(few, n_simulated=200)


def test_of_fewer_than_five_groups_nothing_is_simulated():
    rng = np.random.default_rng(2)
    certificate = certify([answers(rng, np.full(4, 9), np.arange(4) % 2)])
    assert (certificate.n_simulated, certificate.enough) == (0, False)
