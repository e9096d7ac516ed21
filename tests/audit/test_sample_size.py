import pandas as pd
import pytest
from scipy.stats import binomtest

from bloodcell.audit.sample_size import half_width, sample_size


def manifest(**photographs: int) -> pd.DataFrame:
    """Five copies of each photograph; two more of each class in test."""
    rows = [
        {
            "path": f"{split}/{label}/{number}-{copy}.jpeg",
            "label": label,
            "source": f"{split}{label}{number}",
            "group": f"{split}{label}{number}",
            "split": split,
        }
        for label, n in photographs.items()
        for split, count in (("train", n), ("test", 2))
        for number in range(count)
        for copy in range(5)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("n", [10, 55, 2480])
def test_the_interval_is_wilsons(n):
    interval = binomtest(round(0.8 * n), n).proportion_ci(method="wilson")
    assert half_width(n) == pytest.approx((interval.high - interval.low) / 2, rel=1e-6)


def test_photographs_are_counted_by_class_and_split():
    found, balance = sample_size(manifest(round=6, flat=5))
    assert (found.numbers["images"], found.numbers["photographs"]) == (75, 15)
    assert found.numbers["test_interval_half_width"] == pytest.approx(half_width(4), abs=1e-3)
    assert {row["class"]: row["photographs"] for row in found.rows if row["split"] == "training"} == {
        "round": 6,
        "flat": 5,
    }
    assert balance.severity == "clear"


def test_imbalance_is_of_photographs_not_of_files():
    balanced_files = manifest(many=20, few=2)
    few = balanced_files[(balanced_files["label"] == "few") & (balanced_files["split"] == "train")]
    table = pd.concat([balanced_files, *[few.assign(path=few["path"] + str(copy)) for copy in range(9)]])
    assert table[table["split"] == "train"]["label"].value_counts().nunique() == 1
    _, balance = sample_size(table)
    assert (balance.code, balance.severity, balance.numbers["ratio"]) == ("class-imbalance", "warning", 10.0)
