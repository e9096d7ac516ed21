import numpy as np
import pytest

from bloodcell.evaluation.baselines import majority_probabilities
from bloodcell.evaluation.metrics import evaluate


def test_the_baseline_predicts_the_frequencies_of_training_for_every_image():
    probabilities = majority_probabilities(training_labels=[2, 2, 0, 2], n_classes=4, n_images=3)
    assert probabilities.tolist() == [[0.25, 0, 0.75, 0]] * 3


def test_its_accuracy_is_the_share_of_the_majority_class_in_the_test_images():
    probabilities = majority_probabilities(training_labels=[1, 1, 0], n_classes=2, n_images=4)
    measured = evaluate(labels=[0, 0, 0, 1], probabilities=probabilities, classes=("a", "b"))
    assert measured["accuracy"] == 0.25
    assert measured["balanced_accuracy"] == 0.5
    assert measured["auroc"] == 0.5
    assert measured["cohen_kappa"] == 0


def test_of_equally_frequent_classes_the_first_is_predicted():
    probabilities = majority_probabilities(training_labels=[3, 1, 3, 1], n_classes=4, n_images=1)
    assert np.argmax(probabilities) == 1


def test_no_training_label_is_refused():
    with pytest.raises(ValueError, match="at least one training label"):
        majority_probabilities(training_labels=np.array([], dtype=int), n_classes=2, n_images=1)


def test_a_label_that_is_no_class_is_refused():
    with pytest.raises(ValueError, match=r"within 0\.\.1"):
        majority_probabilities(training_labels=[2], n_classes=2, n_images=1)
