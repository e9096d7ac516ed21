from pathlib import Path

import pandas as pd
import pytest

from bloodcell.data.groups import folder_groups, listed_groups, matched_groups, recovered_groups, single_groups
from bloodcell.data.manifest import ImageSet
from bloodcell.errors import UserError

PATHS = ["TRAIN/A/cell_1_a.png", "TRAIN/A/cell_1_b.png", "TRAIN/B/cell_2.png", "TEST/B/cell_3.png"]


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    manifest = pd.DataFrame(
        {
            "path": PATHS,
            "label": ["A", "A", "B", "B"],
            "source": "",
            "group": "",
            "split": ["train", "train", "train", "test"],
            "sha256": ["0" * 64, "1" * 64, "1" * 64, "2" * 64],
        }
    )
    return ImageSet(root=tmp_path, classes=("A", "B"), manifest=manifest, unreadable=manifest.head(0), other_files=())


def groups_of(images: ImageSet) -> list[str]:
    assert images.manifest["path"].tolist() == PATHS
    return images.manifest["group"].tolist()


def table(folder: Path, text: str) -> Path:
    file = folder / "groups.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_groups_are_recovered_from_the_files_and_their_digests(images, monkeypatch):
    from bloodcell.provenance import recovery as provenance

    def recover(files, sha256s):
        assert files == [images.root / path for path in PATHS]
        assert sha256s == images.manifest["sha256"].tolist()
        return provenance.RecoveredSources(names=["x", "x", "y", "z"], untextured=[False, False, False, True])

    monkeypatch.setattr(provenance, "recover_sources", recover)
    recovered = recovered_groups(images)
    assert groups_of(recovered) == ["x", "x", "y", "z"]
    assert recovered.manifest["untextured"].tolist() == [False, False, False, True]


def test_a_table_names_the_groups_in_any_order_and_may_list_more_than_there_is(images, tmp_path):
    rows = [f"./{PATHS[3]},3,d", "TEST/B/other.png,9,e", f"{PATHS[0]},1,a", f"{PATHS[2]},2,NA", f"{PATHS[1]},1,a"]
    file = table(tmp_path, "\n".join(["path,group,slide", *rows, rows[-1]]))
    assert groups_of(listed_groups(images, file=file, column="group")) == ["1", "1", "2", "3"]
    assert groups_of(listed_groups(images, file=file, column="slide")) == ["a", "a", "NA", "d"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"path,group\n{PATHS[0]},1\n{PATHS[1]},\n",
            f"has no group for 3 of 4 images ({', '.join(PATHS[1:])})",
        ),
        ("path,group\n", f"has no group for 4 of 4 images ({', '.join(PATHS[:3])} and 1 more)"),
        (f"path,group\n{PATHS[0]},1\n{PATHS[0]},2\n", f"has several groups for {PATHS[0]} (1 and 2)"),
        ("path,slide\n", "has no column group; its columns are path, slide; set data.groups_column"),
        ("file,group\n", "has no column path; its columns are file, group"),
        ("", "is not a CSV file (No columns to parse from file)"),
        ("path,group\na,b,c,d\ne\nf,g,h,i,j,k\n", "is not a CSV file"),
    ],
)
def test_an_invalid_table_is_refused_in_one_line(images, tmp_path, text, message):
    file = table(tmp_path, text)
    with pytest.raises(UserError) as refused:
        listed_groups(images, file=file, column="group")
    assert str(refused.value).startswith(f"data.groups_file={file}: {message}")
    assert "\n" not in str(refused.value)


def test_a_table_that_is_not_there_or_no_text_is_refused(images, tmp_path):
    with pytest.raises(UserError, match=r"nowhere.csv: cannot be read \(No such file or directory\); give a CSV file$"):
        listed_groups(images, file="nowhere.csv", column="group")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00,\x01")
    with pytest.raises(UserError, match=r"binary.csv: is not a CSV file"):
        listed_groups(images, file=tmp_path / "binary.csv", column="group")


def test_a_pattern_takes_what_its_first_group_or_the_group_named_group_captures(images):
    assert groups_of(matched_groups(images, pattern=r"cell_(\d)")) == ["1", "1", "2", "3"]
    assert groups_of(matched_groups(images, pattern=r"(TRAIN|TEST)/(?P<group>.)/")) == ["A", "A", "B", "B"]


def test_an_image_that_a_pattern_does_not_match_is_named(images):
    with pytest.raises(UserError) as refused:
        matched_groups(images, pattern=r"_(\d)_")
    assert str(refused.value).startswith(
        f"data.groups_pattern=_(\\d)_: finds no group in the path of 2 of 4 images ({PATHS[2]}, {PATHS[3]}); "
    )


def test_a_pattern_that_captures_nothing_of_an_image_does_not_match_it(images):
    with pytest.raises(UserError, match="finds no group in the path of 3 of 4 images"):
        matched_groups(images, pattern=r"cell_\d(_b)?")


def test_a_folder_or_every_image_can_be_a_group(images):
    assert groups_of(folder_groups(images)) == ["TRAIN/A", "TRAIN/A", "TRAIN/B", "TEST/B"]
    assert groups_of(single_groups(images)) == PATHS
