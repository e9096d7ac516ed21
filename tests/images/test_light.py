import numpy as np
import pytest

from bloodcell.images.light import WHITE, light_of, quantiles, under_light

EVERYWHERE = np.full((240, 320), 255, np.uint8)


def test_the_clear_ground_has_one_level_in_every_channel_whatever_the_light(photographs):
    for light in ((1.0, 1.0, 1.0), (0.6, 0.6, 0.6), (1.0, 0.9, 0.5)):
        (photograph,) = photographs(1)
        pixels = (photograph * light).astype(np.uint8)
        lit = under_light(pixels, light_of(pixels, EVERYWHERE))
        assert light_of(lit, EVERYWHERE) == pytest.approx([WHITE] * 3, abs=2)


def test_light_is_looked_for_within_the_mask_only():
    pixels = np.full((240, 320, 3), 100, np.uint8)
    pixels[:, :160] = 250
    mask = EVERYWHERE.copy()
    mask[:, :160] = 0
    assert light_of(pixels, mask) == pytest.approx([100] * 3, abs=1)


def test_where_there_is_no_light_nothing_breaks():
    black = np.zeros((240, 320, 3), np.uint8)
    assert light_of(black, np.zeros_like(EVERYWHERE)) == [0.0] * 3
    assert not under_light(black, light_of(black, EVERYWHERE)).any()


def test_quantiles_are_those_of_numpy_to_a_level():
    channel = np.random.default_rng(0).integers(0, 256, (240, 320)).astype(np.uint8)
    shares = (0.05, 0.5, 0.9)
    assert quantiles(channel, EVERYWHERE, shares) == pytest.approx(np.quantile(channel, shares), abs=1)
