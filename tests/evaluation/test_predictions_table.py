from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bloodcell.errors import UserError
from bloodcell.evaluation.predictions import (
    classes_of,
    label_indices,
    most_confident_errors,
    predictions_table,
    probabilities_of,
    read_predictions,
    write_predictions,
)

CLASSES = ("EOSINOPHIL", "Лимфоцит", "p_odd name")


def manifest_of(labels: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "path": [f"{label}/{number}.jpeg" for number, label in enumerate(labels)],
            "label": labels,
            "group": [f"photo-{number // 2}" for number in range(len(labels))],
            "split": "test",
            "sha256": "0" * 64,
        },
        index=range(100, 100 + len(labels)),
    )


def table_of(labels: list[str], probabilities: list[list[float]], fold: int | None = None) -> pd.DataFrame:
    return predictions_table(
        manifest=manifest_of(labels), probabilities=np.array(probabilities), classes=CLASSES, fold=fold
    )


def test_a_table_has_one_row_per_image_and_one_probability_column_per_class():
    table = table_of([CLASSES[0], CLASSES[2]], [[0.7, 0.2, 0.1], [0.0, 0.5, 0.5]], fold=3)
    assert list(table.columns) == [
        "path",
        "label",
        "source",
        "group",
        "split",
        "fold",
        *(f"p_{name}" for name in CLASSES),
    ]
    assert table["group"].tolist() == ["photo-0", "photo-0"]
    assert table["fold"].tolist() == [3, 3]
    assert table["fold"].dtype == "Int64"
    assert {table[f"p_{name}"].dtype for name in CLASSES} == {np.dtype("float32")}
    np.testing.assert_array_equal(probabilities_of(table, CLASSES), np.float32([[0.7, 0.2, 0.1], [0.0, 0.5, 0.5]]))


def test_the_fold_is_missing_outside_a_cross_validation():
    assert table_of([CLASSES[0]], [[1, 0, 0]])["fold"].isna().all()


def test_classes_keep_the_order_and_spelling_of_the_model():
    assert classes_of(table_of([CLASSES[0]], [[1, 0, 0]])) == CLASSES


def test_probabilities_are_in_the_given_order_of_classes():
    table = table_of([CLASSES[0]], [[0.5, 0.25, 0.25]])
    assert probabilities_of(table, CLASSES[::-1]).tolist() == [[0.25, 0.25, 0.5]]
    assert probabilities_of(table, CLASSES).dtype == np.float64


def test_a_class_without_probabilities_is_named_in_the_error():
    with pytest.raises(ValueError, match="no class MONOCYTE"):
        probabilities_of(table_of([CLASSES[0]], [[1, 0, 0]]), [*CLASSES, "MONOCYTE"])


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        (np.array([[1.0, 0.0]]), r"shape \(1, 2\), expected \(1, 3\)"),
        (np.array([[1.0, 0.0, 0.0]] * 2), r"shape \(2, 3\), expected \(1, 3\)"),
        (np.array([1.0, 0.0, 0.0]), "shape"),
        (np.array([[np.nan, 0.5, 0.5]]), "not finite in 1 of 1 rows"),
        (np.array([[np.inf, 0.5, 0.5]]), "not finite"),
        (np.array([[0.5, 0.5, 0.01]]), "row 0 sums to 1.01"),
        (np.array([[1.5, -0.5, 0.0]]), "negative"),
    ],
)
def test_what_is_no_distribution_over_the_classes_is_refused(probabilities, message):
    with pytest.raises(ValueError, match=message):
        predictions_table(manifest=manifest_of([CLASSES[0]]), probabilities=probabilities, classes=CLASSES)


def test_rows_may_miss_one_by_the_rounding_of_half_precision():
    table = table_of([CLASSES[0]], [[0.5, 0.25, 0.2508]])
    assert probabilities_of(table, CLASSES)[0, 2] == np.float32(0.2508)


def test_a_class_named_twice_is_refused():
    with pytest.raises(ValueError, match="named once"):
        predictions_table(manifest=manifest_of(["a"]), probabilities=np.array([[0.5, 0.5]]), classes=("a", "a"))


def test_a_manifest_without_groups_is_refused():
    with pytest.raises(ValueError, match="no column source, group"):
        predictions_table(
            manifest=manifest_of(["a"]).drop(columns="group"), probabilities=np.array([[1.0, 0]]), classes=("a", "b")
        )


