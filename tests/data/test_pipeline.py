import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from bloodcell.data.augmentation import Augmentation
from bloodcell.data.loading import load_bccd
from bloodcell.data.pipeline import Epochs, Samples, evaluation_batches, resize, samples_of, training_batches, views
from bloodcell.images.reading import read_image

SIZE = 24
N = 12
NONE = Augmentation()
STANDARD = Augmentation(
    horizontal_flip=True, vertical_flip=True, rotation=180, shift=0.1, zoom=0.1, brightness=0.1, contrast=0.1
)
Batch = tuple[NDArray[np.float32], NDArray[np.float32]]


@pytest.fixture
def samples(bccd: Path) -> Samples:
    """Return three training images of each class."""
    images = load_bccd(root=bccd)
    rows = images.part("train").groupby("label").head(N // 4)
    return samples_of(images, rows, input_size=SIZE, interpolation="bilinear")


def drawn(dataset: Iterable[Any]) -> list[Batch]:
    return [(images.numpy(), labels.numpy()) for images, labels in dataset]


def trained_on(samples: Samples, **how: Any) -> list[Batch]:
    augmentation = how.pop("augmentation", NONE)
    chosen: dict[str, Any] = {"batch_size": 5, "seed": 0} | how
    epochs = Epochs(**{"steps": -(-len(samples) // chosen["batch_size"])} | chosen)
    return drawn(training_batches(samples, epochs, augmentation=augmentation))


def pairs(batches: Iterable[Batch]) -> list[tuple[bytes, int]]:
    """Return every image with its label, so that they can be counted and compared."""
    return [
        (image.tobytes(), int(label.argmax()))
        for images, labels in batches
        for image, label in zip(images, labels, strict=True)
    ]


def sizes(batches: Iterable[Batch]) -> list[int]:
    return [len(images) for images, _ in batches]


def assert_same(one: list[Batch], other: list[Batch]) -> None:
    assert sizes(one) == sizes(other)
    assert pairs(one) == pairs(other)


def test_evaluation_shows_every_image_once_in_order_with_its_label(samples: Samples) -> None:
    batches = drawn(evaluation_batches(samples, batch_size=5))
    assert sizes(batches) == [5, 5, 2]
    images, labels = (np.concatenate(part) for part in zip(*batches, strict=True))
    assert images.shape == (N, SIZE, SIZE, 3)
    assert images.dtype == labels.dtype == np.float32
    np.testing.assert_array_equal(labels, np.eye(4)[samples.labels])
    for image, file in zip(images, samples.files, strict=True):
        expected = resize(read_image(file), input_size=SIZE, interpolation="bilinear")
        np.testing.assert_array_equal(image, expected)


def test_every_epoch_of_training_is_a_permutation(samples: Samples) -> None:
    expected = Counter(pairs(drawn(evaluation_batches(samples, batch_size=N))))
    batches = trained_on(samples, number=3, batch_size=N)
    orders = [pairs([batch]) for batch in batches]
    assert [Counter(order) for order in orders] == [expected] * 3
    assert len({tuple(order) for order in orders}) == 3


def test_no_batch_spans_two_epochs(samples: Samples) -> None:
    assert sizes(trained_on(samples, number=3, batch_size=5)) == [5, 5, 2] * 3
    assert sizes(trained_on(samples, number=2, batch_size=6)) == [6, 6] * 2
    assert sizes(trained_on(samples, number=2, batch_size=100)) == [N] * 2


def test_steps_per_epoch_are_the_first_batches_of_each_epoch(samples: Samples) -> None:
    whole = trained_on(samples, number=2, augmentation=STANDARD)
    short = trained_on(samples, number=2, augmentation=STANDARD, steps=2)
    assert_same(short, whole[0:2] + whole[3:5])
    assert_same(trained_on(samples, steps=100), trained_on(samples))


def test_one_seed_gives_the_same_batches_and_another_seed_others(samples: Samples) -> None:
    first, again, other = (trained_on(samples, augmentation=STANDARD, seed=seed) for seed in (0, 0, 1))
    assert_same(first, again)
    assert not set(pairs(first)) & set(pairs(other))
    assert pairs(trained_on(samples, seed=0)) != pairs(trained_on(samples, seed=1))


def test_the_largest_seed_that_a_configuration_may_name_works(samples: Samples) -> None:
    assert sizes(trained_on(samples, augmentation=STANDARD, seed=2**32 - 1)) == [5, 5, 2]


def test_no_view_comes_twice_in_a_run(samples: Samples) -> None:
    shown = pairs(trained_on(samples, augmentation=STANDARD, number=4))
    assert len(set(shown)) == len(shown) == 4 * N


def test_an_epoch_does_not_depend_on_the_first_epoch(samples: Samples) -> None:
    whole = trained_on(samples, augmentation=STANDARD, number=4)
    for epoch in range(4):
        alone = trained_on(samples, augmentation=STANDARD, first=epoch)
        assert_same(alone, whole[3 * epoch : 3 * epoch + 3])
    assert_same(trained_on(samples, augmentation=STANDARD, first=2, number=2), whole[6:])


def test_the_batch_size_changes_neither_order_nor_views(samples: Samples) -> None:
    small = trained_on(samples, augmentation=STANDARD, batch_size=1)
    assert pairs(small) == pairs(trained_on(samples, augmentation=STANDARD, batch_size=7))


def test_images_that_are_looked_at_are_those_that_are_trained_on(samples: Samples) -> None:
    shown = views(samples, index=4, augmentation=STANDARD, seed=3, n_views=2)
    image = resize(read_image(samples.files[4]), input_size=SIZE, interpolation="bilinear").numpy()
    np.testing.assert_array_equal(shown[0], np.round(image).astype(np.uint8))
    for epoch, view in enumerate(shown[1:]):
        batches = trained_on(samples, augmentation=STANDARD, seed=3, first=epoch)
        trained = np.round(np.concatenate([images for images, _ in batches])).astype(int)
        assert np.abs(trained - view).max(axis=(1, 2, 3)).min() <= 1


def test_two_images_with_the_same_pixels_have_views_of_their_own(samples: Samples) -> None:
    twins = replace(samples, files=[samples.files[0]] * 2, labels=samples.labels[:2])
    one, other = (views(twins, index=index, augmentation=STANDARD, seed=0, n_views=1) for index in (0, 1))
    np.testing.assert_array_equal(one[0], other[0])
    assert np.abs(one[1].astype(int) - other[1]).max() > 1


@pytest.mark.parametrize("content", [b"", b"no longer an image", None], ids=["empty", "text", "gone"])
def test_a_file_that_became_unreadable_is_named(samples: Samples, tmp_path: Path, content: bytes | None) -> None:
    bad = tmp_path / "Zelle № 5.jpeg"
    if content is not None:
        bad.write_bytes(content)
    broken = replace(samples, files=[*samples.files[:6], bad, *samples.files[7:]])
    with pytest.raises(tf.errors.OpError, match=r"Zelle № 5\.jpeg: "):
        drawn(evaluation_batches(broken, batch_size=4))
    with pytest.raises(tf.errors.OpError, match=r"Zelle № 5\.jpeg: "):
        trained_on(broken, augmentation=STANDARD)


def test_a_batch_may_mix_image_sizes_modes_and_odd_names(samples: Samples, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("breit.png", "grau, ganz klein.png", "単球.png")]
    Image.new("RGB", (200, 30), (10, 20, 30)).save(files[0])
    Image.new("L", (1, 1), 77).save(files[1])
    Image.new("RGBA", (5, 90), (0, 0, 0, 0)).save(files[2])
    mixed = replace(samples, files=[*files, samples.files[0]], labels=np.array([0, 1, 2, 3]))
    ((images, labels),) = drawn(evaluation_batches(mixed, batch_size=4))
    assert images.shape == (4, SIZE, SIZE, 3)
    np.testing.assert_allclose(images[:3, 0, 0], [(10, 20, 30), (77, 77, 77), (255, 255, 255)], atol=1e-3)
    np.testing.assert_array_equal(labels, np.eye(4))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", [SIZE, 97])
def test_images_are_resized_as_a_saved_model_does_it(bccd: Path, interpolation: str, size: int) -> None:
    photograph = read_image(next((bccd / "TEST" / "NEUTROPHIL").iterdir()))[:60, :80]
    checks = np.where(np.indices((31, 45)).sum(axis=0)[..., None] % 2, 255, np.zeros(3)).astype(np.uint8)
    layer = keras.layers.Resizing(size, size, interpolation=interpolation, dtype="float32")
    for image in (photograph, checks):
        resized = resize(image, input_size=size, interpolation=interpolation).numpy()
        expected = np.clip(keras.ops.convert_to_numpy(layer(image.astype(np.float32))), 0, 255)
        assert resized.dtype == np.float32
        np.testing.assert_allclose(resized, expected, atol=1e-3)


def test_the_files_of_samples_may_be_given_as_text(samples: Samples) -> None:
    text: Any = [os.fspath(file) for file in samples.files]
    assert len(samples) == N
    assert_same(
        drawn(evaluation_batches(replace(samples, files=text), batch_size=5)),
        drawn(evaluation_batches(samples, batch_size=5)),
    )
