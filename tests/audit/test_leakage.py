import numpy as np
import pandas as pd
import pytest

from bloodcell.audit.leakage import random_split


def manifest(sizes: list[int]) -> pd.DataFrame:
    groups = np.repeat([f"g{number}" for number in range(len(sizes))], sizes)
    return pd.DataFrame({"source": groups, "split": "train"})


def test_what_a_random_split_would_do_is_what_random_splits_do():
    table = manifest([1, 1, 1, 2, 2, 3, 4, 6])
    said = random_split(table)
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(4000):
        validation = np.isin(np.arange(20), rng.permutation(20)[:4])
        groups = table["source"].to_numpy()
        shares.append(np.isin(groups[validation], groups[~validation]).mean())
    assert said.numbers["validation_images"] == 4
    assert said.numbers["share_with_copy_in_training"] == pytest.approx(np.mean(shares), abs=0.01)
    assert said.severity == "note"


def test_without_copies_a_random_split_is_fine():
    assert random_split(manifest([1] * 30)).severity == "clear"