def test_a_missing_label_is_refused_and_never_becomes_a_name():
    with pytest.raises(ValueError, match="missing values in label"):
        predictions_table(
            manifest=manifest_of(["a"]).assign(label=[None]), probabilities=np.array([[1.0, 0]]), classes=("a", "b")
        )


def test_labels_become_indices_into_the_classes():
    table = table_of([CLASSES[2], CLASSES[0]], [[1, 0, 0]] * 2)
    assert label_indices(table, CLASSES).tolist() == [2, 0]
    with pytest.raises(ValueError, match="p_odd name"):
        label_indices(table, CLASSES[:2])


@settings(max_examples=30)
@given(
    logits=hnp.arrays(np.float32, st.tuples(st.integers(0, 6), st.just(3)), elements=st.floats(-20, 20, width=32)),
    fold=st.none() | st.integers(0, 9),
)
def test_a_table_is_read_back_as_it_was_written_to_the_bit(tmp_path_factory, logits, fold):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    table = predictions_table(
        manifest=manifest_of([CLASSES[1]] * len(logits)), probabilities=probabilities, classes=CLASSES, fold=fold
    )
    path = tmp_path_factory.mktemp("run") / "predictions.parquet"
    write_predictions(table, path)
    pd.testing.assert_frame_equal(read_predictions(path), table)
    assert probabilities_of(read_predictions(path), CLASSES).astype(np.float32).tobytes() == probabilities.tobytes()


def test_writing_creates_the_folder_and_leaves_only_the_table(tmp_path: Path):
    path = tmp_path / "new" / "predictions.parquet"
    write_predictions(table_of([CLASSES[0]], [[1, 0, 0]]), path)
    assert [file.name for file in path.parent.iterdir()] == ["predictions.parquet"]


def test_a_failed_write_leaves_the_old_table_whole(tmp_path: Path):
    path = tmp_path / "predictions.parquet"
    table = table_of([CLASSES[0]], [[1, 0, 0]])
    write_predictions(table, path)
    with pytest.raises(Exception, match=r"[Cc]onver"):
        write_predictions(table.assign(label=pd.Series([object()], dtype=object)), path)
    pd.testing.assert_frame_equal(read_predictions(path), table)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"path,label\n"])
def test_a_file_that_is_no_parquet_is_named_in_one_line(tmp_path: Path, content):
    path = tmp_path / "predictions.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"predictions\.csv: is not a Parquet file") as caught:
        read_predictions(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(UserError, match="absent"):
        read_predictions(tmp_path / "absent.parquet")


def test_a_parquet_file_without_probabilities_is_no_predictions_table(tmp_path: Path):
    path = tmp_path / "manifest.parquet"
    manifest_of(["a"]).to_parquet(path)
    with pytest.raises(UserError, match="fold"):
        read_predictions(path)
    manifest_of(["a"]).assign(fold=1).to_parquet(path)
    with pytest.raises(UserError, match="p_<class>"):
        read_predictions(path)


def test_the_most_confident_errors_come_first_and_right_answers_never():
    a, b, c = CLASSES
    table = table_of(
        [a, a, b, c, c],
        [[0.9, 0.1, 0.0], [0.1, 0.6, 0.3], [0.0, 0.05, 0.95], [0.6, 0.2, 0.2], [0.2, 0.2, 0.6]],
    )
    errors = most_confident_errors(table, CLASSES, 10)
    assert errors["path"].tolist() == [f"{b}/2.jpeg", f"{a}/1.jpeg", f"{c}/3.jpeg"]
    assert errors["predicted"].tolist() == [c, b, a]
    np.testing.assert_allclose(errors["probability"], [0.95, 0.6, 0.6], rtol=1e-6)
    np.testing.assert_allclose(errors["label_probability"], [0.05, 0.1, 0.2], rtol=1e-6)
    assert most_confident_errors(table, CLASSES, 1)["path"].tolist() == [f"{b}/2.jpeg"]


def test_a_tie_counts_as_the_first_class():
    errors = most_confident_errors(table_of([CLASSES[0], CLASSES[1]], [[0.5, 0.5, 0.0]] * 2), CLASSES, 5)
    assert errors[["label", "predicted"]].to_numpy().tolist() == [[CLASSES[1], CLASSES[0]]]


def test_no_error_gives_an_empty_table_with_all_columns():
    errors = most_confident_errors(table_of([CLASSES[0]], [[1, 0, 0]]), CLASSES, 5)
    assert len(errors) == 0
    assert {"path", "label", "predicted", "probability"} <= set(errors.columns)
