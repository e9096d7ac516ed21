import numpy as np
import pytest
import tensorflow as tf

from bloodcell.data.mixup import mix_batches

N, CLASSES = 600, 4


def batches(inputs, n_batches: int = 2) -> tf.data.Dataset:
    labels = np.eye(CLASSES, dtype=np.float32)[np.arange(N) % CLASSES]
    return tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(N).repeat(n_batches)


def mix(inputs, **changes):
    how = {"mixup": 0.0, "cutmix": 0.0, "seed": 5, "first_batch": 0} | changes
    return [tf.nest.map_structure(lambda each: each.numpy(), batch) for batch in mix_batches(batches(inputs), **how)]


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).random((N, 7)).astype(np.float32)


@pytest.fixture
def images() -> np.ndarray:
    """Each of one colour, its class's, so that pixels tell whose they are."""
    return np.broadcast_to((np.arange(N) % CLASSES)[:, None, None, None], (N, 20, 30, 3)).astype(np.float32)


def test_the_defaults_change_nothing(rows):
    dataset = batches(rows)
    assert mix_batches(dataset, mixup=0.0, cutmix=0.0, seed=0, first_batch=0) is dataset


def test_mixup_gives_examples_and_labels_between_two_by_the_same_share(rows):
    (made, labels), _ = mix(rows, mixup=0.4)
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
    share = labels[np.arange(N), np.arange(N) % CLASSES]
    expected = share[:, None] * rows + (1 - share[:, None]) * np.roll(rows, 1, axis=0)
    np.testing.assert_allclose(made, expected, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_distributed_as_beta_says(rows, alpha):
    (_, labels), (_, other) = mix(rows, mixup=alpha)
    share = np.concatenate([each[np.arange(N), np.arange(N) % CLASSES] for each in (labels, other)])
    assert share.mean() == pytest.approx(0.5, abs=0.06)
    assert share.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.15)


def test_what_is_mixed_depends_on_the_seed_and_the_batchs_number_only(rows):
    first, second = mix(rows, mixup=0.4)
    assert not np.array_equal(first[0], second[0])
    np.testing.assert_array_equal(mix(rows, mixup=0.4, first_batch=1)[0][0], second[0])
    assert not np.array_equal(mix(rows, mixup=0.4, seed=6)[0][0], first[0])


def test_what_was_measured_is_mixed_with_the_images(images):
    measured = np.arange(N, dtype=np.float32)[:, None]
    (((made, beside), labels), _) = mix((images, measured), mixup=1.0)
    share = labels[np.arange(N), np.arange(N) % CLASSES]
    np.testing.assert_allclose(beside[1:, 0], np.arange(1, N) - (1 - share[1:]), atol=1e-3)
    assert made.shape == images.shape


def test_cutmix_pastes_a_rectangle_of_the_other_image_and_counts_its_area(images):
    (made, labels), _ = mix(images, cutmix=1.0)
    own = made == images
    np.testing.assert_allclose(own.mean(axis=(1, 2, 3)), labels[np.arange(N), np.arange(N) % CLASSES], atol=1e-5)
    other = np.roll(images, 1, axis=0)
    assert (own | (made == other)).all()
    for cut in ~own[..., 0]:
        rows, columns = np.flatnonzero(cut.any(axis=1)), np.flatnonzero(cut.any(axis=0))
        assert cut.sum() == len(rows) * len(columns)
        if len(rows):
            assert np.ptp(rows) + 1 == len(rows)
            assert np.ptp(columns) + 1 == len(columns)
    assert 0.2 < 1 - own.mean() < 0.5


def test_with_both_some_batches_have_the_one_and_some_the_other(images):
    made = [batch for first in range(0, 20, 2) for batch in mix(images, mixup=1.0, cutmix=1.0, first_batch=first)]
    between = [bool((inputs % 1).any()) for inputs, _ in made]
    assert {True, False} == set(between)


def test_a_batch_of_one_is_left_as_it_is():
    alone = tf.data.Dataset.from_tensors((tf.ones((1, 3)), tf.constant([[0.0, 1.0]])))
    ((inputs, labels),) = mix_batches(alone, mixup=0.4, cutmix=0.0, seed=0, first_batch=0)
    np.testing.assert_allclose(inputs, 1)
    np.testing.assert_allclose(labels, [[0, 1]])
