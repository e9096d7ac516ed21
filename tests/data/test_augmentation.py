from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bloodcell.cells.places import NOWHERE
from bloodcell.data.augmentation import Augmentation, augment

Pixels = NDArray[np.float32]

STANDARD = Augmentation(
    horizontal_flip=True, vertical_flip=True, rotation=180, shift=0.1, zoom=0.1, brightness=0.1, contrast=0.1
)
GEOMETRY = Augmentation(horizontal_flip=True, vertical_flip=True, rotation=180, shift=0.1, zoom=0.1)
SEEDS = range(40)


def noise(side: int = 24) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.float32)


def disc(side: int = 61, radius: int = 12) -> Pixels:
    """Draw a white disc in the middle of black."""
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    return np.repeat(255.0 * (rows**2 + columns**2 < radius**2)[..., None], 3, axis=2).astype(np.float32)


@cache
def in_a_graph(augmentation: Augmentation) -> Callable[..., Any]:
    return tf.function(lambda image, seed: augment(image, augmentation=augmentation, seed=seed))


def changed(image: Pixels, augmentation: Augmentation, seed: int) -> Pixels:
    return in_a_graph(augmentation)(tf.constant(image), tf.constant([seed, 1])).numpy()


def centroid(image: Pixels) -> NDArray[np.float64]:
    weights = image[..., 0].astype(np.float64)
    return np.array([(axis * weights).sum() for axis in np.indices(weights.shape)]) / weights.sum()


@pytest.mark.parametrize("fill", ["constant", "reflect", "nearest"])
def test_by_default_nothing_changes(fill: Any) -> None:
    augmentation = Augmentation(fill=fill)
    assert not augmentation.changes
    assert not augmentation.moves
    np.testing.assert_array_equal(changed(noise(), augmentation, 0), noise())


@pytest.mark.parametrize(
    "setting", ["horizontal_flip", "vertical_flip", "rotation", "shift", "zoom", "brightness", "contrast", "hue"]
)
def test_every_setting_alone_changes_the_image(setting: str) -> None:
    values: dict[str, Any] = {"horizontal_flip": True, "vertical_flip": True, "rotation": 90.0}
    augmentation = Augmentation(**{setting: values.get(setting, 0.3)})
    assert augmentation.changes
    assert augmentation.moves == (setting not in {"brightness", "contrast", "hue"})
    assert any(np.abs(changed(noise(), augmentation, seed) - noise()).max() > 1 for seed in SEEDS)


@pytest.mark.parametrize("side", [24, 25])
@pytest.mark.parametrize(
    ("flips", "expected"),
    [
        ({"horizontal_flip": True}, [lambda image: image, np.fliplr]),
        ({"vertical_flip": True}, [lambda image: image, np.flipud]),
        (
            {"horizontal_flip": True, "vertical_flip": True},
            [lambda image: image, np.fliplr, np.flipud, lambda image: np.rot90(image, 2)],
        ),
    ],
    ids=["horizontal", "vertical", "both"],
)
def test_flips_are_exact_mirror_images_about_equally_often(
    side: int, flips: dict[str, bool], expected: list[Callable[[Pixels], Pixels]]
) -> None:
    image = noise(side)
    seen = [changed(image, Augmentation(**flips), seed) for seed in range(80)]
    counts = [sum(np.array_equal(view, mirrored(image)) for view in seen) for mirrored in expected]
    assert sum(counts) == len(seen)
    assert min(counts) > 80 / len(expected) / 3


def test_a_rotation_keeps_the_centre_and_turns_the_rest() -> None:
    image = noise(25)
    for seed in SEEDS:
        turned = changed(image, Augmentation(rotation=180), seed)
        np.testing.assert_allclose(turned[12, 12], image[12, 12], atol=0.1)
    np.testing.assert_allclose(changed(disc(), Augmentation(rotation=180), 0)[25:36, 25:36], 255, atol=0.1)
    assert np.abs(turned - image).mean() > 10


