import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from bloodcell.evaluation.metrics import (
    classification_report_text,
    confusion,
    direction,
    evaluate,
    per_class,
)
from bloodcell.evaluation.scores import SCORES, Score

ABC = ("a", "b", "c")
KEYS = {"loss", "accuracy", "balanced_accuracy", "macro_f1", "auroc", "cohen_kappa", "log_loss", "brier", "ece"}

LABELS = np.array([0, 0, 1, 1, 2, 2])
PROBABILITIES = np.array(
    [
        [0.7, 0.2, 0.1],
        [0.3, 0.6, 0.1],
        [0.1, 0.8, 0.1],
        [0.2, 0.5, 0.3],
        [0.1, 0.3, 0.6],
        [0.5, 0.1, 0.4],
    ]
)


@pytest.fixture(autouse=True)
def _warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@st.composite
def evaluated(draw):
    k = draw(st.integers(2, 5))
    n = draw(st.integers(1, 25))
    labels = draw(hnp.arrays(np.int64, n, elements=st.integers(0, k - 1)))
    weights = draw(hnp.arrays(np.float64, (n, k), elements=st.floats(0.001, 1)))
    return labels, weights / weights.sum(axis=1, keepdims=True), [f"class {index}" for index in range(k)]


def test_every_metric_has_the_value_worked_out_by_hand():
    measured = evaluate(labels=LABELS, probabilities=PROBABILITIES, classes=ABC)
    assert set(measured) == KEYS
    # Predicted 0 1 1 1 2 0: four of six right, recalls 1/2, 1, 1/2.
    assert measured["accuracy"] == pytest.approx(4 / 6)
    assert measured["balanced_accuracy"] == pytest.approx(2 / 3)
    # Precisions 1/2, 2/3, 1, so F1 1/2, 4/5, 2/3.
    assert measured["macro_f1"] == pytest.approx((1 / 2 + 4 / 5 + 2 / 3) / 3)
    # Pairs in order: a 7 of 8 (0.3 under 0.5), b 7 of 8 (0.5 under 0.6), c 8 of 8.
    assert measured["auroc"] == pytest.approx((7 / 8 + 7 / 8 + 1) / 3)
    # By chance (2*2 + 2*3 + 2*1) / 36 = 1/3.
    assert measured["cohen_kappa"] == pytest.approx((2 / 3 - 1 / 3) / (1 - 1 / 3))
    surprise = -sum(math.log(p) for p in (0.7, 0.3, 0.8, 0.5, 0.6, 0.4)) / 6
    assert measured["log_loss"] == pytest.approx(surprise)
    assert measured["loss"] == pytest.approx(surprise)
    assert measured["brier"] == pytest.approx((0.14 + 0.86 + 0.06 + 0.38 + 0.26 + 0.62) / 6)


@settings(max_examples=15)
@given(evaluated())
def test_every_metric_agrees_with_scikit_learn_and_stays_in_its_range(case):
    labels, probabilities, classes = case
    measured = evaluate(labels=labels, probabilities=probabilities, classes=classes)
    predicted = probabilities.argmax(axis=1)
    one_hot = np.eye(len(classes))[labels]
    assert measured["accuracy"] == pytest.approx(np.mean(predicted == labels))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert measured["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, predicted))
        kappa = sk.cohen_kappa_score(labels, predicted)
    assert measured["macro_f1"] == pytest.approx(sk.f1_score(labels, predicted, average="macro", zero_division=0))
    assert measured["cohen_kappa"] == pytest.approx(kappa, nan_ok=True)
    assert measured["brier"] == pytest.approx(((probabilities - one_hot) ** 2).sum(axis=1).mean())
    assert measured["log_loss"] == pytest.approx(-np.log(probabilities[one_hot == 1]).mean())
    assert measured["loss"] == pytest.approx(measured["log_loss"], abs=1e-5)
    if len(np.unique(labels)) == len(classes) > 2:
        assert measured["auroc"] == pytest.approx(sk.roc_auc_score(labels, probabilities, multi_class="ovr"))
    assert 0 <= measured["brier"] <= 2
    assert 0 <= measured["ece"] <= 1


@settings(max_examples=15)
@given(evaluated(), st.randoms(use_true_random=False))
def test_the_order_of_the_images_changes_nothing(case, random):
    labels, probabilities, classes = case
    order = list(range(len(labels)))
    random.shuffle(order)
    before = evaluate(labels=labels, probabilities=probabilities, classes=classes)
    after = evaluate(labels=labels[order], probabilities=probabilities[order], classes=classes)
    assert list(after.values()) == pytest.approx(list(before.values()), nan_ok=True)


@settings(max_examples=15)
@given(evaluated(), st.randoms(use_true_random=False))
def test_the_order_of_the_classes_changes_nothing_when_no_two_are_equally_probable(case, random):
    labels, probabilities, classes = case
    probabilities = probabilities + np.linspace(0, 1e-4, len(classes))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    top = np.sort(probabilities, axis=1)
    if (top[:, -1] - top[:, -2] < 1e-9).any():
        return
    order = list(range(len(classes)))
    random.shuffle(order)
    before = evaluate(labels=labels, probabilities=probabilities, classes=classes)
    after = evaluate(labels=np.argsort(order)[labels], probabilities=probabilities[:, order], classes=classes)
    assert list(after.values()) == pytest.approx(list(before.values()), nan_ok=True)


def test_a_class_that_does_not_occur_is_left_out_of_the_means():
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.2, 0.7, 0.1], [0.3, 0.6, 0.1]])
    measured = evaluate(labels=labels, probabilities=probabilities, classes=ABC)
    assert measured["balanced_accuracy"] == pytest.approx((0.5 + 1) / 2)
    # c was predicted without occurring: its F1 of 0 counts.
    assert measured["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert measured["auroc"] == pytest.approx((2 / 4 + 1) / 2)


def test_a_class_that_neither_occurs_nor_is_predicted_does_not_lower_macro_f1():
    measured = evaluate(labels=[0, 1], probabilities=np.array([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0]]), classes=ABC)
    assert measured["macro_f1"] == 1


