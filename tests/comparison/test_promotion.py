"""A candidate is promoted if it is better, or equivalent and cheaper; else the sentence says why not."""

import numpy as np
import pandas as pd
import pytest

from bloodcell.comparison.comparing import compare
from bloodcell.comparison.promotion import decide


def table(correct, *, n, first=0):
    """Return predictions of two classes, a share of each ten of them correct, each image of its own group."""
    right = (np.arange(n) - first) % 10 < 10 * correct
    labels = np.arange(n) // 10 % 2
    p_y = np.where(right == (labels == 1), 0.9, 0.1)
    names = [f"{number:04}.png" for number in range(n)]
    return pd.DataFrame(
        {"path": names, "label": np.array(["x", "y"])[labels], "group": names, "split": "val", "p_x": 1 - p_y}
    ).assign(p_y=p_y)


def decision(candidate, champion, *, n=400, first=0, costs=(None, None), evidence=()):
    champions = {} if champion is None else {"old": table(champion, n=n, first=first)}
    tables = {"new": table(candidate, n=n)} | champions
    comparison = compare(tables, evidence={"new": evidence})
    known = {name: cost for name, cost in zip(("new", "old"), costs, strict=True) if cost is not None}
    return decide(comparison, candidate="new", champion=None if champion is None else "old", costs=known)


def test_a_better_candidate_is_promoted_and_a_worse_one_is_not():
    better, worse = decision(0.9, 0.6), decision(0.6, 0.9)
    assert (better.outcome, better.verdict) == ("promoted", "better")
    assert better.sentence.startswith("new is better than old by 30.0 points (95 % interval ")
    assert (worse.outcome, worse.verdict) == ("not promoted", "worse")
    assert worse.sentence.startswith("old is better than new by 30.0 points")


@pytest.mark.parametrize(
    ("costs", "outcome", "why"),
    [
        (
            ({"parameters": 10.0}, {"parameters": 2000.0}),
            "promoted",
            "The candidate is cheaper: it has 10 parameters, the champion 2,000.",
        ),
        (({"parameters": 10.0, "flops": 1.0}, {"parameters": 9.0, "flops": 2.0}), "not promoted", "is not cheaper"),
        (({"parameters": 9.0, "flops": 1.0}, {"parameters": 9.0, "flops": 2.0}), "promoted", "is cheaper: it has 1 fl"),
        (({"parameters": 9.0}, {"parameters": 9.0}), "not promoted", "both have as many parameters."),
        ((None, {"parameters": 9.0}), "not promoted", "Which one is cheaper is unknown"),
    ],
)
def test_of_equivalent_models_the_cheaper_one_is_best(costs, outcome, why):
    found = decision(0.8, 0.8, costs=costs)
    assert (found.outcome, found.verdict) == (outcome, "equivalent")
    assert "are equivalent within 1 point" in found.sentence
    assert why in found.sentence


@pytest.mark.parametrize(
    ("candidate", "champion", "n", "says"),
    [
        (0.8, 0.7, 40, "more photographs would detect a difference of this size."),
        (0.9, 0.1, 4, "4 photographs are too few for reliable intervals: at least 16 more are needed."),
        (0.9, 0.2, 6, "A few more photographs would probably decide."),
        (0.8, 0.8, 12, "No realistic number of further photographs would decide."),
    ],
)
def test_an_inconclusive_comparison_says_how_many_more_groups_are_needed(candidate, champion, n, says):
    found = decision(candidate, champion, n=n, first=0 if n < 10 else 5)
    assert (found.outcome, found.verdict) == ("cannot tell", "inconclusive")
    assert says in found.sentence
    assert found.sentence.count("photographs would") + found.sentence.count("more are needed") == 1


def test_a_run_that_cannot_win_is_not_promoted():
    found = decision(0.9, 0.6, evidence=["debug"])
    assert found.outcome == "cannot tell"
    assert "is a debug run" in found.sentence
    assert "more" not in found.sentence


def test_without_a_champion_the_candidate_must_be_better_than_the_baseline():
    assert decision(0.9, None).outcome == "promoted"
    poor = decision(0.5, None)
    assert poor.outcome == "cannot tell"
    assert "majority class" in poor.sentence
