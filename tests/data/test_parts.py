"""Files of several pages, and of more than 8 bits a channel."""

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from bloodcell.config.keywords import train_config
from bloodcell.data.groups import joined_pages, single_groups
from bloodcell.data.loading import Policy, load_folders
from bloodcell.data.manifest import ImageSet, digest
from bloodcell.data.pipeline import evaluation_batches, samples_of
from bloodcell.errors import UserError
from bloodcell.experiment.images import prepare_images
from bloodcell.images.reading import read_image

CLASSES = ("EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL")


@pytest.fixture
def both(bccd: Path, tmp_path: Path) -> Path:
    """Return a folder of the images with 8 bits, and of the same with 12 bits in files of 16."""
    for file in sorted(bccd.glob("TRAIN/*/*"))[::2]:
        pixels = read_image(file)
        pixels[0, 0] = 255
        for name, values in (("eight", pixels), ("twelve", pixels.astype(np.uint16) << 4)):
            place = tmp_path / name / file.parent.name / f"{file.stem}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(place), values[..., ::-1])
    return tmp_path


def load(folder: Path, **policy: Any) -> ImageSet:
    return load_folders(folders={"train": folder}, policy=Policy(**policy))


def pixels_of(images: ImageSet) -> np.ndarray:
    samples = samples_of(images, images.manifest, input_size=32, interpolation="bilinear")
    return np.concatenate([batch.numpy() for batch, _ in evaluation_batches(samples, batch_size=8)])


def test_images_of_12_bits_are_read_as_those_of_8(both: Path) -> None:
    eight, twelve = load(both / "eight"), load(both / "twelve")
    assert (eight.bits, twelve.bits) == (None, 12)
    np.testing.assert_array_equal(pixels_of(twelve), pixels_of(eight))
    assert len(twelve.notes) == 1
    assert "bits" not in eight.manifest
    depths = [load(both / "twelve", bit_depth=bits) for bits in (12, 14, 16)]
    assert [each.notes for each in depths] == [()] * 3
    assert digest(depths[0].manifest) == digest(twelve.manifest)
    assert len({digest(each.manifest) for each in depths}) == 3
    assert pixels_of(depths[2]).max() <= 255 >> 4


def test_one_bright_image_gives_the_depth_of_all(both: Path) -> None:
    file = sorted((both / "twelve").rglob("*.png"))[0]
    cv2.imwrite(str(file), np.full((40, 40, 3), 16_000, np.uint16))
    assert load(both / "twelve").bits == 14
    with pytest.raises(UserError, match=re.escape(file.name)):
        load(both / "twelve", bit_depth=12)


def test_every_page_is_an_image_of_the_group_of_its_file(both: Path) -> None:
    frames = [Image.fromarray(np.full((20, 20, 3), shade, np.uint8)) for shade in (10, 120, 240)]
    stack = both / "eight" / "MONOCYTE" / "stack.tif"
    frames[0].save(stack, save_all=True, append_images=frames[1:])
    first, every = load(both / "eight"), load(both / "eight", pages="all")
    assert len(every.manifest) == len(first.manifest) + 2
    assert (len(first.notes), len(every.notes)) == (1, 0)
    rows = every.manifest[every.manifest["path"].str.contains("stack")]
    assert rows["path"].tolist() == [f"MONOCYTE/stack.tif{page}" for page in ("", "/2", "/3")]
    assert rows["sha256"].nunique() == 3
    assert [read_image(file)[0, 0, 0] for file in every.files(rows)] == [10, 120, 240]
    joined = joined_pages(single_groups(every)).manifest
    assert joined["group"].nunique() == joined["source"].nunique() == len(first.manifest)
    stack.write_bytes(stack.read_bytes()[:-200])
    left_out = load(both / "eight", pages="all", on_bad_image="skip").unreadable
    assert set(left_out["path"]) <= set(rows["path"])
    assert len(left_out)


def test_settings_reach_the_images(both: Path) -> None:
    generator = np.random.default_rng(0)
    for name in CLASSES:
        for number in range(8):
            pages = list(generator.integers(0, 4096, (2, 40, 40, 3), np.uint16))
            cv2.imwritemulti(str(both / "twelve" / name / f"stack{number}.tif"), pages)
    config = train_config(
        data={
            **{"source": "folder", "train_dir": str(both / "twelve"), "groups": "pattern", "groups_pattern": "(.+)[.]"},
            **{"pages": "all", "bit_depth": 14, "rare_classes": "train_only"},
        }
    )
    images = prepare_images(config).images
    assert images.bits == 14
    pages = images.manifest[images.manifest["path"].str.contains("stack")]
    assert len(pages) == 2 * 8 * len(CLASSES)
    assert (pages.groupby("group").size() == 2).all()
    assert (pages.groupby("group")["split"].nunique() == 1).all()
