import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bloodcell.data.loading import KAGGLE_FOLDERS, Policy, load_bccd, load_folders
from bloodcell.data.manifest import COLUMNS, ImageSet, digest, write_manifest
from bloodcell.errors import UserError

CLASSES = ("EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL")


@pytest.fixture
def cells(bccd: Path, tmp_path: Path) -> Path:
    """Return a copy of the images, with spaces and Unicode in its name, as folders ``train`` and ``test``."""
    root = tmp_path / "Blutzellen für Übungen"
    shutil.copytree(bccd / "TRAIN", root / "train")
    shutil.copytree(bccd / "TEST", root / "test")
    return root


def load(root: Path, *, splits: Sequence[str] = ("train", "test"), on_bad_image: str = "error") -> ImageSet:
    return load_folders(folders={split: root / split for split in splits}, policy=Policy(on_bad_image=on_bad_image))


def refusal(root: Path, **how: Any) -> str:
    with pytest.raises(UserError) as refused:
        load(root, **how)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def file_of(root: Path, label: str = "MONOCYTE", split: str = "train", index: int = 0) -> Path:
    return sorted((root / split / label).iterdir())[index]


def test_every_image_has_a_row_with_its_label_and_split(cells: Path) -> None:
    images = load(cells)
    files = sorted(file for file in cells.rglob("*.jpeg"))
    assert images.root == cells.resolve()
    assert images.classes == CLASSES
    assert tuple(images.manifest.columns) == COLUMNS
    assert sorted(images.files(images.manifest)) == files
    for row in images.manifest.itertuples():
        assert row.path.split("/")[:2] == [row.split, row.label]
    assert images.other_files == ()
    assert images.unreadable.empty


def test_parts_and_class_indices_follow_the_manifest(cells: Path) -> None:
    images = load(cells)
    train, test = images.part("train"), images.part("test")
    assert len(train) + len(test) == len(images.manifest)
    assert images.part("val").empty
    assert [images.classes[index] for index in images.class_indices(test)] == test["label"].tolist()
    assert [file.parent.name for file in images.files(test)] == test["label"].tolist()


def test_validation_may_have_a_folder_of_its_own(cells: Path) -> None:
    shutil.copytree(cells / "test", cells / "val")
    images = load(cells, splits=("train", "test", "val"))
    assert images.part("val")["path"].str.startswith("val/").all()
    assert len(images.part("val")) == len(images.part("test"))


def test_exact_copies_are_one_group(cells: Path) -> None:
    original = file_of(cells)
    shutil.copy(original, original.with_name("copy.jpeg"))
    groups = load(cells).manifest.set_index("path")["group"]
    assert groups["train/MONOCYTE/copy.jpeg"] == groups[f"train/MONOCYTE/{original.name}"]
    assert groups["train/MONOCYTE/copy.jpeg"] != groups[f"train/MONOCYTE/{file_of(cells, index=2).name}"]


def test_odd_names_and_folders_within_a_class_are_read(cells: Path) -> None:
    folder = cells / "train" / "MONOCYTE"
    original = file_of(cells)
    names = ["ein Bild.JPEG", "Zelle № 5 – größer.JpG", "単球.jpeg", "a,b;c'd\"e.jpeg", "deeper/and deeper/one.jpeg"]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(original, folder / name)
    paths = set(load(cells).manifest["path"])
    assert {f"train/MONOCYTE/{name}" for name in names} <= paths


def test_a_link_that_leads_back_lists_no_image_twice(cells: Path) -> None:
    before = load(cells).manifest
    (cells / "train" / "MONOCYTE" / "again").symlink_to(cells / "train" / "MONOCYTE")
    pd.testing.assert_frame_equal(load(cells).manifest, before)


def test_a_class_without_a_unicode_name_is_refused(cells: Path) -> None:
    (cells / "train" / os.fsdecode(b"M\xff")).mkdir()
    assert "rename it" in refusal(cells)


def test_hidden_files_and_folders_are_ignored(cells: Path) -> None:
    before = load(cells)
    original = file_of(cells)
    shutil.copy(original, original.with_name("._1.jpeg"))
    (original.parent / ".ipynb_checkpoints").mkdir()
    shutil.copy(original, original.parent / ".ipynb_checkpoints" / "1-checkpoint.jpeg")
    (cells / "train" / ".cache").mkdir()
    (cells / "test" / ".DS_Store").write_bytes(b"")
    after = load(cells)
    pd.testing.assert_frame_equal(after.manifest, before.manifest)
    assert after.other_files == ()


