"""A folder without test images: they are taken from it by whole photographs, the same for every training."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from data.photographs import copy, save
from pictures import rendered

from bloodcell.config.composition import compose_config
from bloodcell.data.manifest import ImageSet
from bloodcell.errors import UserError
from bloodcell.experiment import images as images_module
from bloodcell.experiment.images import load_images, prepare_images


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two classes: three copies each of six photographs, which only the pixels tell."""
    root = tmp_path_factory.mktemp("cells")
    rng = np.random.default_rng(0)
    for number, pixels in enumerate(rendered(12)):
        for index in rng.permutation(100)[:3]:
            save(root / ("lobed", "round")[number % 2], f"{index:02}-{number}", copy(pixels, rng))
    return root


def prepared(cells: Path, *overrides: str) -> ImageSet:
    whole = ["data=folder", f"data.train_dir={cells}", "data.test_dir=null"]
    return prepare_images(compose_config("train", [*whole, *overrides])).images


def side(images: ImageSet, split: str) -> set[str]:
    return set(images.part(split)["path"])


def test_no_photograph_is_on_two_sides_and_every_class_is_on_each(cells: Path) -> None:
    manifest = prepared(cells, "data.test_fraction=0.4").manifest
    assert (manifest.groupby("group")["split"].nunique() == 1).all()
    assert (manifest.groupby("split")["label"].nunique() == 2).all()
    photographs_of = manifest[manifest["split"] == "test"].groupby("label")["group"].nunique()
    assert photographs_of.tolist() == [2, 2]


@pytest.mark.parametrize(
    "others",
    [
        ["split.seed=5", "hyperparameters.seed=5", "split.fraction=0.5"],
        ["split=random"],
        ["split=group_kfold", "split.folds=2"],
    ],
)
def test_the_test_images_are_the_same_whatever_is_trained(cells: Path, others: Sequence[str]) -> None:
    assert side(prepared(cells, *others), "test") == side(prepared(cells), "test")


def test_a_limit_makes_the_test_set_smaller(cells: Path) -> None:
    assert side(prepared(cells, "debug.limit_per_class=2"), "test") < side(prepared(cells), "test")


def test_photographs_are_found_only_in_the_images_that_a_limit_leaves(cells: Path, monkeypatch) -> None:
    monkeypatch.setattr("bloodcell.experiment.images.LEAST_LIMITED", 4)
    sizes = []
    recover = images_module._grouped
    monkeypatch.setattr(
        images_module, "_grouped", lambda images, data: sizes.append(len(images.manifest)) or recover(images, data)
    )
    prepared(cells, "debug.limit_per_class=2", "data.groups=none")
    assert sizes[0] == 8


def test_another_seed_of_its_own_chooses_others(cells: Path) -> None:
    assert side(prepared(cells, "data.test_seed=1"), "test") != side(prepared(cells), "test")


def test_an_audit_uses_the_same_test_images(cells: Path) -> None:
    config = compose_config("audit", ["data=folder", f"data.train_dir={cells}", "data.test_dir=null"])
    assert side(load_images(config.data), "test") == side(prepared(cells), "test")


def test_a_class_of_one_photograph_is_refused_with_what_there_is(cells: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    shutil.copytree(cells / "lobed", few / "lobed")
    shutil.copytree(cells / "round", few / "round", ignore=lambda _, names: [n for n in names if "-3." not in n])
    with pytest.raises(UserError, match=r"^data\.test_dir=null: .* class round is in 1 "):
        prepared(few)
