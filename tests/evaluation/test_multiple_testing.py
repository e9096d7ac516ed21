import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloodcell.evaluation.multiple_testing import holm


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_rejects_what_the_sequential_procedure_rejects(p_values):
    """Holm 1979: test from the smallest p-value on, at level / (number left), up to the first that is not rejected."""
    level, rejected = 0.05, set()
    for left, index in zip(range(len(p_values), 0, -1), np.argsort(p_values, kind="stable"), strict=True):
        if p_values[index] * left >= level:
            break
        rejected.add(int(index))
    assert set(np.flatnonzero(holm(p_values) < level)) == rejected


def test_holm_gives_the_adjusted_values_of_its_paper_in_the_given_order():
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.9, 0.6]).tolist() == [1, 1]


def test_tests_without_a_p_value_count_as_one():
    known = [0.01, 0.0004, 0.03]
    np.testing.assert_allclose(holm(known, n_tests=7), holm([*known, 1, 1, 1, 1])[:3], rtol=1e-15)