def test_a_data_set_below_a_hidden_folder_is_read(cells: Path, tmp_path: Path) -> None:
    hidden = shutil.move(cells, tmp_path / ".data")
    assert len(load(Path(hidden)).manifest) == 4 * (10 + 5)


def test_files_that_are_no_images_by_their_names_are_listed(cells: Path) -> None:
    (cells / "train" / "notes.txt").write_text("from the left microscope")
    shutil.copy(file_of(cells), cells / "train" / "stray.jpeg")
    (cells / "train" / "MONOCYTE" / "Thumbs.db").write_bytes(b"x")
    (cells / "test" / "NEUTROPHIL" / "cell.jpeg.part").write_bytes(b"x")
    (cells / "test" / "gone.jpeg").symlink_to(cells / "nowhere.jpeg")
    images = load(cells)
    assert images.other_files == (
        "train/notes.txt",
        "train/stray.jpeg",
        "train/MONOCYTE/Thumbs.db",
        "test/gone.jpeg",
        "test/NEUTROPHIL/cell.jpeg.part",
    )
    assert len(images.manifest) == 4 * (10 + 5)


def test_a_folder_that_is_not_there_is_refused(cells: Path) -> None:
    shutil.rmtree(cells / "test")
    assert refusal(cells) == (
        f"data.test_dir={cells / 'test'}: no such folder; give one with a folder of images for each class"
    )
    (cells / "test").write_text("a file")
    assert "no such folder" in refusal(cells)


def test_a_folder_without_classes_is_refused(cells: Path) -> None:
    for folder in (cells / "train").iterdir():
        shutil.rmtree(folder)
    message = refusal(cells)
    assert message.startswith(f"data.train_dir={cells / 'train'}: has no folders; put the images")


def test_a_single_class_is_refused(cells: Path) -> None:
    for split in ("train", "test"):
        for label in CLASSES[1:]:
            shutil.rmtree(cells / split / label)
    message = refusal(cells)
    assert message.startswith(f"data.train_dir={cells / 'train'}: has only one class (EOSINOPHIL)")


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_empty_class_is_refused(cells: Path, split: str) -> None:
    for file in (cells / split / "MONOCYTE").iterdir():
        file.rename(file.with_suffix(".jpeg_original"))
    message = refusal(cells)
    assert message.startswith(f"data.{split}_dir={cells / split}: the class folder MONOCYTE has no images (JPEG, ")
    assert message.endswith("add some, or remove the class from every split")


def test_classes_that_differ_between_the_splits_are_refused(cells: Path) -> None:
    (cells / "test" / "MONOCYTE").rename(cells / "test" / "Monocyte")
    message = refusal(cells)
    assert message.startswith(f"data.test_dir={cells / 'test'}: has the class Monocyte, ")
    assert "MONOCYTE, which differs in case only" in message
    shutil.rmtree(cells / "test" / "Monocyte")
    assert "has no class MONOCYTE;" in refusal(cells)


def test_a_class_of_validation_that_training_has_not_is_refused(cells: Path) -> None:
    shutil.copytree(cells / "test", cells / "val")
    shutil.copytree(cells / "val" / "MONOCYTE", cells / "val" / "BASOPHIL")
    message = refusal(cells, splits=("train", "test", "val"))
    assert message.startswith(f"data.val_dir={cells / 'val'}: has the class BASOPHIL, which training does not have")


@pytest.mark.parametrize("below", ["", "test"])
def test_one_folder_for_training_and_testing_is_refused(cells: Path, below: str) -> None:
    inner = cells / "train" / below
    if below:
        shutil.move(cells / "test", inner)
    for folders in ({"train": cells / "train", "test": inner}, {"train": inner, "test": cells / "train"}):
        with pytest.raises(UserError) as refused:
            load_folders(folders=folders)
        assert str(refused.value).startswith(f"data.test_dir={folders['test']}: overlaps with data.train_dir=")


