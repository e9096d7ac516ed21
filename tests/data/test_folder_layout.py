from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from bloodcell.data.file_names import PATTERN, agrees_with_pixels, sources_from_names
from bloodcell.data.folder_layout import detect_layout
from bloodcell.data.loading import load_folders
from bloodcell.errors import UserError


def tree(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


@pytest.mark.parametrize(
    ("files", "kind", "splits"),
    [
        (["a/1.png", "b/1.png"], "classes", {"train": "."}),
        (["train/a/1.png", "test/a/1.png"], "splits", {"train": "train", "test": "test"}),
        (
            ["Training/a/1.png", "VALID/a/1.png", "Testing/a/1.png"],
            "splits",
            {"train": "Training", "val": "VALID", "test": "Testing"},
        ),
        (["train/a/1.png", "validation/a/1.png"], "splits", {"train": "train", "val": "validation"}),
        (["set/set-main/a/1.png", "set/set-main/b/1.png", "__MACOSX/a/1.png"], "classes", {"train": "set/set-main"}),
        (["train/a/1.png", "train/b/1.png"], "splits", {"train": "train"}),
        (
            [f"dataset2-master/images/{s}/{c}/1.jpeg" for s in ("TRAIN", "TEST", "TEST_SIMPLE") for c in
             ("EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL")],
            "bccd",
            {"train": "dataset2-master/images/TRAIN", "test": "dataset2-master/images/TEST"},
        ),
    ],
)  # fmt: skip
def test_a_layout_is_recognised(tmp_path: Path, files: Sequence[str], kind: str, splits: dict[str, str]) -> None:
    layout = detect_layout(tree(tmp_path, *files))
    assert layout.kind == kind
    assert layout.folders == {split: tmp_path / folder for split, folder in splits.items()}
    assert layout.unused == (("TEST_SIMPLE",) if kind == "bccd" else ())


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "has no images"),
        (["1.png", "2.png"], "2 images are not in class folders"),
        (["a/1.png"], None),
        (["test/a/1.png", "val/a/1.png"], "has val and test but no folder train"),
        (["train/a/1.png", "val/a/1.png", "valid/a/1.png"], "has val and valid, which are both val"),
    ],
)
def test_an_unknown_layout_is_refused_in_one_line(tmp_path: Path, files: Sequence[str], message: str | None) -> None:
    tree(tmp_path, *files)
    if message is None:  # one class: a layout, and refused when it is read
        assert detect_layout(tmp_path).kind == "classes"
        return
    with pytest.raises(UserError) as refused:
        detect_layout(tmp_path)
    assert str(refused.value).startswith(f"folder={tmp_path}: ")
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("paths", "named"),
    [
        (["a/slide12_cell3_aug4.jpg", "a/slide12_cell3_aug5.jpg"], ["slide12_cell3", "slide12_cell3"]),
        (["a/s1.jpg", "a/s1-flip.jpg", "b/s2_rot90.jpg"], ["s1", "s1", "s2"]),
        (["a/x_jpg.rf.0a1b.jpg", "a/x_jpg.rf.99ff.jpg"], ["x_jpg", "x_jpg"]),
        (["a/s1_Rotated_90_crop2.jpg", "b.c/s1.tar.jpg"], None),
        (["a/_0_1169.jpeg", "a/_0_1170.jpeg"], None),
        (["a/1.jpg", "b/1.jpg"], None),  # the same name, but no mark of having been made
        (["a/s1_aug1.jpg", "a/s2_aug1.jpg"], None),
    ],
)
def test_names_name_photographs_where_they_differ_in_a_mark(paths: list[str], named: list[str] | None) -> None:
    assert sources_from_names(paths) == named


def test_names_are_believed_unless_pixels_speak_against_them() -> None:
    assert agrees_with_pixels(["s1", "s1", "s2"], ["p", "q", "r"])
    assert not agrees_with_pixels(["s1", "s1", "s2"], ["p", "q", "q"])


def test_names_that_put_a_whole_class_together_are_not_believed():
    paths = [f"neutrophil/neutrophil_crop_{number:03}.png" for number in range(50)]
    names = sources_from_names(paths)
    assert names is not None
    assert not agrees_with_pixels(names, [f"photograph {number}" for number in range(50)])


def test_what_a_mac_leaves_in_an_archive_is_no_class(tmp_path):
    for label in ("a", "b", "__MACOSX"):
        (tmp_path / label).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / label / "1.png")
    assert detect_layout(tmp_path).kind == "classes"
    assert load_folders(folders={"train": tmp_path}).classes == ("a", "b")


def test_the_pattern_is_one_that_a_configuration_takes() -> None:
    from bloodcell.config.composition import compose_config

    data = ["data=folder", "data.train_dir=a", "data.test_dir=b", "data.groups=pattern"]
    config = compose_config("groups", [*data, f"data.groups_pattern='{PATTERN}'"])
    assert config.data.groups_pattern == PATTERN
