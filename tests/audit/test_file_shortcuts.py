"""Sizes, formats, cameras and names of files that tell the class."""

import numpy as np
import pandas as pd
import pytest
from audit.sources import some

from bloodcell.audit.file_shortcuts import cramers_v, file_shortcuts, name_patterns


def headers(photographs, **columns):
    table = {"path": photographs.examples, "size": "300 x 300", "format": "PNG", "camera": ""}
    return pd.DataFrame(table | columns)


def found(photographs, **columns):
    table = headers(photographs, **columns)
    return {finding.code: finding for finding in file_shortcuts(photographs, table, n_permutations=999, seed=0)}


def test_files_that_are_alike_pass():
    assert {finding.severity for finding in found(some(150, seed=0)).values()} == {"clear"}


@pytest.mark.parametrize(
    ("column", "values"),
    [("size", ("300 x 300", "320 x 310")), ("format", ("PNG", "JPEG")), ("camera", ("Zeiss A", "Leica B"))],
)
def test_half_of_a_class_that_differs_is_found_and_counted(column, values):
    photographs = some(150, seed=0)
    of_class = np.flatnonzero(photographs.labels == "b")
    odd = np.isin(np.arange(150), of_class[: len(of_class) // 2])
    codes = found(photographs, **{column: np.where(odd, values[1], values[0])})
    finding = codes.pop(f"{column}-shortcut")
    assert finding.severity == "warning"
    assert {row[column]: row["b"] for row in finding.rows} == {
        values[0]: len(of_class) - odd.sum(),
        values[1]: odd.sum(),
    }
    assert {other.severity for other in codes.values()} == {"clear"}


def test_odd_sizes_that_all_differ_are_one_kind():
    photographs = some(150, seed=0)
    odd = (photographs.labels == "c") & (np.arange(150) % 2 == 0)
    sizes = [f"{300 + number} x {310 + number}" if is_odd else "300 x 300" for number, is_odd in enumerate(odd)]
    assert found(photographs, size=sizes)["size-shortcut"].severity == "warning"


def test_names_of_a_class_are_a_note():
    photographs = some(150, seed=0)
    photographs = photographs.where(np.ones(150, bool))
    examples = np.array([f"x/{label}_{number}.png" for number, label in enumerate(photographs.labels)])
    photographs = type(photographs)(**vars(photographs) | {"examples": examples})
    assert found(photographs)["name-shortcut"].severity == "note"


def test_values_that_do_not_depend_on_the_class_are_rarely_reported():
    accused = 0
    for seed in range(20):
        photographs, rng = some(90, seed=seed), np.random.default_rng(seed)
        codes = found(photographs, camera=rng.choice(["a", "b", "c"], 90), size=rng.choice(["1 x 1", "2 x 2"], 90))
        accused += any(finding.severity != "clear" for finding in codes.values())
    assert accused <= 1


def test_names_without_numbers():
    assert name_patterns(["a/Cell_012-3.png", "b/cell_4-55.jpg"]).tolist() == ["cell_#-#"] * 2


def test_cramers_v_of_known_tables():
    assert cramers_v(np.array([[50.0, 0.0], [0.0, 50.0]])) == pytest.approx(1.0)
    assert cramers_v(np.array([[25.0, 25.0], [25.0, 25.0]])) == 0.0
    # 24 of 48 against 2 of 22: chi squared is 10.6, so V is (10.6 / 70)^0.5 before its correction.
    assert cramers_v(np.array([[24.0, 2.0], [24.0, 20.0]])) == pytest.approx(0.376, abs=0.002)
