from dataclasses import replace

import numpy as np
import pytest
from audit.sources import some

from bloodcell.audit.permutation import shuffles
from bloodcell.audit.shift import _not_compared, detectable_difference, shift
from bloodcell.cells.measurements import PROPERTIES


def found(photographs):
    return {
        finding.code: finding for finding in shift(photographs, splits=["train", "test"], n_permutations=999, seed=0)
    }


def test_a_shifted_split_is_found_with_its_property():
    photographs = some(200, seed=0)
    properties = photographs.properties.copy()
    properties[photographs.splits == "test", PROPERTIES.index("sharpness")] += 1.5
    codes = found(replace(photographs, properties=properties))
    assert codes["drift"].severity == codes["splits-differ"].severity == "warning"
    assert codes["drift"].numbers["properties"] == "sharpness"


def test_other_class_frequencies_are_no_shift():
    photographs = some(300, seed=0, separation=6.0)
    rare = photographs.labels == "c"
    splits = np.where(rare, "test", photographs.splits)
    splits[np.flatnonzero(rare)[:12]] = "train"
    codes = found(replace(photographs, splits=splits, properties=photographs.properties + 3 * rare[:, None]))
    assert codes["drift"].severity == codes["splits-differ"].severity == "clear"


@pytest.mark.slow
def test_false_alarms_are_as_rare_as_the_significance_level():
    warned = 0
    for order in shuffles(np.zeros(90), groups=np.arange(90), values=np.arange(90), n=15, seed=0):
        photographs = some(90, seed=7)
        codes = found(replace(photographs, splits=photographs.splits[order]))
        warned += any(finding.severity == "warning" for finding in codes.values())
    assert warned <= 1  # two tests at 1 % each


@pytest.mark.slow
def test_slides_that_differ_are_no_shift_between_splits():
    """30 slides of 20 photographs, each with its own sharpness: shuffling photographs warns of 4 of these 8 sets."""
    warned = 0
    for seed in range(8):
        photographs, rng = some(600, seed=seed), np.random.default_rng(seed)
        groups = np.repeat(np.arange(30), 20)
        properties = photographs.properties.copy()
        properties[:, PROPERTIES.index("sharpness")] += 2 * rng.normal(size=30)[groups]
        splits = np.where(rng.permutation(30) < 12, "test", "train")[groups]
        codes = found(replace(photographs, groups=groups, splits=splits, properties=properties))
        warned += any(finding.severity == "warning" for finding in codes.values())
    assert warned <= 1


def test_the_difference_that_would_be_found_is_found_in_four_of_five_sets(monkeypatch):
    # It is about single properties; the classifier takes ten times as long.
    monkeypatch.setattr("bloodcell.audit.shift._classifier_test", _not_compared)
    found_in = 0
    for seed in range(20):
        photographs = some(200, seed=seed)
        n_test = (photographs.splits == "test").sum()
        properties = photographs.properties.copy()
        properties[photographs.splits == "test", 0] += detectable_difference(n_test, 200 - n_test)
        found_in += found(replace(photographs, properties=properties))["drift"].severity == "warning"
    assert 12 <= found_in <= 20


def test_too_few_photographs_are_not_compared():
    assert list(found(some(20, seed=0, test_share=0.1))) == ["splits-not-compared"]


def test_splits_that_share_every_photograph_are_not_compared():
    photographs = some(60, seed=0)
    assert list(found(replace(photographs, splits=np.full(60, "")))) == ["splits-not-compared"]
