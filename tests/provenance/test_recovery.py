"""Groups from pixels, on photographs that are augmented here, so that the truth is known."""

import hashlib
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from data.photographs import copy, save
from pictures import DATA

from bloodcell.provenance import recovery as provenance
from bloodcell.provenance.recovery import overlapping_sources, recover_sources

N_PHOTOGRAPHS, N_COPIES = 8, 4

AUGMENTATIONS = {
    "as the Kaggle set": {},
    "scale": {"zoom": 0.3, "rotation": 90, "shear": 0},
    "perspective": {"perspective": 0.2, "shear": 0},
    "reflected fill": {"fill": cv2.BORDER_REFLECT},
    "brightness": {"brightness": 0.15},
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def digests(files: Sequence[Path]) -> list[str]:
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def groups_of(files: Sequence[Path]) -> list[str]:
    return recover_sources(files, digests(files)).names


def square(pixels: np.ndarray, side: int) -> np.ndarray:
    """Cut the largest square from the middle, and resize it."""
    height, width = pixels.shape[:2]
    left = (width - height) // 2
    return cv2.resize(pixels[:, left : left + height], (side, side), interpolation=cv2.INTER_AREA)


def small_copies(folder: Path, images: Sequence[np.ndarray], side: int) -> tuple[list[Path], list[int]]:
    """Save rotated, zoomed, tilted and brightened copies of small images, with black or reflected fill."""
    rng = np.random.default_rng(0)
    strong = {"rotation": 180, "shift": 0, "shear": 0, "zoom": 0.25, "perspective": 0.1, "brightness": 0.15}
    files, truth = [], []
    for number, pixels in enumerate(images):
        for index in range(6):
            fill = cv2.BORDER_CONSTANT if index % 2 else cv2.BORDER_REFLECT
            made = copy(square(pixels, side), rng, fill=fill, **strong)
            files.append(save(folder, f"{number} {index}", made, quality=int(rng.integers(40, 95))))
            truth.append(number)
    return files, truth


def pairs(names: Sequence[object]) -> set[tuple[int, int]]:
    return {(a, b) for a, b in combinations(range(len(names)), 2) if names[a] == names[b]}


@pytest.fixture
def copies(photographs, tmp_path):
    """Return what saves augmented copies and returns the files and the photograph of each."""

    def make(*, n_photographs: int = N_PHOTOGRAPHS, **augmentation) -> tuple[list[Path], list[int]]:
        rng = np.random.default_rng(0)
        files, truth = [], []
        for number, pixels in enumerate(photographs(n_photographs)):
            for index in range(N_COPIES):
                augmented, quality = copy(pixels, rng, **augmentation), int(rng.integers(70, 95))
                files.append(save(tmp_path / "images", f"{number} {index}", augmented, quality=quality))
                truth.append(number)
        return files, truth

    return make


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_copies_of_one_photograph_are_one_group_and_no_others(kind, tmp_path, copies):
    files, truth = copies(**AUGMENTATIONS[kind])
    found, true = pairs(groups_of(files)), pairs(truth)
    assert found <= true
    assert len(found) >= 0.98 * len(true)


@pytest.mark.parametrize("side", [300, 120])
def test_copies_of_small_images_are_one_group_and_no_others(side, tmp_path, photographs):
    files, truth = small_copies(tmp_path / "images", photographs(8), side)
    found, true = pairs(groups_of(files)), pairs(truth)
    assert found <= true
    assert len(found) >= 0.98 * len(true)


@pytest.mark.real
@pytest.mark.parametrize("side", [300, 120])
def test_copies_of_small_images_of_another_laboratory_are_found(side, tmp_path):
    cells = sorted(Path(str(DATA)).parent.glob("wbc100/images/*/*.png"))[::5]
    if not cells:
        pytest.skip("wbc100 is not beside the real images")
    images = [cv2.imread(str(file))[..., ::-1] for file in cells]
    files, truth = small_copies(tmp_path / "images", images, side)
    found, true = pairs(groups_of(files)), pairs(truth)
    assert found <= true
    assert len(found) >= 0.98 * len(true)


def test_images_with_too_little_texture_are_reported_and_others_are_not(tmp_path, photographs):
    rng = np.random.default_rng(0)
    smooth = [cv2.GaussianBlur(pixels, (0, 0), 30) for pixels in photographs(2)]
    pictures = [*smooth, photographs(1)[0], copy(photographs(1)[0], rng)]
    files = [save(tmp_path, str(number), pixels) for number, pixels in enumerate(pictures)]
    found = recover_sources(files, digests(files))
    assert found.untextured == [True, True, False, False]
    assert recover_sources(files, digests(files)) == found


def test_photographs_without_copies_are_groups_of_their_own(tmp_path, photographs):
    files = [save(tmp_path, str(number), pixels) for number, pixels in enumerate(photographs(16))]
    assert len(set(groups_of(files))) == len(set(digests(files)))


def test_two_photographs_of_neighbouring_places_are_two_groups(tmp_path, photographs):
    rng = np.random.default_rng(1)
    wide = np.hstack([photographs(2)[0], photographs(2)[1]])
    wide = cv2.resize(wide, (640, 240))
    files, truth = [], []
    for number, left in enumerate((0, 100)):
        for index in range(8):
            field = np.ascontiguousarray(wide[:, left : left + 320])
            files.append(save(tmp_path, f"{number} {index}", copy(field, rng)))
            truth.append(number)
    assert pairs(groups_of(files)) == pairs(truth)


def test_exact_copies_are_one_group_even_without_anything_to_see(tmp_path):
    blank = np.full((60, 80, 3), 200, np.uint8)
    files = [save(tmp_path, name, blank) for name in ("a", "b")]
    files.append(save(tmp_path, "c", blank - 50))
    first, second, third = groups_of(files)
    assert first == second != third


def test_order_and_names_of_files_play_no_part(tmp_path, cache, copies):
    files, _ = copies(n_photographs=4)
    groups = groups_of(files)
    for path in cache.rglob("*.npz"):
        path.unlink()
    moved = [file.rename(tmp_path / f"{number:03}.jpeg") for number, file in enumerate(files[::-1])]
    assert groups_of(moved) == groups[::-1]


def test_what_was_looked_at_is_not_looked_at_again(tmp_path, monkeypatch, copies):
    files, truth = copies(n_photographs=4)
    looked_at = []
    read = provenance.read_image
    monkeypatch.setattr(provenance, "read_image", lambda path: looked_at.append(path) or read(path))
    groups = groups_of(files[:-3])
    assert sorted(looked_at) == sorted(files[:-3])
    looked_at.clear()
    assert groups_of(files[:-3]) == groups
    some = groups_of(files[:5])
    assert looked_at == []
    everything = groups_of(files)
    assert pairs(everything) == pairs(truth)
    assert sorted(looked_at) == sorted(files[-3:])
    # Nothing shows in the names of what else was looked at, or when.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    assert groups_of(files[:5]) == some
    assert groups_of(files) == everything


def test_a_torn_memory_is_made_again(tmp_path, cache, copies):
    files, _ = copies(n_photographs=3)
    groups = groups_of(files)
    (kept,) = cache.rglob("*.npz")
    kept.write_bytes(kept.read_bytes()[:-5000])
    assert groups_of(files) == groups


def test_an_interrupted_search_is_resumed(tmp_path, monkeypatch, copies):
    files, truth = copies(n_photographs=6)
    monkeypatch.setattr(provenance, "SAVE_EVERY_S", 0)
    monkeypatch.setattr(provenance, "BATCH", 8)
    looked_at = []
    read = provenance.read_image

    def cut_off(path):
        looked_at.append(path)
        if len(looked_at) > 20:
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(provenance, "read_image", cut_off)
    with pytest.raises(KeyboardInterrupt):
        groups_of(files)
    monkeypatch.setattr(provenance, "read_image", lambda path: looked_at.append(path) or read(path))
    looked_at.clear()
    assert pairs(groups_of(files)) <= pairs(truth)
    assert len(looked_at) == len(files) - 16


def test_a_search_that_is_saved_often_writes_each_thumbnail_once(tmp_path, cache, monkeypatch, copies):
    files, _ = copies(n_photographs=6)
    monkeypatch.setattr(provenance, "SAVE_EVERY_S", 0)
    monkeypatch.setattr(provenance, "BATCH", 8)
    groups = groups_of(files)
    parts = list(cache.rglob("*.thumbnails"))
    assert len(parts) == 3
    assert sum(part.stat().st_size for part in parts) == len(files) * 160 * 120
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    monkeypatch.setattr(provenance, "SAVE_EVERY_S", 60)
    assert groups_of(files) == groups


def test_a_search_without_its_thumbnails_is_made_again(cache, copies):
    files, truth = copies(n_photographs=4)
    groups_of(files[:-3])
    for part in cache.rglob("*.thumbnails"):
        part.unlink()
    assert pairs(groups_of(files)) == pairs(truth)


def test_a_memory_that_cannot_be_written_is_no_obstacle(tmp_path, monkeypatch, copies):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    files, truth = copies(n_photographs=2)
    assert pairs(groups_of(files)) == pairs(truth)


def test_overlapping_fields_are_two_photographs_and_reported(tmp_path, photographs):
    wide = [cv2.resize(pixels, (480, 360), interpolation=cv2.INTER_CUBIC) for pixels in photographs(3)]
    rng = np.random.default_rng(0)
    fields = [wide[0][:240, :320], wide[0][60:300, 140:460], wide[1][:240, :320], wide[2][:240, :320]]
    files = [
        save(tmp_path, f"{number}-{index}", copy(field, rng))
        for number, field in enumerate(fields)
        for index in range(5)
    ]
    groups = groups_of(files)
    assert len(set(groups)) == 4
    (pair,) = overlapping_sources(files, digests(files))
    assert set(pair) == {groups[0], groups[5]}


def test_a_caption_on_every_photograph_makes_no_copies_and_no_overlap(tmp_path, photographs):
    captioned = [pixels.copy() for pixels in photographs(15)]
    for pixels in captioned:
        cv2.putText(pixels, "x1000  Giemsa  10 um", (10, 230), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (0, 0, 0), 2)
        cv2.line(pixels, (250, 200), (310, 200), (0, 0, 0), 4)
    files = [save(tmp_path, str(number), pixels) for number, pixels in enumerate(captioned)]
    assert len(set(groups_of(files))) == len(files)
    assert overlapping_sources(files, digests(files)) == []
