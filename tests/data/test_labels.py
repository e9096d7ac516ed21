"""Labels that people have corrected."""

import pytest
from commands import run, small
from stores import artifacts_of, runs_in

from bloodcell.data.labels import correct_labels
from bloodcell.data.loading import load_bccd
from bloodcell.errors import UserError

FIRST, SECOND, THIRD = (f"TRAIN/EOSINOPHIL/_{number}_0.jpeg" for number in range(3))


def test_a_run_says_which_labels_were_corrected_and_which_images_excluded(bccd, tmp_path):
    (tmp_path / "labels.csv").write_text(f"path,label\n{FIRST},MONOCYTE\n{SECOND},EOSINOPHIL\n")
    (tmp_path / "exclude.csv").write_text(f"path,reason\n{SECOND},no cell\n{THIRD},\n")
    files = ["data.labels_file=labels.csv", "data.exclude_file=exclude.csv"]
    completed = run(["train", *small(bccd), *files], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert "note: 1 label of 58 changed by labels.csv" in completed.stderr
    assert "Excluded by data.exclude_file: 2, listed in the run." in completed.stdout
    (only,) = runs_in(tmp_path)
    assert (only.data.params["images.excluded"], only.data.params["images.unreadable"]) == ("2", "0")
    listed = (artifacts_of(only) / "excluded_images.csv").read_text(encoding="utf-8")
    assert listed == f"path,reason\n{SECOND},no cell\n{THIRD},listed in exclude.csv\n"
    assert (only.data.tags["labels_file"], only.data.tags["labels_changed"]) == ("labels.csv", "1")


def test_the_manifest_has_the_labels_before_and_after(bccd, tmp_path):
    file = tmp_path / "labels.csv"
    file.write_text(f"path;label\n./{FIRST};MONOCYTE\n")
    before = load_bccd(root=bccd)
    after = correct_labels(before, file).manifest.set_index("path")
    assert after.loc[FIRST, ["label", "label_before"]].tolist() == ["MONOCYTE", "EOSINOPHIL"]
    others = after.drop(index=FIRST)
    assert others["label"].equals(others["label_before"].rename("label"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"path,label\n{FIRST},MONOCYT\n", "'MONOCYT' is no class; the classes are EOSINOPHIL"),
        ("path,label\nnowhere.jpeg,MONOCYTE\n", "nowhere.jpeg: no image of the set"),
        (f"path,label\n{FIRST},MONOCYTE\n{FIRST},NEUTROPHIL\n", f"has several labels for {FIRST}"),
        (f"path,class\n{FIRST},MONOCYTE\n", "has no column label"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(bccd, tmp_path, text, message):
    file = tmp_path / "labels.csv"
    file.write_text(text)
    with pytest.raises(UserError) as refused:
        correct_labels(load_bccd(root=bccd), file)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
