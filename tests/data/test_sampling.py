from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloodcell.data.augmentation import Augmentation
from bloodcell.data.loading import load_bccd
from bloodcell.data.pipeline import Epochs, Samples, samples_of, training_batches
from bloodcell.data.sampling import equal_source_weights, sample_sources, source_weights

LABELS = np.array([0] * 12 + [1] * 3 + [3])
GROUPS = np.array([7] * 10 + [8, 9] + [1, 2, 2] + [5])
"""Of the first class three photographs, one of them with ten images; of the second two; of the last one image."""


@pytest.fixture
def samples(bccd: Path) -> Samples:
    """Sixteen real images, as if they were copies of those photographs."""
    images = load_bccd(root=bccd)
    rows = images.part("train").head(len(LABELS))
    made = samples_of(images, rows, input_size=16, interpolation="bilinear")
    return replace(made, labels=LABELS, sources=GROUPS)


def test_classes_weigh_the_same_and_in_them_photographs_and_in_these_images():
    weights = source_weights(LABELS, GROUPS)
    assert weights.sum() == pytest.approx(len(LABELS))
    by_class = [weights[label == LABELS].sum() for label in (0, 1, 3)]
    assert by_class == pytest.approx([16 / 3] * 3)
    by_photograph = [weights[group == GROUPS].sum() for group in (7, 8, 9, 1, 2)]
    assert by_photograph == pytest.approx([16 / 9] * 3 + [16 / 6] * 2)
    assert np.ptp(weights[GROUPS == 7]) == 0


def test_a_photograph_with_two_labels_is_one_of_each_class():
    weights = source_weights(np.array([0, 0, 1, 1]), np.array([4, 5, 4, 4]))
    assert weights.tolist() == pytest.approx([1, 1, 1, 1])


def test_every_photograph_weighs_one_by_number_or_by_name():
    for groups in (GROUPS, GROUPS.astype(str)):
        weights = equal_source_weights(groups)
        assert [weights[group == groups].sum() for group in np.unique(groups)] == pytest.approx([1] * 6)
        assert np.ptp(weights[groups == groups[0]]) == 0


def test_where_every_image_is_a_photograph_and_classes_are_equal_all_weigh_one():
    weights = source_weights(np.repeat([0, 1, 2], 5), np.arange(15))
    assert weights.tolist() == pytest.approx([1] * 15)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=60), st.integers(0, 2**32 - 1))
def test_a_draw_has_of_each_class_and_photograph_its_share_but_for_one(rows, seed):
    labels, groups = np.array(rows).T
    drawn = sample_sources(labels, groups, np.random.default_rng(seed))
    assert len(drawn) == len(labels)
    weights = source_weights(labels, groups)
    for label in np.unique(labels):
        assert abs((labels[drawn] == label).sum() - weights[labels == label].sum()) < 1 + 1e-9
        for group in np.unique(groups):
            here = (labels == label) & (groups == group)
            assert abs(here[drawn].sum() - weights[here].sum()) < 1 + 1e-9


def test_over_many_epochs_every_image_comes_as_often_as_it_weighs():
    counts = sum(
        np.bincount(sample_sources(LABELS, GROUPS, np.random.default_rng(seed)), minlength=len(LABELS))
        for seed in range(3000)
    )
    np.testing.assert_allclose(counts / 3000, source_weights(LABELS, GROUPS), atol=0.06)


def shown(samples: Samples, **changes) -> list[tuple[np.ndarray, np.ndarray]]:
    augmentation = changes.pop("augmentation", Augmentation())
    epochs = Epochs(**{"number": 2, "steps": -(-len(samples) // 16), "batch_size": 16, "seed": 3} | changes)
    batches = training_batches(samples, replace(epochs, sampling="photographs"), augmentation=augmentation)
    return [(images.numpy(), labels.numpy()) for images, labels in batches]


def test_images_on_the_fly_are_drawn_by_photograph(samples):
    for images, labels in shown(samples):
        assert len(images) == 16
        counts = labels.sum(axis=0)
        assert counts[2] == 0
        assert ((counts[[0, 1, 3]] >= 5) & (counts[[0, 1, 3]] <= 6)).all()


def test_an_epoch_by_photograph_does_not_depend_on_the_first_epoch_and_epochs_differ(samples):
    first, second = shown(samples)
    (alone,) = shown(samples, first=1, number=1)
    np.testing.assert_array_equal(second[0], alone[0])
    assert not np.array_equal(first[0], second[0])


def test_an_image_that_comes_again_in_an_epoch_comes_in_another_view(samples):
    ((images, labels),) = shown(samples, augmentation=Augmentation(brightness=0.5, rotation=90), number=1)
    again = images[labels[:, 3] == 1]  # the last class has one image
    assert len(again) >= 5
    assert len({image.tobytes() for image in again}) == len(again)


def test_groups_are_numbers_for_the_manifests_photographs(bccd):
    images = load_bccd(root=bccd)
    rows = images.part("train").head(4).assign(source=["b", "a", "b", "c"])
    made = samples_of(images, rows, input_size=16, interpolation="bilinear")
    assert made.sources.tolist() == [1, 0, 1, 2]