def test_a_rotation_stays_within_its_angle_and_uses_it() -> None:
    image = np.zeros((61, 61, 3), np.float32)
    image[29:32, 49:52] = 255  # to the right of the centre
    angles = []
    for seed in SEEDS:
        down, right = centroid(changed(image, Augmentation(rotation=30, fill="constant"), seed)) - 30
        assert np.hypot(down, right) == pytest.approx(20, abs=0.3)
        angles.append(np.degrees(np.arctan2(down, right)))
    assert max(np.abs(angles)) < 31
    assert min(angles) < -15
    assert max(angles) > 15


def test_a_shift_stays_within_its_share_and_uses_it() -> None:
    augmentation = Augmentation(shift=0.1, fill="constant")
    moves = np.array([centroid(changed(disc(), augmentation, seed)) - 30 for seed in SEEDS])
    assert np.abs(moves).max() < 6.2
    assert np.abs(moves).max(axis=0).min() > 3
    assert (moves.min(axis=0) < 0).all()
    assert (moves.max(axis=0) > 0).all()
    assert abs(np.corrcoef(moves.T)[0, 1]) < 0.5


def test_a_zoom_scales_within_its_factor_and_uses_it() -> None:
    augmentation = Augmentation(zoom=0.2, fill="constant")
    scales = [np.sqrt(changed(disc(), augmentation, seed).sum() / disc().sum()) for seed in SEEDS]
    assert 0.78 < min(scales) < 0.9
    assert 1.1 < max(scales) < 1.22


@pytest.mark.parametrize(("fill", "beyond"), [("constant", 0), ("reflect", 255), ("nearest", 255)])
def test_pixels_beyond_the_border_follow_fill(fill: Any, beyond: int) -> None:
    white = np.full((20, 20, 3), 255, np.float32)
    lowest = [changed(white, Augmentation(shift=0.5, fill=fill), seed).min() for seed in range(10)]
    np.testing.assert_allclose(min(lowest), beyond, atol=1e-3)


def test_a_reflected_border_mirrors_the_image_and_a_nearest_one_repeats_it() -> None:
    row = np.arange(40, dtype=np.float32)
    image = np.broadcast_to(row[None, :, None], (40, 40, 3)).copy()
    for seed in range(10):
        nearest = changed(image, Augmentation(shift=0.4, fill="nearest"), seed)[20, :, 0]
        reflected = changed(image, Augmentation(shift=0.4, fill="reflect"), seed)[20, :, 0]
        assert (np.diff(nearest) >= -1e-3).all()
        inside = (nearest > 0.01) & (nearest < 38.99)
        np.testing.assert_allclose(reflected[inside], nearest[inside], atol=1e-3)
        assert np.ptp(reflected[~inside]) > 1


def test_geometry_leaves_colours_as_they_are() -> None:
    lilac = np.broadcast_to(np.float32([190, 130, 200]), (20, 20, 3)).copy()
    shaded = noise()
    shaded[..., 1] = shaded[..., 0] / 2
    shaded[..., 2] = 255 - shaded[..., 0]
    for seed in SEEDS:
        np.testing.assert_allclose(changed(lilac, GEOMETRY, seed), lilac, atol=1e-2)
        view = changed(shaded, GEOMETRY, seed)
        np.testing.assert_allclose(view[..., 1], view[..., 0] / 2, atol=1e-2)
        np.testing.assert_allclose(view[..., 2], 255 - view[..., 0], atol=1e-2)


def test_brightness_adds_one_amount_to_every_pixel() -> None:
    image = 100 + noise() / 5
    added = [changed(image, Augmentation(brightness=0.1), seed) - image for seed in SEEDS]
    for difference in added:
        np.testing.assert_allclose(difference, difference.mean(), atol=1e-3)
    amounts = [difference.mean() for difference in added]
    assert -25.5 <= min(amounts) < -12
    assert 12 < max(amounts) <= 25.5


def test_contrast_scales_the_differences_from_the_mean() -> None:
    image = 100 + noise() / 5
    mean = image.mean(axis=(0, 1))
    scales = []
    for seed in SEEDS:
        scale = (changed(image, Augmentation(contrast=0.2), seed) - mean) / (image - mean)
        np.testing.assert_allclose(scale, np.median(scale), atol=0.01)
        scales.append(np.median(scale))
    assert 0.8 <= min(scales) < 0.9
    assert 1.1 < max(scales) <= 1.2


