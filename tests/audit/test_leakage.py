import cv2
import numpy as np
import pandas as pd
import pytest

from bloodcell.audit.leakage import cells_with_two_labels, random_split
from bloodcell.smears import render_photograph


def manifest(sizes: list[int]) -> pd.DataFrame:
    groups = np.repeat([f"g{number}" for number in range(len(sizes))], sizes)
    return pd.DataFrame({"source": groups, "split": "train"})


def test_the_expected_leakage_is_the_mean_over_random_splits():
    table = manifest([1, 1, 1, 2, 2, 3, 4, 6])
    finding = random_split(table)
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(4000):
        validation = np.isin(np.arange(20), rng.permutation(20)[:4])
        groups = table["source"].to_numpy()
        shares.append(np.isin(groups[validation], groups[~validation]).mean())
    assert finding.numbers["validation_images"] == 4
    assert finding.numbers["share_with_copy_in_training"] == pytest.approx(np.mean(shares), abs=0.01)
    assert finding.severity == "note"


def test_a_random_split_without_copies_passes():
    assert random_split(manifest([1] * 30)).severity == "clear"


def test_one_cell_in_two_photographs_with_different_labels_is_an_error():
    same, other = (render_photograph("NEUTROPHIL", slide=slide, seed=0).image for slide in (5, 6))
    lower = cv2.convertScaleAbs(cv2.GaussianBlur(same, (0, 0), 2), alpha=0.9)[10:, 14:]
    images = {"a.png": same, "b.png": lower, "c.png": other, "d.png": same[:, ::-1].copy()}
    table = pd.DataFrame(
        {"source": list("abcd"), "path": list(images), "label": ["NEUTROPHIL", "MONOCYTE", "MONOCYTE", "NEUTROPHIL"]}
    )
    pairs = [("a", "b"), ("a", "c"), ("a", "d")]
    finding = cells_with_two_labels(table, pairs=pairs, read=images.__getitem__)
    assert finding.severity == "error"
    (row,) = finding.rows
    assert row == {"path": "a.png", "label": "NEUTROPHIL", "same_cell": "b.png", "its_label": "MONOCYTE"}
    assert cells_with_two_labels(table, pairs=pairs[1:], read=images.__getitem__).severity == "clear"
