"""The columns of the explorer: what each prediction is worth, and what the page loads."""

import json

import numpy as np
import pandas as pd
import pytest

from bloodcell.errors import UserError
from bloodcell.explorer.items import EVIDENCE, STEPS, ExploredRun, as_json, make_items


def table(rows, *, fold=False):
    """Rows of path, label, source, split and probability of x."""
    made = pd.DataFrame(rows, columns=["path", "label", "source", "split", "p_x"])
    made["group"] = made["source"]
    made["p_y"] = 1 - made["p_x"]
    made["fold"] = [1, 2] * (len(made) // 2) if fold else None
    return made


def manifest(rows):
    made = pd.DataFrame(rows, columns=["path", "label", "source", "split"])
    return made.assign(group=made["source"], sha256="")


def evidence_of(items, run=0):
    return dict(zip(items.table["path"], [EVIDENCE[each] for each in items.runs[run].evidence], strict=True))


def test_an_image_is_not_held_out_if_training_had_a_copy_of_its_photograph():
    whole = manifest(
        [("a", "x", "1", "train"), ("b", "x", "1", "val"), ("c", "y", "2", "val"), ("d", "y", "1", "test")]
    )
    own = table([("b", "x", "1", "val", 0.9), ("c", "y", "2", "val", 0.2), ("d", "y", "1", "test", 0.2)])
    items = make_items([ExploredRun(name="run", predictions=own, manifest=whole)])
    assert evidence_of(items) == {
        "a": "trained on",
        "b": "copy in training",
        "c": "held out",
        "d": "copy in training",
    }
    assert items.runs[0].predicted.tolist() == [-1, 0, 1, 1]


def test_folds_that_separate_copies_of_a_photograph_leak():
    rows = [
        ("a", "x", "1", "val", 0.9),
        ("b", "x", "1", "val", 0.9),
        ("c", "y", "2", "val", 0.1),
        ("d", "y", "3", "val", 0.1),
    ]
    assert evidence_of(make_items([ExploredRun(name="run", predictions=table(rows, fold=True))])) == {
        "a": "copy in training",
        "b": "copy in training",
        "c": "held out",
        "d": "held out",
    }


def test_a_table_that_does_not_say_what_it_was_trained_on_has_unknown_evidence():
    items = make_items([ExploredRun(name="run", predictions=table([("a", "x", "1", "val", 0.9)]))])
    assert evidence_of(items) == {"a": "unknown"}


def test_runs_on_different_images_are_joined_and_repeats_are_averaged():
    one = table([("a", "x", "1", "val", 0.9), ("a", "x", "1", "val", 0.5)])
    two = table([("b", "y", "2", "test", 0.1)])
    items = make_items([ExploredRun(name="one", predictions=one), ExploredRun(name="two", predictions=two)])
    document = json.loads(as_json(items))
    assert document["file"] == ["a", "b"]
    assert [run["predicted"] for run in document["runs"]] == [[0, -1], [-1, 1]]
    assert [run["confidence"] for run in document["runs"]] == [[round(0.7 * STEPS), -1], [-1, round(0.9 * STEPS)]]
    assert document["runs"][1]["of_label"] == [-1, round(0.9 * STEPS)]


def test_runs_with_other_classes_are_refused():
    other = table([("a", "x", "1", "val", 0.9)]).rename(columns={"p_y": "p_z"})
    with pytest.raises(UserError, match="classes"):
        make_items(
            [
                ExploredRun(name="one", predictions=table([("a", "x", "1", "val", 0.9)])),
                ExploredRun(name="two", predictions=other),
            ]
        )


def test_what_the_page_loads_is_small():
    n = 12_444
    paths = [f"TRAIN/CLASS/_{number}_{number % 97}.jpeg" for number in range(n)]
    many = pd.DataFrame({"path": paths, "label": "x", "group": [str(number % 348) for number in range(n)]})
    many["p_x"] = np.random.default_rng(0).random(n)
    many["p_y"] = 1 - many["p_x"]
    assert len(as_json(make_items([ExploredRun(name="run", predictions=many)]))) < 1_000_000