def test_images_of_one_class_that_are_all_right_have_no_kappa_and_no_auroc():
    measured = evaluate(labels=[1, 1], probabilities=np.array([[0.1, 0.8, 0.1], [0.2, 0.7, 0.1]]), classes=ABC)
    assert math.isnan(measured["cohen_kappa"])
    assert math.isnan(measured["auroc"])
    assert measured["accuracy"] == measured["balanced_accuracy"] == measured["macro_f1"] == 1


def test_a_single_misclassified_image_can_be_measured():
    measured = evaluate(labels=[0], probabilities=np.array([[0.0, 1.0]]), classes=("a", "b"))
    assert measured["accuracy"] == 0
    assert measured["cohen_kappa"] == 0
    assert measured["brier"] == 2
    assert measured["ece"] == 1
    assert measured["loss"] == pytest.approx(-math.log(1e-7))
    assert measured["log_loss"] > measured["loss"]


def test_equally_probable_classes_count_as_the_first():
    tied = np.array([[0.5, 0.5]])
    assert evaluate(labels=[0], probabilities=tied, classes=("a", "b"))["accuracy"] == 1
    assert evaluate(labels=[1], probabilities=tied, classes=("a", "b"))["accuracy"] == 0


def test_the_two_class_brier_score_has_the_same_scale_as_for_more_classes():
    measured = evaluate(labels=[0, 1], probabilities=np.array([[0.6, 0.4], [0.6, 0.4]]), classes=("a", "b"))
    assert measured["brier"] == pytest.approx((2 * 0.4**2 + 2 * 0.6**2) / 2)


def test_single_and_half_precision_are_measured_without_complaint():
    rng = np.random.default_rng(0)
    exact = rng.dirichlet(np.ones(4), 300)
    labels = rng.integers(0, 4, 300)
    expected = evaluate(labels=labels, probabilities=exact, classes="abcd")
    for dtype, tolerance in ((np.float32, 1e-4), (np.float16, 2e-2)):
        measured = evaluate(labels=labels, probabilities=exact.astype(dtype), classes="abcd")
        assert list(measured.values()) == pytest.approx(list(expected.values()), abs=tolerance)


def test_label_smoothing_changes_the_loss_alone():
    plain = evaluate(labels=LABELS, probabilities=PROBABILITIES, classes=ABC)
    smooth = evaluate(labels=LABELS, probabilities=PROBABILITIES, classes=ABC, label_smoothing=0.1)
    uniform = -np.log(PROBABILITIES).mean(axis=1).mean()
    assert smooth["loss"] == pytest.approx(0.9 * plain["loss"] + 0.1 * uniform)
    assert {key: value for key, value in smooth.items() if key != "loss"} == pytest.approx(
        {key: value for key, value in plain.items() if key != "loss"}
    )


