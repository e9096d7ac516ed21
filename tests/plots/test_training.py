import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bloodcell.plots.training import confusion_matrix, learning_curves, per_class_bars

CLASSES = ["EOSINOPHIL", "LYMPHOCYTE", "промиелоцит", "plasma cell, atypical, of a name that goes on $and$ on"]


def history_of(*stages: tuple[str, int, float]) -> pd.DataFrame:
    names = [name for name, epochs, _ in stages for _ in range(epochs)]
    epochs = np.arange(len(names))
    return pd.DataFrame(
        {
            "epoch": epochs,
            "stage": names,
            "train_loss": 1 / (epochs + 1),
            "train_accuracy": 1 - 0.5 / (epochs + 1),
            "val_loss": 0.5 + (epochs - 4) ** 2 / 100,
            "val_accuracy": 0.8 - (epochs - 6) ** 2 / 100,
            "learning_rate": [rate for _, epochs, rate in stages for _ in range(epochs)],
        }
    )


def test_learning_curves_name_the_stages_and_the_best_epoch(texts_of, check_legible):
    figure = learning_curves(history_of(("head", 5, 1e-3), ("block_13_expand", 4, 1e-5)))
    assert len(figure.axes) == 2
    texts = texts_of(figure)
    assert "Learning curves" in texts
    assert "Loss: 0.500 in validation at epoch 5" in texts
    assert "Accuracy: 76.0% in validation at epoch 5" in texts
    assert "Best: epoch 5" in texts
    assert any("1  head (learning rate 0.001)" in text and "2  block_13_expand" in text for text in texts)
    check_legible(figure)


def test_learning_curves_draw_the_history():
    history = history_of(("head", 7, 1e-3))
    loss, accuracy = learning_curves(history).axes
    for axes, quantity in ((loss, "loss"), (accuracy, "accuracy")):
        lines = {str(line.get_label()): line for line in axes.get_lines()}
        np.testing.assert_array_equal(lines["Training"].get_ydata(), history[f"train_{quantity}"])
        np.testing.assert_array_equal(lines["Validation"].get_ydata(), history[f"val_{quantity}"])


def test_the_best_epoch_follows_the_monitored_column(texts_of):
    texts = texts_of(learning_curves(history_of(("head", 9, 1e-3)), monitor="val_accuracy"))
    assert "Accuracy: 80.0% in validation at epoch 7" in texts


def test_epochs_count_from_1_over_all_stages_and_the_best_one_has_its_number_in_the_terminal(texts_of):
    figure = learning_curves(history_of(("head", 3, 1e-3), ("block_13_expand", 4, 1e-5)))
    for axes in figure.axes:
        lines = {str(line.get_label()): line for line in axes.get_lines()}
        assert lines["Validation"].get_xdata().tolist() == [1, 2, 3, 4, 5, 6, 7]
    # The terminal counts the epochs of each stage.
    assert "Best: epoch 5 (epoch 2 of stage 2)" in texts_of(figure)


def test_learning_curves_say_why_validation_can_be_better_than_training(texts_of):
    texts = texts_of(learning_curves(history_of(("head", 3, 1e-3))))
    assert any("dropout" in text and "augmentation" in text for text in texts)


def test_a_history_without_validation_has_no_best_epoch(texts_of, check_legible):
    figure = learning_curves(history_of(("head", 3, 1e-3)).assign(val_loss=np.nan, val_accuracy=np.nan))
    texts = texts_of(figure)
    assert "Training" in texts
    assert "Validation" not in texts
    assert not any("Best" in text for text in texts)
    check_legible(figure)


def test_a_missing_quantity_is_named(texts_of):
    history = history_of(("head", 3, 1e-3)).assign(train_accuracy=np.nan, val_accuracy=np.nan, learning_rate=np.nan)
    texts = texts_of(learning_curves(history))
    assert "not recorded" in texts
    assert any(text.startswith("1  head") and "learning rate" not in text for text in texts)


