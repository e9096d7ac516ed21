"""The set of rendered blood smears."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from bloodcell.data.groups import recovered_groups
from bloodcell.data.manifest import ImageSet
from bloodcell.data.smears import NUCLEI, load_smears, remove_smears, smears_folder
from bloodcell.errors import UserError
from bloodcell.files import lock_folder

FEW = {"train_photographs": 24, "test_photographs": 20, "copies": 4, "slides": 3, "seed": 0}


def load(**changes) -> ImageSet:
    return load_smears(**FEW | changes)


@pytest.fixture(scope="module")
def smears() -> ImageSet:
    return load()


def test_classes_have_equally_many_images_of_unequally_many_photographs(smears):
    train = smears.part("train")
    assert train["label"].value_counts().to_dict() == dict.fromkeys(smears.classes, 24)
    photographs = train.groupby("label")["group"].nunique()
    assert photographs.to_dict() == {"EOSINOPHIL": 6, "LYMPHOCYTE": 5, "MONOCYTE": 4, "NEUTROPHIL": 10}


def test_training_and_test_share_no_photograph_and_no_slide(smears):
    table = smears.manifest
    assert not set(table.loc[table["split"] == "train", "group"]) & set(table.loc[table["split"] == "test", "group"])
    listed = np.loadtxt(smears.root / "groups.csv", delimiter=",", dtype=str, skiprows=1)
    slides = {side: {row[2] for row in listed if row[0].startswith(side)} for side in ("TRAIN", "TEST")}
    assert not slides["TRAIN"] & slides["TEST"]


def test_every_image_has_the_mask_of_its_nucleus(smears):
    for path in smears.manifest["path"][::20]:
        pixels = np.asarray(Image.open(smears.root / path), dtype=float)
        mask = np.asarray(Image.open((smears.root / NUCLEI / path).with_suffix(".png")))
        assert mask.shape == pixels.shape[:2]
        inside = mask > 0
        if inside.sum() > 200:  # else augmentation has pushed it out of the image
            assert pixels[inside, 0].mean() < pixels[~inside & (pixels.sum(axis=2) > 60), 0].mean() - 20


def test_images_depend_only_on_the_seed(smears, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    again, other = load(), load(seed=1)
    assert again.root != smears.root
    assert again.manifest.equals(smears.manifest)
    assert not set(other.manifest["sha256"]) & set(smears.manifest["sha256"])


def test_they_are_rendered_once(smears, monkeypatch):
    monkeypatch.setattr("bloodcell.data.smears.render_photograph", None)
    assert load().manifest.equals(smears.manifest)


def test_photographs_are_found_in_the_pixels_alone(smears):
    found = recovered_groups(smears).manifest["group"]
    known = smears.manifest["group"]
    pairs = np.equal.outer(found.to_numpy(), found.to_numpy())
    true = np.equal.outer(known.to_numpy(), known.to_numpy())
    assert (pairs & ~true).sum() == 0
    assert (pairs & true).sum() > 0.9 * true.sum()


def test_missing_images_are_an_error_with_advice(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    images = load()
    (images.root / images.manifest["path"].iloc[0]).unlink()
    with pytest.raises(UserError, match=r"^data=smears: .* lacks some of its .* images; remove it"):
        load()


def test_an_unwritable_disk_is_named_and_no_files_are_left(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = smears_folder(*FEW.values())
    folder.parent.parent.mkdir(parents=True)
    folder.parent.write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"^data=smears: cannot be written to .*; free disk space"):
        load()
    folder.parent.unlink()
    shutil.rmtree(tmp_path)


def test_a_set_that_a_process_uses_is_not_removed(smears):
    lease = lock_folder(smears.root, "shared")
    assert remove_smears() == [f"smears/{smears.root.name}"]
    assert smears.root.is_dir()
    os.close(lease)
    assert remove_smears() == []
    assert not smears.root.exists()
    assert load_smears(**FEW).manifest.equals(smears.manifest)
