"""Labels that people have corrected."""

import pytest
from commands import run, small
from stores import runs_in

from bloodcell.data.labels import correct_labels
from bloodcell.data.loading import load_bccd
from bloodcell.errors import UserError

FIRST, SECOND = "TRAIN/EOSINOPHIL/_0_0.jpeg", "TRAIN/EOSINOPHIL/_1_0.jpeg"


def test_a_run_with_corrected_labels_says_so(bccd, tmp_path):
    (tmp_path / "labels.csv").write_text(f"path,label\n{FIRST},MONOCYTE\n{SECOND},EOSINOPHIL\n")
    completed = run(["train", *small(bccd), "data.labels_file=labels.csv"], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert "note: 1 label of 60 changed by labels.csv" in completed.stderr
    (only,) = runs_in(tmp_path)
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
