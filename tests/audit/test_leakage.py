import numpy as np
import pandas as pd
import pytest

from bloodcell.audit.leakage import random_split


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
