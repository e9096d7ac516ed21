import hashlib
from dataclasses import fields, replace
from pathlib import Path

import cv2
import matplotlib.cbook
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images

import bloodcell.cells.novelty
from bloodcell.cells.crop import crop_to_nucleus
from bloodcell.cells.novelty import MARGIN, Novelty, fit_novelty, learn_novelty, load_novelty
from bloodcell.cells.nucleus_features import N_NUMBERS, nucleus_features
from bloodcell.cells.segmentation import find_cell
from bloodcell.errors import UserError
from bloodcell.images.reading import read_image

Pixels = NDArray[np.uint8]
N_TRAINED, N_HELD_OUT = 48, 16
SIZE = (320, 240)


def field(colour: tuple[int, int, int]) -> Pixels:
    return np.full((240, 320, 3), colour, np.uint8)


def digests(files: list[Path]) -> list[str]:
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


@pytest.fixture(scope="module")
def held_out(photographs) -> list[Pixels]:
    return photographs(N_TRAINED + N_HELD_OUT)[:: (N_TRAINED + N_HELD_OUT) // N_HELD_OUT]


@pytest.fixture(scope="module")
def novelty(tmp_path_factory, photographs) -> Novelty:
    folder = tmp_path_factory.mktemp("trained")
    step = (N_TRAINED + N_HELD_OUT) // N_HELD_OUT
    trained = [pixels for index, pixels in enumerate(photographs(N_TRAINED + N_HELD_OUT)) if index % step]
    files = [folder / f"{index}.png" for index in range(N_TRAINED)]
    for file, pixels in zip(files, trained, strict=True):
        cv2.imwrite(str(file), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    return learn_novelty(files, digests(files), np.arange(N_TRAINED))


def test_cells_of_other_photographs_are_cells(novelty, held_out):
    assert novelty.no_cell(nucleus_features(held_out)).sum() <= 1


@pytest.mark.parametrize(
    "change",
    [
        lambda pixels: np.clip(pixels * [0.86, 0.92, 1.02], 0, 255).astype(np.uint8),
        lambda pixels: cv2.GaussianBlur(pixels, (0, 0), 1.5),
        lambda pixels: cv2.resize(pixels, (640, 480), interpolation=cv2.INTER_CUBIC),
        lambda pixels: cv2.resize(pixels[24:-24, 32:-32], SIZE, interpolation=cv2.INTER_CUBIC),
        lambda pixels: cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 1),
    ],
    ids=["white balance", "blur", "size", "scale", "JPEG"],
)
def test_cells_as_another_laboratory_sees_them_are_cells(novelty, held_out, change):
    assert novelty.no_cell(nucleus_features([change(pixels) for pixels in held_out])).mean() <= 0.2


def framed(pixels: Pixels, *, share: float, side: int, only_the_cell: bool) -> Pixels:
    """Show a cell in a square of whose side its nucleus takes a share, with clear ground around."""
    cell = find_cell(pixels)
    ground = np.array(cell.background)
    radius = (cell.area / np.pi) ** 0.5
    shown = np.where(cell.content_mask[..., None] > 0, pixels, ground)
    if only_the_cell:
        distance = cv2.distanceTransform(cv2.bitwise_not(cell.nucleus), cv2.DIST_L2, 5)
        shown = np.where(distance[..., None] < radius, shown, ground)
    scale = side * share / (2 * radius)
    x, y = (side / 2 - scale * centre for centre in cell.centre)
    move = np.array([[scale, 0, x], [0, scale, y]])
    return cv2.warpAffine(shown.astype(np.uint8), move, (side, side), borderValue=ground.tolist())


@pytest.mark.parametrize(
    "change",
    [
        lambda pixels: crop_to_nucleus(pixels).pixels,
        lambda pixels: framed(pixels, share=0.7, side=200, only_the_cell=False),
        lambda pixels: framed(pixels, share=0.15, side=575, only_the_cell=False),
        lambda pixels: framed(pixels, share=0.3, side=360, only_the_cell=True),
        lambda pixels: framed(pixels, share=0.6, side=360, only_the_cell=True),
    ],
    ids=["close crop", "closer crop", "wide field", "single cell", "single cell that fills the image"],
)
def test_cells_are_cells_however_they_are_framed(novelty, held_out, change):
    assert novelty.no_cell(nucleus_features([change(pixels) for pixels in held_out])).mean() <= 0.15


def test_noise_is_no_cell(novelty):
    rng = np.random.default_rng(0)
    smooth = cv2.GaussianBlur(rng.normal(0, 1, (240, 320, 3)), (0, 0), 15)
    speckled = field((215, 185, 195))
    speckled[rng.random((240, 320)) < 0.05] = 0
    images = [
        rng.integers(0, 256, (240, 320, 3)).astype(np.uint8),
        np.clip(rng.normal([215, 185, 195], 20, (240, 320, 3)), 0, 255).astype(np.uint8),
        np.clip(160 + 60 * smooth / smooth.std(), 0, 255).astype(np.uint8),
        speckled,
    ]
    assert novelty.no_cell(nucleus_features(images)).all()


def test_fields_of_one_colour_and_gradients_are_no_cells(novelty):
    ramp = np.linspace(0, 1, 320)[None, :, None]
    ends = [((0, 0, 0), (255, 255, 255)), ((120, 60, 150), (255, 255, 255))]
    gradients = [field(start) * (1 - ramp) + field(end) * ramp for start, end in ends]
    colours = [(255, 255, 255), (0, 0, 0), (128, 128, 128), (230, 180, 190), (120, 60, 150)]
    images = [field(colour) for colour in colours] + [gradient.astype(np.uint8) for gradient in gradients]
    assert novelty.no_cell(nucleus_features(images)).all()


def test_red_cells_alone_are_no_white_cell(novelty, held_out):
    images = []
    for pixels in held_out:
        cell = cv2.dilate(find_cell(pixels).nucleus, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (81, 81)))
        images.append(cv2.inpaint(pixels, cell, 5, cv2.INPAINT_TELEA))
    assert novelty.no_cell(nucleus_features(images)).mean() >= 0.75


