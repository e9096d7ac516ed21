from dataclasses import replace

import numpy as np
from audit.sources import some

from bloodcell.audit.shortcuts import shortcuts


def found(photographs):
    return {finding.code: finding for finding in shortcuts(photographs, n_permutations=999, seed=0)}


def test_a_class_with_a_darker_background_is_found_and_named():
    photographs = some(150, seed=0)
    ground = 200 + photographs.background
    ground[photographs.labels == "c", :3] -= 30
    codes = found(replace(photographs, background=ground))
    finding = codes["background-shortcut"]
    assert finding.severity == "error"
    assert finding.numbers["class"] == "c"
    assert "c is darker: 170 grey levels" in finding.what
    assert codes["border-shortcut"].severity == "clear"


def test_a_border_that_predicts_a_class_is_found():
    photographs = some(150, seed=0)
    border = np.where(photographs.labels == "a", 0.0, 0.1 + photographs.border / 10)
    assert found(replace(photographs, border=border))["border-shortcut"].severity == "error"


def test_there_is_no_shortcut_if_only_cells_predict_the_class():
    for seed in range(5):
        assert {finding.severity for finding in found(some(150, seed=seed)).values()} == {"clear"}
