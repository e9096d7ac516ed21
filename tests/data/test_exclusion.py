"""Images that people have excluded."""

import shutil

import pytest

from bloodcell.data.loading import Policy, load_bccd
from bloodcell.errors import UserError

FIRST, BROKEN = "TRAIN/EOSINOPHIL/_0_0.jpeg", "TEST/MONOCYTE/broken.jpeg"


def excluding(root, file, text, **policy):
    file.write_text(text, encoding="utf-8")
    return load_bccd(root=root, policy=Policy(exclude_file=str(file), **policy))


def test_excluded_images_are_left_out_and_listed_even_if_they_are_unreadable(bccd, tmp_path):
    root = shutil.copytree(bccd, tmp_path / "images")
    (root / BROKEN).write_bytes(b"no image")
    before = load_bccd(root=bccd).manifest
    found = excluding(root, tmp_path / "out.csv", f"path;reason\n./{FIRST};no cell\n{BROKEN};\n{FIRST};no cell\n")
    assert set(before["path"]) - set(found.manifest["path"]) == {FIRST}
    assert dict(found.excluded.to_numpy()) == {FIRST: "no cell", BROKEN: "listed in out.csv"}
    assert found.unreadable.empty


def test_an_image_of_a_class_that_is_left_out_is_known(bccd, tmp_path):
    found = excluding(bccd, tmp_path / "out.csv", f"path\n{FIRST}\n", without_classes=("EOSINOPHIL",))
    assert found.excluded.empty
    assert "EOSINOPHIL" not in found.classes


def test_a_class_of_which_every_test_image_is_excluded_is_refused(bccd, tmp_path):
    paths = [path.relative_to(bccd).as_posix() for path in (bccd / "TEST" / "MONOCYTE").iterdir()]
    with pytest.raises(UserError, match="has no class MONOCYTE"):
        excluding(bccd, tmp_path / "out.csv", "\n".join(["path", *paths]))


@pytest.mark.parametrize(
    ("text", "message"),
    [("path\nnowhere.jpeg\n", "nowhere.jpeg: no image of the set"), (f"image\n{FIRST}\n", "has no column path")],
)
def test_what_cannot_be_used_is_refused_in_one_line(bccd, tmp_path, text, message):
    with pytest.raises(UserError) as refused:
        excluding(bccd, tmp_path / "out.csv", text)
    assert str(refused.value).startswith("data.exclude_file=")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