def test_the_training_loss_is_the_example_of_the_keras_documentation():
    # keras.losses.categorical_crossentropy([[0, 1, 0], [0, 0, 1]], ...) gives 0.0513 and 2.303.
    probabilities = np.array([[0.05, 0.95, 0], [0.1, 0.8, 0.1]])
    loss = evaluate(labels=[1, 2], probabilities=probabilities, classes=ABC)["loss"]
    assert loss == pytest.approx((0.0513 + 2.303) / 2, abs=5e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": np.array([], dtype=int), "probabilities": np.empty((0, 3))}, "no image"),
        ({"labels": [3], "probabilities": np.array([[1.0, 0, 0]])}, r"within 0\.\.2"),
        ({"labels": [-1], "probabilities": np.array([[1.0, 0, 0]])}, r"within 0\.\.2"),
        ({"labels": [0.5], "probabilities": np.array([[1.0, 0, 0]])}, "integers"),
        ({"labels": ["a"], "probabilities": np.array([[1.0, 0, 0]])}, "integers"),
        ({"labels": [0, 1], "probabilities": np.array([[1.0, 0, 0]])}, "shape"),
        ({"labels": [0], "probabilities": np.array([[0.7, 0, 0]])}, "sum to 1"),
        ({"labels": [0], "probabilities": np.array([[1.0]]), "classes": ("a",)}, "two classes"),
        ({"labels": [0], "probabilities": np.array([[1.0, 0, 0]]), "label_smoothing": 1.5}, "label_smoothing"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate(**{"classes": ABC, **arguments})


def test_the_classes_are_measured_each_by_itself():
    table = per_class(labels=LABELS, probabilities=PROBABILITIES, classes=ABC)
    assert table.columns.tolist() == ["class", "precision", "recall", "f1", "auroc", "images"]
    assert table["class"].tolist() == list(ABC)
    np.testing.assert_allclose(table["precision"], [1 / 2, 2 / 3, 1])
    np.testing.assert_allclose(table["recall"], [1 / 2, 1, 1 / 2])
    np.testing.assert_allclose(table["f1"], [1 / 2, 4 / 5, 2 / 3])
    np.testing.assert_allclose(table["auroc"], [7 / 8, 7 / 8, 1])
    assert table["images"].tolist() == [2, 2, 2]


def test_what_is_undefined_for_a_class_is_nan_and_not_zero():
    # a is always right, b occurs and is never predicted, c is predicted and never occurs, d does neither.
    probabilities = np.array([[0.9, 0.1, 0, 0], [0.1, 0.2, 0.7, 0]])
    table = per_class(labels=[0, 1], probabilities=probabilities, classes="abcd").set_index("class")
    assert table.loc["b", ["recall", "f1"]].tolist() == [0, 0]
    assert np.isnan(table.loc["b", "precision"])
    assert table.loc["c", ["precision", "f1"]].tolist() == [0, 0]
    assert np.isnan(table.loc["c", ["recall", "auroc"]].to_numpy(dtype=float)).all()
    assert table.loc["d", ["precision", "recall", "f1", "auroc"]].isna().all()
    assert table["images"].tolist() == [1, 1, 0, 0]


@settings(max_examples=15)
@given(evaluated())
def test_the_means_over_the_classes_are_the_metrics_of_the_run(case):
    labels, probabilities, classes = case
    measured = evaluate(labels=labels, probabilities=probabilities, classes=classes)
    table = per_class(labels=labels, probabilities=probabilities, classes=classes)
    assert table["recall"].mean() == pytest.approx(measured["balanced_accuracy"])
    assert table["f1"].mean() == pytest.approx(measured["macro_f1"])
    assert table["auroc"].mean() == pytest.approx(measured["auroc"], nan_ok=True)


def test_the_report_names_every_class_and_its_macro_average_is_the_balanced_accuracy():
    text = classification_report_text(
        labels=[0, 0, 1], probabilities=np.array([[0.9, 0.1, 0], [0.1, 0.9, 0], [0.1, 0.9, 0]]), classes=ABC
    )
    assert [line.split()[0] for line in text.splitlines()[2:5]] == list(ABC)
    macro = next(line for line in text.splitlines() if line.strip().startswith("macro avg")).split()
    assert macro[3] == "0.7500"


def test_confusion_has_true_classes_in_rows_and_classes_that_never_occur_too():
    matrix = confusion(labels=[0, 0, 1], probabilities=np.array([[0.9, 0.1, 0], [0.1, 0.9, 0], [0, 1, 0]]), classes=ABC)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert matrix.dtype == np.int64


def test_confusion_of_images_of_one_class_is_still_square():
    assert confusion(labels=[1], probabilities=np.array([[0.1, 0.9]]), classes=("a", "b")).tolist() == [[0, 0], [0, 1]]


def test_a_score_that_is_registered_is_a_figure_of_every_run_and_has_its_direction(monkeypatch):
    surprise = Score(name="surprise", function=lambda labels, probabilities: 7.0, greater_is_better=False)
    monkeypatch.setitem(SCORES, "surprise", surprise)
    measured = evaluate(labels=[0, 1], probabilities=np.array([[0.9, 0.1], [0.4, 0.6]]), classes=["A", "B"])
    assert set(measured) == KEYS | {"surprise"}
    assert measured["surprise"] == 7
    assert direction("val/surprise") == direction("val/log_loss") == direction("val/ece") == "min"
    assert direction("val/calibration_error") == "min"
    assert direction("val/accuracy") == "max"