def test_photographs_of_other_things_are_no_cells(novelty):
    portrait = read_image(Path(str(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))))
    images = [portrait, *load_sample_images().images]
    corners = [pixels[:240, :320] for pixels in images]
    assert novelty.no_cell(nucleus_features([*images, *corners])).all()


def test_a_saved_novelty_gives_equal_distances(novelty, held_out, tmp_path):
    novelty.save(tmp_path / "new folder" / "novelty.npz")
    loaded = load_novelty(tmp_path / "new folder" / "novelty.npz")
    numbers = nucleus_features(held_out[:3]).numbers
    np.testing.assert_array_equal(loaded.distance(numbers), novelty.distance(numbers))
    for each in fields(Novelty):
        np.testing.assert_array_equal(getattr(loaded, each.name), getattr(novelty, each.name))


def test_a_file_that_cannot_be_loaded_is_an_error_in_one_line(novelty, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load_novelty(tmp_path / "absent.npz")
    (tmp_path / "torn.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match="cannot be read"):
        load_novelty(tmp_path / "torn.npz")
    novelty.save(tmp_path / "old.npz")
    with np.load(tmp_path / "old.npz") as arrays:
        np.savez(tmp_path / "old.npz", **(dict(arrays) | {"versions": np.array([0, 0])}))
    with pytest.raises(UserError, match="train the model again"):
        load_novelty(tmp_path / "old.npz")


def cloud(n_photographs: int, copies: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Numbers of photographs whose copies hardly differ."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_photographs), copies)
    near = rng.normal(0, 1, (n_photographs, 6))[groups] + rng.normal(0, 0.01, (groups.size, 6))
    return near.astype(np.float32), groups


@pytest.mark.parametrize("copies", [1, 40])
def test_about_one_percent_of_fresh_photographs_lie_beyond_the_threshold_without_its_margin(copies):
    novelty = fit_novelty(*cloud(300, copies))
    fresh, _ = cloud(4000, 1, seed=1)
    assert 0.002 < (novelty.distance(fresh) > novelty.threshold / MARGIN).mean() < 0.03
    assert (novelty.distance(fresh) > novelty.threshold).mean() < 0.005


def test_copies_do_not_make_the_threshold_smaller():
    once, copied = (fit_novelty(*cloud(60, copies)).threshold for copies in (1, 30))
    assert copied > 0.5 * once


def test_distances_do_not_depend_on_units():
    measured, groups = cloud(60, 2)
    units = np.array([1, 10, 100, 0.1, 5, 1], np.float32)
    fresh, _ = cloud(20, 1, seed=1)
    plain, other = fit_novelty(measured, groups), fit_novelty(measured * units + 3, groups)
    np.testing.assert_allclose(other.distance(fresh * units + 3), plain.distance(fresh), rtol=1e-3)


def test_a_number_that_never_varies_and_one_that_is_not_finite_make_no_error():
    measured, groups = cloud(60, 2)
    measured[:, 2] = 1
    novelty = fit_novelty(measured, groups)
    distances = novelty.distance(np.vstack([measured[:1], np.full((1, 6), np.nan)]))
    assert distances[0] < novelty.threshold
    assert distances[1] == np.inf


def test_an_image_without_a_nucleus_is_no_cell_where_those_trained_on_have_one():
    pixels = [field((230, 180, 190))] * 4
    seen = nucleus_features(pixels)
    assert not seen.found.any()
    measured, groups = np.random.default_rng(0).normal(0, 1, (100, N_NUMBERS)), np.arange(100)
    for found, expected in ((np.ones(100, bool), True), (np.zeros(100, bool), False), (None, False)):
        novelty = replace(fit_novelty(measured, groups, found=found), threshold=np.inf)
        assert novelty.no_cell(seen).tolist() == [expected] * 4


@pytest.mark.parametrize(
    ("measured", "groups", "why"),
    [
        (np.zeros((5, 2)), np.zeros(5), "two groups"),
        (np.zeros((0, 2)), np.zeros(0), "two groups"),
        (np.zeros((5, 2)), np.arange(4), "group"),
        (np.full((5, 2), np.nan), np.arange(5), "finite"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(measured, groups, why):
    with pytest.raises(ValueError, match=why):
        fit_novelty(measured, groups)


def test_images_are_looked_at_once_for_all_that_is_learnt_from_them(tmp_path, monkeypatch, photographs):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = [tmp_path / f"{index}.png" for index in range(6)]
    for file, pixels in zip(files, photographs(6), strict=True):
        cv2.imwrite(str(file), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    looked: list[int] = []
    monkeypatch.setattr(
        bloodcell.cells.novelty, "nucleus_features", lambda images: looked.append(1) or nucleus_features(images)
    )
    learn_novelty(files[:4], digests(files[:4]), np.arange(4))
    both = [learn_novelty(files, digests(files), np.arange(6)) for _ in range(2)]
    assert len(looked) == 6
    assert np.array_equal(both[0].points, both[1].points)


def test_files_without_groups_and_no_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="a group"):
        learn_novelty([tmp_path / "a.png"], ["0" * 64], np.arange(2))
    with pytest.raises(ValueError, match="two groups"):
        learn_novelty([], [], np.zeros(0))


def test_numbers_of_another_kind_are_refused():
    with pytest.raises(ValueError, match=r"\(n, 6\)"):
        fit_novelty(*cloud(10, 1)).distance(np.zeros((3, 5)))