def test_two_names_of_one_folder_are_refused(cells: Path) -> None:
    shutil.rmtree(cells / "test")
    (cells / "test").symlink_to(cells / "train")
    assert "overlaps with" in refusal(cells)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"not a cell\n", "not an image"), (b"", "the file is empty"), (None, "image file is truncated")],
    ids=["text", "empty", "truncated"],
)
def test_a_bad_image_is_named_or_left_out_and_listed(cells: Path, content: bytes | None, reason: str) -> None:
    bad = file_of(cells)
    bad.write_bytes(bad.read_bytes()[:2000] if content is None else content)
    message = refusal(cells)
    assert message.startswith(f"1 image cannot be read: {bad} ({reason}")
    assert "data.on_bad_image=skip" in message

    images = load(cells, on_bad_image="skip")
    path = f"train/MONOCYTE/{bad.name}"
    assert images.unreadable["path"].tolist() == [path]
    assert images.unreadable["reason"].str.startswith(reason).all()
    assert path not in set(images.manifest["path"])
    assert len(images.manifest) == 4 * (10 + 5) - 1
    assert images.other_files == ()


def test_a_file_that_cannot_be_opened_is_a_bad_image(cells: Path) -> None:
    bad = cells / "train" / "MONOCYTE" / "gone.jpeg"
    bad.symlink_to(cells / "nowhere.jpeg")
    assert f"{bad} (No such file or directory)" in refusal(cells)
    assert len(load(cells, on_bad_image="skip").unreadable) == 1


def test_of_many_bad_images_three_are_named_and_the_rest_counted(cells: Path) -> None:
    bad = [file_of(cells, label) for label in CLASSES] + [file_of(cells, index=1)]
    for file in bad:
        file.write_bytes(b"")
    message = refusal(cells)
    assert message.startswith("5 images cannot be read: ")
    assert message.count("(the file is empty)") == 3
    assert "; and 2 more; " in message


def test_a_class_without_one_readable_image_is_refused_even_when_skipping(cells: Path) -> None:
    for file in (cells / "test" / "MONOCYTE").iterdir():
        file.write_bytes(b"")
    message = refusal(cells, on_bad_image="skip")
    assert message.startswith(f"data.test_dir={cells / 'test'}: no image of class MONOCYTE can be read: ")
    assert str(file_of(cells, split="test")) in message


def test_a_name_that_is_no_unicode_is_listed_in_printable_form(cells: Path) -> None:
    try:
        shutil.copy(file_of(cells), os.fsencode(cells / "train" / "MONOCYTE") + b"/caf\xe9.jpeg")
        shutil.copy(file_of(cells), os.fsencode(cells / "train" / "MONOCYTE") + b"/caf\xe9.txt")
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    assert "its name is not valid Unicode; rename it" in refusal(cells)
    images = load(cells, on_bad_image="skip")
    assert images.unreadable["path"].tolist() == [r"train/MONOCYTE/caf\xe9.jpeg"]
    assert images.other_files == (r"train/MONOCYTE/caf\xe9.txt",)


