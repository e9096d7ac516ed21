from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from bloodcell.data.loading import load_bccd
from bloodcell.data.orientations import N_ORIENTATIONS, Orientations, orient
from bloodcell.data.pipeline import evaluation_batches, samples_of, view_batches

AS_PILLOW = {
    1: [Image.Transpose.FLIP_LEFT_RIGHT],
    2: [Image.Transpose.FLIP_TOP_BOTTOM],
    3: [Image.Transpose.ROTATE_180],
    4: [Image.Transpose.TRANSPOSE],
    5: [Image.Transpose.ROTATE_270],
    6: [Image.Transpose.ROTATE_90],
    7: [Image.Transpose.TRANSVERSE],
}


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (9, 9, 3)).astype(np.uint8)


def test_the_first_turn_is_the_image_as_it_is(image):
    np.testing.assert_array_equal(orient(image, 0), image)


@pytest.mark.parametrize("number", AS_PILLOW)
def test_each_turn_is_a_flip_or_a_rotation_that_changes_no_pixel(image, number):
    expected = Image.fromarray(image)
    for step in AS_PILLOW[number]:
        expected = expected.transpose(step)
    np.testing.assert_array_equal(orient(image, number), np.asarray(expected))
    np.testing.assert_array_equal(orient(image, tf.constant(number, tf.int64)), np.asarray(expected))


def test_no_two_turns_are_the_same(image):
    assert N_ORIENTATIONS == {"none": 1, "flips": 4, "flips_and_rotations": 8}
    assert len({np.asarray(orient(image, number)).tobytes() for number in range(8)}) == 8


def test_evaluation_and_views_turn_the_image_that_a_model_is_given(bccd: Path):
    images = load_bccd(root=bccd)
    samples = samples_of(images, images.part("train").head(2), input_size=24, interpolation="bilinear")
    ((plain, _),) = evaluation_batches(samples, batch_size=2)
    ((oriented, _),) = evaluation_batches(samples, batch_size=2, orientation=6)
    (views,) = view_batches(
        samples, indices=np.array([0, 1]), views=np.array([6, 0]), augmentation=Orientations(), seed=0, batch_size=2
    )
    np.testing.assert_array_equal(oriented, np.stack([np.rot90(each) for each in plain.numpy()]))
    np.testing.assert_array_equal(views[0], oriented[0])
    np.testing.assert_array_equal(views[1], plain[1])
