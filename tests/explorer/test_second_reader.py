"""The second reader: what is shown, what is hidden, and the bound of accuracy."""

import numpy as np
import pandas as pd
import pytest
from explorers import explored

from bloodcell.errors import UserError
from bloodcell.explorer.items import ExploredRun, make_items
from bloodcell.explorer.reading import Readings
from bloodcell.explorer.second_reader import NOT_A_CELL, UNSURE, accuracy_bound, choose_photographs


def noisy(*, photographs=200, noise=0.05, skill=0.9, seed=0):
    """Return images of which some labels are wrong, each photograph's true class, and the number of wrong labels."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 2, photographs)
    label = np.where(generator.random(photographs) < noise, 1 - truth, truth)
    predicted = np.where(generator.random(photographs) < skill, truth, 1 - truth)
    source = np.repeat(np.arange(photographs), 2)
    of_x = np.where(predicted == 0, 0.9, 0.1)[source] + generator.uniform(-0.05, 0.05, 2 * photographs)
    table = pd.DataFrame(
        {"path": [f"{row:04}" for row in range(len(source))], "label": np.array(["x", "y"])[label[source]]}
    )
    table = table.assign(group=source.astype(str), p_x=of_x, p_y=1 - of_x, fold=source % 5)
    return make_items([ExploredRun(name="run", predictions=table)]), truth, int((label != truth).sum())


def read(reading, truth):
    return {number: int(truth[int(each.source)]) for number, each in enumerate(reading.shown)}


def test_most_photographs_are_those_with_the_least_probable_label_and_controls_are_mixed_in():
    items, _, _ = noisy()
    reading = choose_photographs(items, n=20, seed=3)
    kinds = [each.stratum for each in reading.shown]
    assert len({each.source for each in reading.shown}) == len(reading.shown) == 20
    assert (kinds.count("suspect"), kinds.count("disputed"), kinds.count("control")) == (12, 3, 5)
    assert kinds != sorted(kinds)
    assert all((each.label == each.predicted) == (each.stratum == "control") for each in reading.shown)
    assert sum(reading.totals.values()) == 200


def test_errors_that_were_found_bound_the_accuracy_and_the_interval_covers_the_truth():
    covered = 0
    for seed in range(20):
        items, truth, wrong = noisy(noise=0.1, seed=seed)
        reading = choose_photographs(items, n=30, seed=seed)
        bound = accuracy_bound(reading, read(reading, truth))
        limit = 1 - wrong / 200
        assert bound.at_most >= limit
        assert bound.at_most == 1 - len(bound.rejected) / 200
        assert bound.low <= bound.estimate <= bound.high <= bound.at_most + 1e-12
        covered += bound.low <= limit <= bound.high
    assert covered >= 19


def test_what_the_reader_cannot_tell_counts_as_right_and_no_cell_as_wrong():
    items, _, _ = noisy()
    reading = choose_photographs(items, n=10, seed=0)
    right = {number: each.label for number, each in enumerate(reading.shown)}
    assert accuracy_bound(reading, right).at_most == 1
    assert accuracy_bound(reading, right | {0: UNSURE}).at_most == 1
    assert accuracy_bound(reading, right | {0: NOT_A_CELL}).rejected == (0,)
    partly = accuracy_bound(reading, {0: right[0]})
    assert partly.answered == 1
    assert partly.low < 0.05 < partly.high


def test_a_page_is_not_told_what_it_shows(bccd, tmp_path):
    items = explored(bccd)
    readings = Readings(items, tmp_path)
    begun = readings.start()
    assert set(begun) == {"id", "n", "classes", "seconds"}
    first = begun["id"]
    readings.answer(first, 0, 1)
    shown = readings.result(first)["shown"]
    assert [each["row"] for each in shown] == [readings.row(first, 0)]
    readings.start()
    with pytest.raises(ValueError, match="ended"):
        readings.answer(first, 1, 0)


def test_without_held_out_predictions_there_is_nothing_to_read():
    table = pd.DataFrame(
        {"path": ["a", "b"], "label": ["x", "y"], "group": ["1", "2"], "p_x": [0.9, 0.1], "p_y": [0.1, 0.9]}
    )
    whole = table[["path", "label", "group"]].assign(source=["1", "2"], split="train", sha256="")
    items = make_items([ExploredRun(name="run", predictions=table.assign(split="val"), manifest=whole)])
    choose_photographs(items, seed=0)
    never = make_items([ExploredRun(name="run", predictions=table.assign(split="val"), manifest=whole)])
    object.__setattr__(never.runs[0], "evidence", np.ones(2, np.int64))
    with pytest.raises(UserError, match="held-out"):
        choose_photographs(never, seed=0)
