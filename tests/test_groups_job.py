"""``bloodcell groups`` as a user would run it."""

import shutil

import pandas as pd
import pytest
from commands import run


def test_every_image_has_a_group_in_the_table(bccd, tmp_path):
    completed = run(["groups", "data=bccd", f"data.root={bccd}", "output=found/groups.csv"], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    table = pd.read_csv(tmp_path / "found" / "groups.csv")
    assert table.columns.tolist() == ["path", "group"]
    assert sorted(table["path"]) == sorted(str(path.relative_to(bccd)) for path in bccd.glob("*/*/*"))
    assert "photographs" in completed.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["found"]


def test_the_table_can_be_used_in_place_of_the_pixels(bccd, tmp_path):
    run(["groups", "data=bccd", f"data.root={bccd}"], cwd=tmp_path)
    listed = ["data.groups=column", "data.groups_file=groups.csv", "output=again.csv"]
    completed = run(["groups", "data=bccd", f"data.root={bccd}", *listed], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "groups.csv").read_text()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["output=/proc/nowhere/groups.csv"], "output=/proc/nowhere/groups.csv"),
        (["output=/"], "is a folder"),
        (["data.groups=pattern"], "data.groups_pattern"),
        (["outputs=x.csv"], "output"),
        (["-m", "data.groups=none,folder"], "-m: "),
    ],
)
def test_a_users_error_is_one_line_and_leaves_nothing_behind(bccd, tmp_path, wrong, message):
    completed = run(["groups", "data=bccd", f"data.root={bccd}", *wrong], cwd=tmp_path)
    assert completed.returncode == 2
    (line,) = completed.stderr.splitlines()
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_the_table_is_written_also_if_training_would_refuse_the_images(bccd, tmp_path):
    for label, count in (("EOSINOPHIL", 6), ("MONOCYTE", 1)):
        (tmp_path / "cells" / label).mkdir(parents=True)
        for file in sorted((bccd / "TRAIN" / label).iterdir())[:count]:
            shutil.copy(file, tmp_path / "cells" / label)
    completed = run(["groups", "data=folder", "data.train_dir=cells", "data.test_dir=null"], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert len(pd.read_csv(tmp_path / "groups.csv")) == 7
    assert "Warning: training refuses these images: data.test_dir=null: " in completed.stdout
