import numpy as np
import pytest

from bloodcell.images.normalisation import BACKGROUND_LEVEL, background_level, normalise_illumination, quantiles

EVERYWHERE = np.full((240, 320), 255, np.uint8)


def test_the_clear_ground_has_one_level_in_every_channel_whatever_the_light(photographs):
    for light in ((1.0, 1.0, 1.0), (0.6, 0.6, 0.6), (1.0, 0.9, 0.5)):
        (photograph,) = photographs(1)
        pixels = (photograph * light).astype(np.uint8)
        lit = normalise_illumination(pixels, background_level(pixels, EVERYWHERE))
        assert background_level(lit, EVERYWHERE) == pytest.approx([BACKGROUND_LEVEL] * 3, abs=2)


def test_light_is_looked_for_within_the_mask_only():
    pixels = np.full((240, 320, 3), 100, np.uint8)
    pixels[:, :160] = 250
    mask = EVERYWHERE.copy()
    mask[:, :160] = 0
    assert background_level(pixels, mask) == pytest.approx([100] * 3, abs=1)


def test_where_there_is_no_light_nothing_breaks():
    black = np.zeros((240, 320, 3), np.uint8)
    assert background_level(black, np.zeros_like(EVERYWHERE)) == [0.0] * 3
    assert not normalise_illumination(black, background_level(black, EVERYWHERE)).any()


def test_quantiles_are_those_of_numpy_to_a_level():
    channel = np.random.default_rng(0).integers(0, 256, (240, 320)).astype(np.uint8)
    shares = (0.05, 0.5, 0.9)
    assert quantiles(channel, EVERYWHERE, shares) == pytest.approx(np.quantile(channel, shares), abs=1)
