"""Predictions tables as other tools write them."""

import numpy as np
import pandas as pd
import pytest

from bloodcell.comparison import compare
from bloodcell.comparison.recognition import recognise
from bloodcell.errors import UserError

CLASSES = ["eosinophil", "lymphocyte", "monocyte"]
LABELS = [CLASSES[number % 3] for number in range(30)]
PATHS = [f"cells/{number:02}.png" for number in range(30)]
LOGITS = np.random.default_rng(0).normal(size=(30, 3)) * 3
PROBABILITIES = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
PREDICTED = [CLASSES[number] for number in PROBABILITIES.argmax(axis=1)]
IDS = [CLASSES.index(label) for label in LABELS]


def columns(prefix: str, names=tuple(CLASSES), values=PROBABILITIES) -> dict:
    return {f"{prefix}{name}": values[:, number] for number, name in enumerate(names)}


OWN = pd.DataFrame({"path": PATHS, "label": LABELS, **columns("p_")})
TABLES = {
    "own": (OWN, {}),
    "file names and targets": ({"filename": PATHS, "target": LABELS, **columns("prob_")}, {}),
    "scikit-learn": ({"file": PATHS, "y_true": LABELS, "y_pred": PREDICTED, **columns("proba_")}, {}),
    "columns of classes": ({"image": PATHS, "label": LABELS, **columns("")}, {}),
    "capitals": ({"Image Path": PATHS, "True Label": LABELS, **columns("")}, {}),
    "ids with a list of classes": ({"id": PATHS, "label": IDS, **columns("prob_", "012")}, {"classes": CLASSES}),
    "ids of labels only": ({"id": PATHS, "label": IDS, **columns("prob_")}, {"classes": CLASSES}),
    "ids of columns only": ({"id": PATHS, "label": LABELS, **columns("", "012")}, {"classes": CLASSES}),
    "logits": ({"path": PATHS, "label": LABELS, **columns("logit_", values=LOGITS)}, {}),
    "logits without a name": ({"path": PATHS, "label": LABELS, **columns("", values=LOGITS)}, {}),
    "log probabilities": ({"path": PATHS, "label": LABELS, **columns("", values=np.log(PROBABILITIES))}, {}),
    "percentages": ({"path": PATHS, "label": LABELS, **columns("p_", values=PROBABILITIES * 100)}, {}),
    "what is no class": (
        {"path": PATHS, "label": LABELS, **columns("p_"), "p_max": PROBABILITIES.max(axis=1)},
        {},
    ),
    "class before": ({"fname": PATHS, "gt": LABELS, **{f"{k}_conf": v for k, v in columns("").items()}}, {}),
    "classes in capitals": ({"path": PATHS, "label": LABELS, **{k.upper(): v for k, v in columns("").items()}}, {}),
    "texts with %": (
        {"path": PATHS, "label": LABELS, **{k: [f"{x:.6%}" for x in v] for k, v in columns("Probability of ").items()}},
        {},
    ),
    "lists": (
        {"path": PATHS, "label": LABELS, "probabilities": [str(list(map(float, row))) for row in PROBABILITIES]},
        {"classes": CLASSES},
    ),
    "a mapping": (
        {"Bild": PATHS, "Klasse": LABELS, **columns("P: ")},
        {"columns": {"path": "Bild", "label": "Klasse", "probabilities": "P: "}},
    ),
    "other columns": ({"index": range(30), "path": PATHS, "label": LABELS, "loss": 0.5, **columns("score_")}, {}),
}


@pytest.mark.parametrize("name", TABLES)
def test_the_table_is_that_of_bloodcell(name):
    table, how = TABLES[name]
    found = recognise("other", pd.DataFrame(table), **how)
    assert found.table[["path", "label"]].astype(str).equals(OWN[["path", "label"]])
    assert sorted(each for each in found.table if each.startswith("p_")) == sorted(columns("p_"))
    np.testing.assert_allclose(found.table[list(columns("p_"))], OWN[list(columns("p_"))], atol=1e-6)
    assert not found.certain


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("logits", "other: has logits, whose softmax is used."),
        ("log probabilities", "other: has log probabilities, whose exponential is used."),
        ("percentages", "other: has percentages, which are divided by 100."),
        ("what is no class", "other: the columns p_max are no class, and left out."),
        ("file names and targets", "other: filename is the path and target is the label."),
    ],
)
def test_what_is_changed_is_said(name, note):
    table, how = TABLES[name]
    assert note in recognise("other", pd.DataFrame(table), **how).notes


def test_one_score_is_the_probability_of_the_second_of_two_classes():
    table = pd.DataFrame({"id": PATHS, "y_true": [0, 1] * 15, "score": PROBABILITIES[:, 0]})
    found = recognise("other", table)
    assert found.table["p_1"].equals(table["score"])
    assert "other: score is the probability of 1." in found.notes


def test_probabilities_of_two_decimals_are_divided_by_their_sum():
    found = recognise(
        "other", pd.DataFrame({"path": PATHS, "label": LABELS, **columns("p_", values=PROBABILITIES.round(2))})
    )
    np.testing.assert_allclose(found.table[list(columns("p_"))].sum(axis=1), 1)
    assert "2 decimals" in " ".join(found.notes)


def test_a_class_without_images_is_a_class():
    table = pd.DataFrame({"path": PATHS[:2], "label": LABELS[:2], **columns("p_", values=PROBABILITIES[:2])})
    assert sorted(each for each in recognise("other", table).table if each.startswith("p_")) == sorted(columns("p_"))


def test_predictions_without_probabilities_are_compared_by_classes_only():
    table = pd.DataFrame({"path": PATHS, "label": LABELS, "pred": PREDICTED, "group": PATHS})
    found = recognise("other", table)
    assert found.certain
    metrics = ("log_loss", "accuracy", "macro_f1")
    result = compare({"other": table, "own": OWN.assign(group=PATHS)}, metrics=metrics, n_resamples=10)
    assert set(result.verdicts["metric"]) == {"accuracy", "macro_f1"}
    assert result.aligned.certain == ("other",)
    assert any("has no probabilities" in note for note in result.aligned.notes)
    with pytest.raises(UserError, match="compare it by accuracy"):
        compare({"other": table}, metrics=("log_loss",), n_resamples=10)


def test_groups_of_another_table_are_used():
    groups = {path: f"patient {number // 2}" for number, path in enumerate(PATHS)}
    result = compare({"other": OWN}, groups=groups, n_resamples=10)
    assert result.aligned.images["group"].nunique() == 15


@pytest.mark.parametrize(
    ("table", "how", "message"),
    [
        (
            {"a": PATHS, "label": LABELS},
            {},
            "no column that is known as its path; it has a, label; name it by ",
        ),
        ({"path": PATHS, "b": LABELS}, {}, "known as its label"),
        ({"path": PATHS, "label": LABELS, "x": 0.5}, {}, "columns={probabilities: START_OF_NAMES}"),
        (OWN, {"columns": {"path": "file"}}, "columns.path=file: there is no such column"),
        (OWN, {"columns": {"image": "path"}}, "columns: image is unknown"),
    ],
)
def test_what_is_not_recognised_is_refused_with_the_columns_that_were_found(table, how, message):
    with pytest.raises(UserError) as refused:
        recognise("other", pd.DataFrame(table), **how)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
