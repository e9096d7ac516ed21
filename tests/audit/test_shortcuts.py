from dataclasses import replace

import numpy as np
from audit.some import some

from bloodcell.audit.shortcuts import shortcuts


def found(photographs):
    return {finding.code: finding for finding in shortcuts(photographs, n_permutations=999, seed=0)}


def test_a_class_that_was_photographed_darker_is_found_and_named():
    photographs = some(150, seed=0)
    ground = 200 + photographs.one_ground
    ground[photographs.labels == "c", :3] -= 30
    codes = found(replace(photographs, one_ground=ground))
    finding = codes["background-shortcut"]
    assert finding.severity == "error"
    assert finding.numbers["class"] == "c"
    assert "c is darker, 170 grey levels against 200" in finding.what
    assert codes["border-shortcut"].severity == "clear"


def test_a_border_that_gives_a_class_away_is_found():
    photographs = some(150, seed=0)
    border = np.where(photographs.labels == "a", 0.0, 0.1 + photographs.one_border / 10)
    assert found(replace(photographs, one_border=border))["border-shortcut"].severity == "error"


def test_where_only_cells_tell_the_class_there_is_no_shortcut():
    for seed in range(5):
        assert {finding.severity for finding in found(some(150, seed=seed)).values()} == {"clear"}