def test_a_falling_learning_rate_is_shown_from_first_to_last(texts_of):
    history = history_of(("head", 3, 1e-3)).assign(learning_rate=[0.001, 0.0005, 0.0001])
    assert any("1  head (learning rate 0.001 → 0.0001)" in text for text in texts_of(learning_curves(history)))


def test_a_single_epoch_can_be_drawn(check_legible):
    check_legible(learning_curves(history_of(("head", 1, 1e-3))))


def test_many_stages_with_long_names_stay_legible(check_legible, texts_of):
    name = "unfreeze from block_{}_expand_with_a_name_that_is_very_much_longer_than_one_would_wish_it_to_be_in_a_figure"
    figure = learning_curves(history_of(*((name.format(number), 3, 1e-4) for number in range(5))))
    check_legible(figure)
    assert name.format(4) in "".join(texts_of(figure))


def test_a_confusion_matrix_shows_counts_and_shares_of_true_classes(texts_of, check_legible):
    figure = confusion_matrix(np.array([[1500, 500], [0, 0]]), classes=["a", "b"], title="Confusion")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["75%\n1,500", "25%\n500", "–\n0", "–\n0"]
    assert texts_of(figure).count("Predicted") == 1
    check_legible(figure)


def test_a_confusion_matrix_shows_groups_beside_images(texts_of, check_legible):
    matrix, groups = np.array([[1500, 500], [0, 7]]), np.array([[12, 5], [0, 1]])
    settings = {"classes": ["a", "b"], "title": "Confusion", "group_name": "patient"}
    figure = confusion_matrix(matrix, groups=groups, **settings)
    assert [text.get_text() for text in figure.axes[0].texts] == [
        *("75%\n1,500 (12)", "25%\n500 (5)"),
        *("0%\n0 (0)", "100%\n7 (1)"),
    ]
    assert "Row %, images (patients)" in texts_of(figure)
    check_legible(figure)
    # If each image is a group, the number says it.
    figure = confusion_matrix(matrix, groups=matrix, **settings)
    assert figure.axes[0].texts[0].get_text() == "75%\n1,500"


@pytest.mark.parametrize("k", [2, 4, 14])
def test_a_confusion_matrix_of_any_size_is_legible(k, check_legible, texts_of):
    classes = [f"{name} {number}" for number in range(5) for name in CLASSES][:k]
    figure = confusion_matrix(np.full((k, k), 1234), classes=classes, title="A long title " * 4)
    check_legible(figure)
    if k >= 4:
        shown = [text.replace(" ", "") for text in texts_of(figure)]
        assert shown.count(classes[3].replace(" ", "")) == 2


def test_the_numbers_of_a_confusion_matrix_contrast_with_their_cells():
    figure = confusion_matrix(np.array([[100, 0], [50, 50]]), classes=["a", "b"], title="Confusion")
    colours = [text.get_color() for text in figure.axes[0].texts]
    assert colours[0] == "#FFFFFF"
    assert colours[1] == "#222222"


def test_a_matrix_that_does_not_fit_the_classes_is_refused():
    with pytest.raises(ValueError, match="shape"):
        confusion_matrix(np.zeros((2, 2), dtype=int), classes=["a", "b", "c"], title="Confusion")


def per_class_table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "class": CLASSES,
            "precision": [0.9, np.nan, 1.0, 0.31],
            "recall": [0.5, 0.0, 1.0, 0.2],
            "f1": [0.64, 0.0, 1.0, 0.24],
            "images": [2620, 1, 623, 0],
            "groups": [83, 1, 20, 0],
            "precision_low": [0.8, np.nan, 0.9, 0.0],
            "precision_high": [0.95, np.nan, 1.0, 1.0],
            "recall_low": [0.4, np.nan, 0.9, np.nan],
            "recall_high": [0.6, np.nan, 1.0, np.nan],
            "f1_low": [0.5, np.nan, 0.9, np.nan],
            "f1_high": [0.7, np.nan, 1.0, np.nan],
        }
    )