def test_hue_turns_colours_and_leaves_grey() -> None:
    grey = np.repeat(noise()[..., :1], 3, axis=2)
    np.testing.assert_allclose(changed(grey, Augmentation(hue=0.5), 0), grey, atol=1e-2)
    red = np.broadcast_to(np.float32([200, 50, 50]), (4, 4, 3)).copy()
    turned = [changed(red, Augmentation(hue=0.5), seed)[0, 0] for seed in SEEDS]
    np.testing.assert_allclose([pixel.max() for pixel in turned], 200, atol=0.1)
    np.testing.assert_allclose([pixel.min() for pixel in turned], 50, atol=0.1)
    assert {int(pixel.argmax()) for pixel in turned} == {0, 1, 2}


SHARE = st.floats(0, 0.99)


@settings(max_examples=40, deadline=None)
@given(
    augmentation=st.builds(
        Augmentation,
        horizontal_flip=st.booleans(),
        vertical_flip=st.booleans(),
        rotation=st.floats(0, 180),
        shift=SHARE,
        zoom=SHARE,
        brightness=SHARE,
        contrast=SHARE,
        hue=st.floats(0, 0.5),
        fill=st.sampled_from(["constant", "reflect", "nearest"]),
    ),
    seed=st.integers(0, 2**31 - 1),
)
def test_a_view_has_the_same_shape_and_stays_in_range_and_comes_again(augmentation: Augmentation, seed: int) -> None:
    image = np.where(noise(12) < 128, 0, 255).astype(np.float32)
    view = augment(image, augmentation=augmentation, seed=(seed, 1)).numpy()
    assert view.shape == image.shape
    assert view.dtype == np.float32
    assert view.min() >= 0
    assert view.max() <= 255
    np.testing.assert_array_equal(augment(image, augmentation=augmentation, seed=(seed, 1)).numpy(), view)


def test_other_seeds_make_other_views() -> None:
    views = [changed(noise(), STANDARD, seed) for seed in SEEDS]
    assert len({view.tobytes() for view in views}) == len(views)


def with_cell(row: int, column: int, side: int = 61, radius: int = 5) -> tuple[Pixels, Any]:
    """Return a dark image with a white square, and where it is."""
    image = np.zeros((side, side, 3), np.float32)
    image[max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1] = 255
    return image, tf.constant([(column + 0.5) / side, (row + 0.5) / side, radius / side, radius / side])


def moved(image: Pixels, augmentation: Augmentation, seed: int, cell: Any) -> Pixels:
    return augment(tf.constant(image), augmentation=augmentation, seed=(seed, 1), cell=cell).numpy()


def test_a_cell_in_the_corner_stays_in_the_image() -> None:
    everything = Augmentation(
        horizontal_flip=True, vertical_flip=True, rotation=180, shift=0.3, zoom=0.1, fill="constant"
    )
    image, cell = with_cell(7, 52)
    whole = image.sum()
    kept = [moved(image, everything, seed, cell).sum() / whole for seed in SEEDS]
    lost = [moved(image, everything, seed, None).sum() / whole for seed in SEEDS]
    assert min(kept) > 0.7  # a turned square is wider than a disc, and a zoom changes its area by a fifth
    assert min(lost) == 0


def test_a_cell_in_the_middle_changes_no_view() -> None:
    augmentation = Augmentation(rotation=180, shift=0.1, zoom=0.1)
    image, cell = with_cell(32, 28)
    for seed in SEEDS:
        np.testing.assert_allclose(
            moved(image, augmentation, seed, cell), moved(image, augmentation, seed, None), atol=0.05
        )


def test_a_cell_at_the_border_may_stay_there_and_goes_no_further() -> None:
    image, cell = with_cell(1, 30)
    for seed in SEEDS:
        view = moved(image, Augmentation(shift=0.3, fill="constant"), seed, cell)
        assert view.sum() >= 0.95 * image.sum()


def test_without_a_cell_the_image_may_move_freely() -> None:
    image, _ = with_cell(30, 30)
    nowhere = tf.constant(NOWHERE)
    for seed in SEEDS:
        np.testing.assert_allclose(
            moved(image, Augmentation(shift=0.3), seed, nowhere),
            moved(image, Augmentation(shift=0.3), seed, None),
            atol=0.05,
        )
