"""Which folders are classes, and which are folds, patients or other groups."""

from pathlib import Path

import pytest
from PIL import Image

from bloodcell.config.data import FolderData
from bloodcell.data.levels import find_levels
from bloodcell.data.loading import Policy, load_folders
from bloodcell.errors import UserError
from bloodcell.experiment.images import load_images


def fill(root: Path, *folders: str, n_images: int = 1) -> Path:
    """Write different images into folders."""
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True)
        for index in range(n_images):
            Image.new("RGB", (8, 8), (number, index, 0)).save(root / folder / f"{index}.png")
    return root


@pytest.mark.parametrize(
    ("folders", "levels", "noun"),
    [
        (["fold_0/all", "fold_0/hem", "fold_1/all", "fold_1/hem"], "fold/class", "fold"),
        (["all/fold0", "all/fold1", "hem/fold0", "hem/fold1"], "class/fold", "fold"),
        (["patient0/alpha", "patient1/beta"], "group/class", "patient"),
        (["P_12/alpha", "P_12/beta"], "class", ""),
        (["Subject-07/alpha", "Subject-07/beta", "Subject-08/beta"], "group/class", "patient"),
        (["alpha/slide 1", "alpha/slide 2", "beta/slide 3"], "class/group", "slide"),
        (["Hospital A/alpha", "Hospital B/alpha", "Hospital B/beta"], "group/class", "site"),
        (["2020-01-31/alpha", "2020-02-01/alpha", "2020-02-01/beta"], "group/class", "day"),
        (["labelled/a", "labels/b"], "class", ""),
        (["alpha", "beta"], "class", ""),
        (["alpha/left", "beta/right"], "class", ""),
    ],
)
def test_names_of_folders_tell(tmp_path, folders, levels, noun):
    found = find_levels(fill(tmp_path, *folders), setting="folder=x")
    assert (found.levels, found.noun) == (levels, noun)


def test_folders_of_the_same_names_are_refused_with_both_readings(tmp_path):
    fill(tmp_path, "x/all", "x/hem", "y/all", "y/hem")
    with pytest.raises(UserError) as refused:
        load_folders(folders={"train": tmp_path})
    assert "group/class (or fold/class) if all is a class" in str(refused.value)
    assert "class/group (or class/fold, class) if x is one" in str(refused.value)
    for levels, classes in {"group/class": ("all", "hem"), "class/fold": ("x", "y"), "class": ("x", "y")}.items():
        assert load_folders(folders={"train": tmp_path}, levels=levels).classes == classes


def test_folders_of_folds_are_no_classes_unnoticed(tmp_path):
    fill(tmp_path, "fold_0/all", "fold_0/hem", "fold_1/all", "fold_1/hem")
    with pytest.raises(UserError, match=r"data\.folders=fold/class split=given, or data\.folders=class"):
        load_folders(folders={"train": tmp_path})


def test_the_groups_are_the_folders_that_are_named(tmp_path):
    fill(tmp_path, "s1/all", "s1/hem", "s2/all", "s3/hem", "s4/all", "s4/hem")
    data = FolderData(train_dir=str(tmp_path), groups="folder", folders="group/class", photographs="groups")
    found = load_images(data).manifest.groupby("group")["path"].count()
    assert found.to_dict() == {"s1": 2, "s2": 1, "s3": 1, "s4": 2}


def test_a_class_that_the_test_lacks_is_refused_trained_only_or_left_out(tmp_path):
    fill(tmp_path, "train/a", "train/b", "train/c", "test/a", "test/b")
    folders = {split: tmp_path / split for split in ("train", "test")}
    with pytest.raises(UserError, match=r"has no class c; .*train_only.*data\.without_classes=\[c\]"):
        load_folders(folders=folders)
    assert load_folders(folders=folders, policy=Policy(rare_classes="train_only")).classes == ("a", "b", "c")
    assert load_folders(folders=folders, policy=Policy(without_classes=["c"])).classes == ("a", "b")
    with pytest.raises(UserError, match="there is no class d"):
        load_folders(folders=folders, policy=Policy(without_classes=["d"]))