def test_class_bars_have_the_lengths_of_the_metrics_and_the_numbers_of_images(texts_of, check_legible):
    figure = per_class_bars(per_class_table(), title="Scores of each class")
    (axes,) = figure.axes
    widths = [patch.get_width() for patch in axes.patches]
    assert widths == [0.9, 0, 1.0, 0.31, 0.5, 0.0, 1.0, 0.2, 0.64, 0.0, 1.0, 0.24]
    texts = texts_of(figure)
    assert "EOSINOPHIL2,620 images83 photographs" in texts
    assert "LYMPHOCYTE1 image" in texts
    assert texts.count("undefined") == 1
    assert [text for text in texts if text in {"Precision", "Recall", "F1"}] == ["Precision", "Recall", "F1"]
    check_legible(figure)


def test_class_bars_have_intervals_and_an_interval_that_says_nothing_is_unknown(texts_of):
    figure = per_class_bars(per_class_table(), title="Scores of each class", group_name="patient")
    (axes,) = figure.axes
    drawn = [np.asarray(ends)[:, 0] for lines in axes.collections for ends in lines.get_segments() if len(ends)]
    assert sorted(ends.tolist() for ends in drawn) == [[0.4, 0.6], [0.5, 0.7], [0.8, 0.95], *[[0.9, 1.0]] * 3]
    texts = texts_of(figure)
    assert "90.0% (80% to 95%)" in texts
    assert "31.0% (interval unknown)" in texts  # 0 to 100 %
    assert any("too few patients" in text for text in texts)


def test_the_first_class_is_at_the_top():
    (axes,) = per_class_bars(per_class_table(), title="Scores").axes
    positions = axes.transData.transform([(0, 0), (0, 3)])[:, 1]
    assert positions[0] > positions[1]


def test_drawing_does_not_change_matplotlibs_global_settings():
    before = dict(mpl.rcParams)
    per_class_bars(per_class_table(), title="Scores").canvas.draw()
    assert dict(mpl.rcParams) == before


def test_a_saved_figure_is_a_png_of_at_least_a_thousand_pixels(tmp_path):
    path = tmp_path / "classes.png"
    per_class_bars(per_class_table(), title="Scores of each class").savefig(path)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 10


def test_many_classes_are_shades_in_a_picture_of_one_size_over_the_most_frequent_confusions(texts_of, check_legible):
    sizes = set()
    for k in (41, 300):
        matrix = np.eye(k, dtype=int) * 9
        matrix[7, 3], matrix[2, 5] = 4, 6
        figure = confusion_matrix(matrix, classes=[f"class {number}" for number in range(k)], title="Many")
        sizes.add(tuple(figure.get_size_inches()))
        texts = texts_of(figure)
        assert [text for text in texts if "→" in text and text.startswith("class")] == [
            "class 2 → class 5",
            "class 7 → class 3",
        ]
        check_legible(figure)
    assert len(sizes) == 1


def test_of_many_classes_those_with_the_lowest_f1_are_drawn(texts_of):
    scores = np.linspace(1, 0.1, 50)
    table = pd.DataFrame(
        {"class": [f"class {number}" for number in range(50)], "precision": scores, "recall": scores, "f1": scores}
    )
    ends = {f"{name}_{end}": np.nan for name in ("precision", "recall", "f1") for end in ("low", "high")}
    texts = texts_of(per_class_bars(table.assign(images=5, groups=5, **ends), title="By class"))
    assert [text.removesuffix("5 images") for text in texts if text.endswith("5 images")] == [
        f"class {number}" for number in range(49, 29, -1)
    ]
    assert any("the 20 of 50 classes with the lowest F1" in text.replace("\n", " ") for text in texts)
