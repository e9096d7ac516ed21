import numpy as np
import pandas as pd
import pytest

from bloodcell.evaluation.folds import mean_by_image
from bloodcell.evaluation.predictions import predictions_table
from bloodcell.evaluation.sources import by_source, source_metrics

CLASSES = ("A", "B")


def table_of(*rows: tuple[str, str, str, float], split: str = "test", fold: int | None = None) -> pd.DataFrame:
    """Make a predictions table of rows of (path, label, group, probability of A)."""
    manifest = pd.DataFrame([row[:3] for row in rows], columns=["path", "label", "group"]).assign(split=split)
    probabilities = np.array([[row[3], 1 - row[3]] for row in rows])
    return predictions_table(manifest=manifest, probabilities=probabilities, classes=CLASSES, fold=fold)


# Photograph y is right on two of its three images and wrong in their mean; x the other way about.
TABLE = table_of(
    ("1", "B", "y", 0.45),
    ("2", "B", "y", 0.40),
    ("3", "B", "y", 1.00),
    ("4", "A", "x", 0.40),
    ("5", "A", "x", 0.45),
    ("6", "A", "x", 1.00),
    ("7", "B", "z", 0.00),
)


def test_the_images_of_a_photograph_are_averaged():
    photographs = by_source(TABLE, CLASSES)
    assert list(photographs) == ["source", "label", "group", "images", "p_A", "p_B"]
    assert photographs["group"].tolist() == ["x", "y", "z"]
    assert photographs["label"].tolist() == ["A", "B", "B"]
    assert photographs["images"].tolist() == [3, 3, 1]
    np.testing.assert_allclose(photographs["p_A"], [1.85 / 3, 1.85 / 3, 0], atol=1e-6)
    np.testing.assert_allclose(photographs["p_A"] + photographs["p_B"], 1, atol=1e-6)


def test_the_order_of_rows_and_the_index_do_not_matter():
    shuffled = TABLE.sample(frac=1, random_state=0)
    shuffled.index = [9] * len(shuffled)
    pd.testing.assert_frame_equal(by_source(shuffled, CLASSES), by_source(TABLE, CLASSES))


def test_a_photograph_is_right_if_the_mean_over_its_images_is():
    assert source_metrics(TABLE, classes=CLASSES) == {"photographs": 3, "photograph_accuracy": 2 / 3}


def test_a_photograph_with_several_labels_has_its_most_frequent_one():
    table = table_of(
        ("1", "B", "x", 0.1), ("2", "A", "x", 0.1), ("3", "B", "x", 0.1), ("4", "B", "y", 0), ("5", "A", "y", 0)
    )
    assert by_source(table, CLASSES)["label"].tolist() == ["B", "A"]


def test_a_label_that_is_no_class_is_refused():
    with pytest.raises(ValueError, match="B; the classes are A"):
        source_metrics(table_of(("1", "B", "x", 0.1)), classes=("A",))


def test_what_several_models_thought_of_an_image_is_averaged():
    one = table_of(("b", "A", "x", 0.2), ("a", "B", "y", 0.4), fold=1)
    two = table_of(("a", "B", "y", 0.6), fold=2)
    mean = mean_by_image([one, two], classes=CLASSES)
    assert mean["path"].tolist() == ["a", "b"]
    assert mean["label"].tolist() == ["B", "A"]
    assert mean["group"].tolist() == ["y", "x"]
    assert mean["fold"].isna().all()
    np.testing.assert_allclose(mean["p_A"], [0.5, 0.2])
