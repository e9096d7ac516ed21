"""Images that a CSV file lists."""

from pathlib import Path

import pandas as pd
import pytest

from bloodcell.config.data import TableData
from bloodcell.config.split import GivenSplit
from bloodcell.config.training import TrainConfig
from bloodcell.data.table import load_table
from bloodcell.errors import UserError
from bloodcell.experiment.images import load_images, prepare_images

COLUMNS = {name: name for name in ("path", "label", "split", "fold")}


@pytest.fixture
def rows(bccd: Path) -> pd.DataFrame:
    """A row for each image: relative path, label, split, fold and patient."""
    files = sorted(bccd.glob("*/*/*.jpeg"))
    numbers = pd.Series(range(len(files)))
    return pd.DataFrame(
        {
            "path": [file.relative_to(bccd).as_posix() for file in files],
            "label": [file.parent.name for file in files],
            "split": ["Training" if file.parts[-3] == "TRAIN" else "test_set" for file in files],
            "fold": "fold_" + (numbers % 3 * 5).astype(str),
            "group": "p" + (numbers % 9).astype(str),
        }
    )


@pytest.fixture
def listed(tmp_path):
    """Write a table of images; return what loads it."""

    def write(rows: pd.DataFrame, **how) -> Path:
        file = tmp_path / "cells.csv"
        rows.to_csv(file, index=False, **how)
        return file

    return write


def refusal(file: Path, bccd: Path, **columns: str) -> str:
    with pytest.raises(UserError) as refused:
        load_table(file=file, folder=bccd, columns=COLUMNS | columns)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_images_are_those_of_the_folders(bccd, rows, listed, separator):
    images = load_table(file=listed(rows, sep=separator), folder=bccd, columns=COLUMNS)
    assert images.root == bccd.resolve()
    assert images.classes == ("EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL")
    assert images.manifest[["path", "label", "fold"]].equals(rows[["path", "label", "fold"]])
    assert images.manifest["split"].tolist() == [path[:5].rstrip("/").lower() for path in rows["path"]]
    assert images.manifest["table_group"].tolist() == rows["group"].tolist()


def test_absolute_paths_and_other_names_of_columns_are_read(bccd, rows, listed):
    own = rows.assign(path=[str(bccd / path) for path in rows["path"]]).rename(
        columns={"path": "file", "label": "type"}
    )
    images = load_table(file=listed(own), folder=bccd, columns=COLUMNS | {"path": "file", "label": "type"})
    assert images.manifest["path"].equals(rows["path"])


def test_without_a_column_of_splits_every_image_is_for_training(bccd, rows, listed):
    images = load_table(file=listed(rows.drop(columns="split")), folder=bccd, columns=COLUMNS)
    assert set(images.manifest["split"]) == {"train"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"path": "../../etc/passwd"}, "../../etc/passwd is not in "),
        ({"path": "/etc/passwd"}, "/etc/passwd is not in "),
        ({"label": " "}, "has no label in 1 rows, first in row 3"),
        ({"split": "holdout"}, "the column split has 'holdout' in 1 rows"),
        ({"path": "TRAIN/EOSINOPHIL/_0_0.jpeg"}, "lists TRAIN/EOSINOPHIL/_0_0.jpeg more than once"),
        ({"path": "TRAIN/none.jpeg"}, "1 image cannot be read: "),
    ],
)
def test_a_row_that_cannot_be_used_is_named(bccd, rows, listed, changed, message):
    for column, value in changed.items():
        rows.loc[2, column] = value
    assert message in refusal(listed(rows), bccd)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a CSV file"),
        ("path,label,path\n", "has the column path twice"),
        ("path,label\na.png,x,y,z\n", "is not a CSV file"),
        ("path,label\n", "lists no images"),
        ("file,label\na.png,x\n", "has no column path; set data.path_column to one of 'file', 'label'"),
        ("path,label\nü.png,x\n".encode("latin-1"), "is not a CSV file"),
    ],
)
def test_a_file_that_is_no_table_is_refused(bccd, tmp_path, text, message):
    file = tmp_path / "cells.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert message in refusal(file, bccd)


def test_groups_are_those_of_the_table_if_it_has_any(bccd, rows, listed):
    data = TableData(table=str(listed(rows)), folder=str(bccd), photographs="groups")
    assert data.groups == "column"
    assert load_images(data).manifest["group"].tolist() == rows["group"].tolist()
    other = TableData(table=str(listed(rows.rename(columns={"group": "patient"}))), folder=str(bccd))
    assert other.groups == "recover"


def test_given_folds_are_the_folds_in_the_order_of_their_numbers(bccd, rows, listed):
    data = TableData(table=str(listed(rows)), folder=str(bccd), groups="none")
    prepared = prepare_images(TrainConfig(data=data, split=GivenSplit()))
    training = rows[rows["split"] == "Training"]
    assert len(prepared.folds) == 3
    for fold, name in zip(prepared.folds, ["fold_0", "fold_5", "fold_10"], strict=True):
        assert fold.images.part("val")["path"].tolist() == training.loc[training["fold"] == name, "path"].tolist()
        assert len(fold.images.part("test")) == (rows["split"] == "test_set").sum()


def test_a_group_in_two_given_folds_is_refused(bccd, rows, listed):
    rows["group"] = rows["label"] + (rows.index % 5).astype(str)
    data = TableData(table=str(listed(rows.assign(split="train"))), folder=str(bccd), photographs="groups")
    with pytest.raises(UserError, match="share 13 photographs"):
        prepare_images(TrainConfig(data=data, split=GivenSplit()))


def test_given_validation_images_are_the_validation_images(bccd, rows, listed):
    rows.loc[rows["fold"] == "fold_0", "split"] = "val"
    data = TableData(table=str(listed(rows)), folder=str(bccd), groups="none")
    prepared = prepare_images(TrainConfig(data=data, split=GivenSplit()))
    assert prepared.images.part("val")["path"].tolist() == rows.loc[rows["split"] == "val", "path"].tolist()
    with pytest.raises(UserError, match="use split=given"):
        prepare_images(TrainConfig(data=data))
