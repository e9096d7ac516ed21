"""Marks: a crash loses none, and what is exported is what trainings read."""

import pandas as pd
import pytest
from explorers import explored

from bloodcell.config.keywords import train_config
from bloodcell.experiment.images import load_images
from bloodcell.explorer.marks import EXCLUDED, GROUPS, LABELS, LIST, MARKS, Marks


@pytest.fixture(scope="module")
def items(bccd):
    return explored(bccd)


def test_marks_survive_a_line_that_a_crash_tore(items, tmp_path):
    Marks(items, tmp_path).add("label wrong", [3], items.classes[1])
    with (tmp_path / MARKS).open("a") as file:
        file.write('{"mark": "not a ce')
    Marks(items, tmp_path).add("not a cell", [4, 5])
    assert Marks(items, tmp_path).as_json() == {
        "label_wrong": {3: items.classes[1]},
        "not_a_cell": [4, 5],
        "same_photograph": [],
    }


def test_marks_that_are_taken_back_are_not_exported(items, tmp_path):
    marks = Marks(items, tmp_path)
    marks.add("label wrong", [0, 1], items.classes[2])
    marks.add("same photograph", [0, 1, 2])
    marks.add("not a cell", [1])
    assert set(marks.export()) == {LABELS, EXCLUDED, GROUPS, LIST}
    marks.add("remove", [0, 1])
    assert marks.as_json() == {"label_wrong": {}, "not_a_cell": [], "same_photograph": []}
    assert set(marks.export()) == {LIST}
    assert not (tmp_path / LABELS).exists()
    assert not (tmp_path / GROUPS).exists()
    assert not (tmp_path / EXCLUDED).exists()


@pytest.mark.parametrize(
    ("kind", "rows", "label"),
    [
        ("label wrong", [10**6], ""),
        ("label wrong", [-1], ""),
        ("label wrong", ["0"], ""),
        ("label wrong", [0], "no class"),
        ("not a cell", [], ""),
        ("same photograph", [1, 1], ""),
        ("../x", [1], ""),
    ],
)
def test_a_mark_that_is_not_possible_is_refused(items, tmp_path, kind, rows, label):
    with pytest.raises(ValueError, match=r"must|choose"):
        Marks(items, tmp_path).add(kind, rows, label)
    assert (tmp_path / MARKS).read_bytes() == b""


def test_a_training_reads_what_is_exported(items, bccd, tmp_path):
    marks = Marks(items, tmp_path)
    train = [row for row, path in enumerate(items.table["path"]) if path.startswith("TRAIN")]
    wrong = train[0]
    other = next(name for name in items.classes if name != items.table["label"][wrong])
    marks.add("label wrong", [wrong], other)
    marks.add("same photograph", train[1:3])
    marks.add("same photograph", train[2:4])
    marks.add("not a cell", train[5:7])
    written = marks.export()
    settings = {
        "labels_file": str(written[LABELS]),
        "exclude_file": str(written[EXCLUDED]),
        "groups": "column",
        "groups_file": str(written[GROUPS]),
        "group_name": "photograph",
    }
    config = train_config(data={"source": "bccd", "root": str(bccd), **settings}, backbone="majority", head="probe")
    images, paths = load_images(config.data), items.table["path"]
    assert dict(images.excluded.to_numpy()) == dict.fromkeys(paths[train[5:7]], "not a cell")
    manifest = images.manifest.set_index("path")
    assert manifest["label"][paths[wrong]] == other
    assert manifest["group"][paths[train[1:4]]].nunique() == 1
    assert manifest["source"][paths[train[1:4]]].nunique() == 1
    assert manifest["group"].nunique() == len(items) - 4
    assert set(pd.read_csv(written[LIST])["mark"]) == {"label wrong", "not a cell", "same photograph"}