@pytest.mark.parametrize("below", ["MONOCYTE", "MONOCYTE/deeper"])
def test_a_folder_that_may_not_be_looked_into_is_refused(
    cells: Path, below: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, scandir = cells / "train" / below, os.scandir
    closed.mkdir(exist_ok=True)

    def refuse(path: Any = ".") -> Any:  # taking the right away would not stop a superuser
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert refusal(cells) == f"{closed}: cannot be listed (Permission denied); make it readable"


@pytest.mark.parametrize("below", KAGGLE_FOLDERS)
def test_the_kaggle_set_is_found_as_its_archive_unpacks(bccd: Path, tmp_path: Path, below: str) -> None:
    folder = tmp_path / "down loads" / below
    shutil.copytree(bccd, folder, dirs_exist_ok=True)
    shutil.copytree(bccd / "TEST", folder / "TEST_SIMPLE")
    images = load_bccd(root=tmp_path / "down loads")
    assert images.root == folder.resolve()
    assert images.classes == CLASSES
    assert images.manifest["split"].value_counts().to_dict() == {"train": 40, "test": 20}
    assert digest(images.manifest) == digest(load_bccd(root=str(bccd)).manifest)


def test_a_folder_without_the_kaggle_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^data.root=.*nowhere: no such folder"):
        load_bccd(root=tmp_path / "nowhere")
    (tmp_path / "TRAIN").mkdir()
    with pytest.raises(UserError, match=r"^data.root=.*: has no folders TRAIN and TEST"):
        load_bccd(root=tmp_path)


def test_an_error_in_the_kaggle_set_names_its_setting(bccd: Path, tmp_path: Path) -> None:
    shutil.copytree(bccd, tmp_path / "set")
    shutil.rmtree(tmp_path / "set" / "TEST" / "MONOCYTE")
    with pytest.raises(UserError, match=r"^data.root=.*TEST: has no class MONOCYTE"):
        load_bccd(root=tmp_path / "set")


def test_a_home_folder_is_written_with_a_tilde(bccd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(bccd.parent))
    assert load_bccd(root=f"~/{bccd.name}").root == bccd.resolve()


def test_the_digest_does_not_depend_on_where_the_images_lie_or_in_which_order(cells: Path, tmp_path: Path) -> None:
    here = load(cells).manifest
    there = load(shutil.copytree(cells, tmp_path / "elsewhere")).manifest
    assert digest(there) == digest(here)
    assert digest(here.sample(frac=1, random_state=0)) == digest(here)


def test_the_digest_changes_with_content_name_label_and_split(cells: Path) -> None:
    digests = [digest(load(cells).manifest)]
    Image.new("RGB", (4, 4)).save(file_of(cells))
    digests.append(digest(load(cells).manifest))
    file_of(cells).rename(cells / "train" / "MONOCYTE" / "renamed.jpeg")
    digests.append(digest(load(cells).manifest))
    (cells / "train" / "MONOCYTE" / "renamed.jpeg").rename(cells / "train" / "NEUTROPHIL" / "renamed.jpeg")
    digests.append(digest(load(cells).manifest))
    (cells / "train" / "NEUTROPHIL" / "renamed.jpeg").rename(cells / "test" / "NEUTROPHIL" / "renamed.jpeg")
    digests.append(digest(load(cells).manifest))
    assert len(set(digests)) == len(digests)


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=3)
TABLE = st.lists(st.tuples(*[CELL] * len(COLUMNS)), min_size=1, max_size=3)


@given(one=TABLE, other=TABLE)
def test_two_manifests_have_one_digest_only_if_they_have_the_same_rows(
    one: list[tuple[str, ...]], other: list[tuple[str, ...]]
) -> None:
    same = digest(pd.DataFrame(one, columns=COLUMNS)) == digest(pd.DataFrame(other, columns=COLUMNS))
    assert same == (sorted(one) == sorted(other))


def test_tabs_in_names_do_not_make_digests_equal() -> None:
    one = pd.DataFrame([("a\tb", "c", "s", "g", "train", "0")], columns=COLUMNS)
    other = pd.DataFrame([("a", "b\tc", "s", "g", "train", "0")], columns=COLUMNS)
    assert digest(one) != digest(other)


def test_a_written_manifest_is_read_back_as_it_was(cells: Path, tmp_path: Path) -> None:
    manifest = load(cells).manifest
    write_manifest(manifest, tmp_path / "run" / "manifest.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "run" / "manifest.parquet"), manifest)


def test_a_class_folder_that_holds_the_set_again_is_refused(cells: Path) -> None:
    shutil.copytree(cells / "train", cells / "again" / "train")
    shutil.move(cells / "again" / "train", cells / "train" / "train")
    message = refusal(cells)
    assert message.startswith(f"data.train_dir={cells / 'train'}: its folder train has the classes EOSINOPHIL, ")
    assert str(cells / "train" / "train") in message


def test_what_a_user_may_not_see_of_images_is_noted(cells: Path) -> None:
    frames = [Image.new("L", (8, 8), shade) for shade in (0, 90, 180)]
    frames[0].save(cells / "train" / "MONOCYTE" / "moving.gif", save_all=True, append_images=frames[1:])
    dark = np.full((8, 8), 4000, np.uint16)
    Image.fromarray(dark).save(cells / "train" / "NEUTROPHIL" / "deep.tif")
    for split in ("train", "test"):
        shutil.copytree(cells / split / "MONOCYTE", cells / split / "Monocyte")
    notes = load(cells).notes
    assert notes[0] == "the classes MONOCYTE and Monocyte differ in case only"
    assert "2 images have several pages or frames, of which the first is used" in notes[1]
    assert "moving.gif with 3" in notes[1]
    assert "1 image of 16 bits uses 12 of them, so white is 4,095, such as in train/NEUTROPHIL/deep.tif" in notes[2]
    Image.fromarray(dark * 16).save(cells / "train" / "NEUTROPHIL" / "deep.tif")
    assert len(load(cells).notes) == 2
