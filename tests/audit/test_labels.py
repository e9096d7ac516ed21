from dataclasses import replace

import numpy as np
from audit.sources import some

from bloodcell.audit.labels import several_cells, suspicious_labels


def read(path: str) -> np.ndarray:
    return np.full((24, 32, 3), len(path), np.uint8)


def found(photographs):
    return {finding.code: finding for finding in suspicious_labels(photographs, read=read, n_permutations=999, seed=0)}


def test_swapped_labels_are_named_and_no_others():
    photographs = some(300, seed=0, separation=7.0)
    labels = photographs.labels.copy()
    swapped = np.flatnonzero(labels == "a")[:6]
    labels[swapped] = "b"
    finding = found(replace(photographs, labels=labels))["suspicious-labels"]
    assert finding.severity == "warning"
    named = {row["path"] for row in finding.rows}
    assert named <= set(photographs.examples[swapped])
    assert len(named) >= 4
    assert {(row["label"], row["looks_like"]) for row in finding.rows} == {("b", "a")}
    assert finding.pictures


def test_correct_labels_are_not_suspicious_even_if_classes_overlap():
    n_suspicious = [
        found(some(200, seed=seed, separation=2.0))["suspicious-labels"].numbers["suspicious"] for seed in range(5)
    ]
    assert sum(n_suspicious) <= 0.01 * 5 * 200


def test_wrong_test_labels_are_a_finding_of_their_own():
    photographs = some(300, seed=1, separation=4.0)
    labels = photographs.labels.copy()
    test = np.flatnonzero(photographs.splits == "test")[::4]
    labels[test] = np.where(labels[test] == "a", "b", "a")
    assert found(photographs)["test-labels"].severity == "clear"
    assert found(replace(photographs, labels=labels))["test-labels"].severity == "warning"


def test_labels_of_too_few_photographs_are_not_checked():
    assert list(found(some(9, seed=0))) == ["labels-not-judged"]


def test_photographs_with_more_than_one_cell_are_counted():
    photographs = some(60, seed=0)
    counts = photographs.counts.copy()
    counts[:3] = 2
    finding = several_cells(replace(photographs, counts=counts), read=read, n_permutations=999, seed=0)
    assert (finding.severity, finding.numbers["photographs"]) == ("note", 3)
    assert several_cells(photographs, read=read, n_permutations=999, seed=0).severity == "clear"


def test_cells_are_counted_if_every_photograph_is_in_two_splits():
    photographs = replace(some(60, seed=0), splits=np.full(60, ""), counts=np.full(60, 2))
    finding = several_cells(photographs, read=read, n_permutations=999, seed=0)
    assert finding.numbers == {"photographs": 60, "of": 60}
