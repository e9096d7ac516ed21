"""``bloodcell audit`` as a user would run it, on sets with known faults."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import run
from data.photographs import copy, save
from pictures import DATA
from PIL import Image
from stores import artifacts_of, runs_in

from bloodcell.smears import render_photograph

CLASSES = {"EOSINOPHIL": 13, "NEUTROPHIL": 30}


@pytest.fixture(scope="module")
def make(images_kind):
    """Return what saves copies of photographs of two classes: a third of each in test, the others in training."""

    def save_copies(root: Path, *, copies: int) -> Path:
        rng = np.random.default_rng(0)
        for label, n in CLASSES.items():
            for number, pixels in enumerate(photographs_of(label, n, images_kind)):
                folder = root / ("TEST" if number % 3 == 0 else "TRAIN") / label
                for index in range(copies):
                    save(folder, f"{number:02}-{index}", copy(pixels, rng))
        return root

    return save_copies


def photographs_of(label: str, n: int, images_kind: str) -> list[np.ndarray]:
    if images_kind == "rendered":
        return [render_photograph(label, slide=3_000 + number, seed=0).image for number in range(n)]
    # Some of them are there twice.
    different = {file.read_bytes(): file for file in sorted(Path(DATA, "TEST_SIMPLE", label).iterdir())}
    return [np.asarray(Image.open(file).convert("RGB")) for file in sorted(different.values())[:n]]


def audit(root: Path | str, folder: Path, *overrides: str, drawn: bool = False):
    completed = run(["audit", "data=bccd", f"data.root={root}", "output=page", *overrides], cwd=folder, drawn=drawn)
    return completed, json.loads((folder / "page" / "audit.json").read_text())


@pytest.fixture(scope="module")
def sound(tmp_path_factory, make):
    folder = tmp_path_factory.mktemp("sound")
    completed, data = audit(make(folder / "cells", copies=2), folder, "fail_on=warning")
    return completed, data, folder


@pytest.fixture(scope="module")
def planted(tmp_path_factory, make):
    """A copy across splits, a copy in the wrong class, a class photographed darker, and two text files."""
    folder = tmp_path_factory.mktemp("planted")
    root = make(folder / "cells", copies=3)
    train, test = root / "TRAIN", root / "TEST"
    for file in train.glob("EOSINOPHIL/*"), test.glob("EOSINOPHIL/*"):
        for path in file:
            Image.fromarray((np.asarray(Image.open(path)) * 0.85).astype(np.uint8)).save(path, quality=90)
    across = sorted(train.glob("NEUTROPHIL/*-0.jpeg"))[0]
    shutil.move(across, test / "NEUTROPHIL" / across.name)
    confused = sorted(train.glob("NEUTROPHIL/*-1.jpeg"))[5]
    shutil.move(confused, train / "EOSINOPHIL" / confused.name)
    (train / "NEUTROPHIL" / "notes.txt").write_text("to be looked at")
    (train / "NEUTROPHIL" / "text.jpeg").write_text("no image")
    completed, data = audit(root, folder, "fail_on=error", drawn=True)
    return completed, data, folder, across, confused


def codes(data, *severities):
    return {finding["code"] for finding in data["findings"] if finding["severity"] in severities}


def test_a_sound_set_is_accused_of_nothing(sound):
    completed, data, _ = sound
    assert codes(data, "error", "warning") == set()
    assert completed.returncode == 0, completed.stderr
    assert {"shared-photographs", "conflicting-labels", "drift", "splits-differ", "background-shortcut"} <= {
        finding["code"] for finding in data["clear"]
    }


def test_every_planted_fault_is_found_and_nothing_else_is_accused(planted):
    completed, data, _, across, confused = planted
    assert codes(data, "error", "warning") == {
        *("shared-photographs", "conflicting-labels", "background-shortcut", "unreadable-images", "other-files")
    }
    found = {finding["code"]: finding for finding in data["findings"]}
    (pair,) = found["shared-photographs"]["rows"]
    assert pair["test"] == f"TEST/NEUTROPHIL/{across.name}"
    assert pair["train"].startswith(f"TRAIN/NEUTROPHIL/{across.name.removesuffix('-0.jpeg')}-")
    (row,) = found["conflicting-labels"]["rows"]
    assert row == {"path": f"TRAIN/EOSINOPHIL/{confused.name}", "label": "EOSINOPHIL", "other_copies": "NEUTROPHIL"}
    assert found["unreadable-images"]["rows"] == [{"path": "TRAIN/NEUTROPHIL/text.jpeg", "reason": "not an image"}]
    assert found["other-files"]["rows"] == [{"path": "TRAIN/NEUTROPHIL/notes.txt"}]
    assert "EOSINOPHIL is darker" in found["background-shortcut"]["what"]
    assert completed.returncode == 1
    (line,) = completed.stderr.splitlines()[-1:]
    assert "fail_on=error" in line
    assert "shared-photographs" in line


def test_a_file_with_a_wrong_ending_is_found(tmp_path, make):
    root = make(tmp_path / "cells", copies=1)
    Image.fromarray(render_photograph("NEUTROPHIL", slide=4_000, seed=0).image).save(
        root / "TRAIN" / "NEUTROPHIL" / "really.png", format="BMP"
    )
    _, data = audit(root, tmp_path)
    (finding,) = [each for each in data["findings"] if each["code"] == "wrong-endings"]
    assert finding["rows"] == [{"path": "TRAIN/NEUTROPHIL/really.png", "format": "BMP"}]


def test_the_page_is_complete_and_self_contained(planted):
    _, data, folder, *_ = planted
    page = (folder / "page" / "audit.html").read_text()
    markdown = (folder / "page" / "audit.md").read_text()
    for finding in (*data["findings"], *data["clear"]):
        assert f"<code>{finding['code']}</code>" in page
        assert finding["what"] in markdown
        assert all((folder / "page" / picture).is_file() for picture in finding["pictures"])
    assert re.findall(r'(?:src|href)="(?!data:image/png;base64,|#)', page) == []
    anchors = set(re.findall(r' id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= anchors
    assert all(alt for alt in re.findall(r'<img [^>]*alt="([^"]*)"', page))


def test_an_audit_is_an_mlflow_run_with_its_page(planted):
    _, data, folder, *_ = planted
    (tracked,) = runs_in(folder)
    assert tracked.info.status == "FINISHED"
    assert tracked.data.metrics["findings/error"] == data["counts"]["error"]
    assert tracked.data.tags["job"] == "audit"
    assert {"audit.html", "audit.md", "audit.json", "audit_pictures"} <= {
        path.name for path in artifacts_of(tracked).iterdir()
    }


def test_an_audit_is_reproducible(sound, tmp_path):
    _, data, folder = sound
    _, again = audit(folder / "cells", tmp_path)
    assert again == data


def test_unknown_groups_are_reported(bccd, tmp_path):
    _, data = audit(f'"{bccd}"', tmp_path, "data.groups=none")
    assert "photographs-unknown" in codes(data, "warning")


def test_only_what_an_audit_wrote_is_kept_and_names_are_shown_as_they_are(bccd, tmp_path):
    shutil.copytree(bccd, tmp_path / "cells [b]")
    for split in ("TRAIN", "TEST"):
        shutil.move(tmp_path / "cells [b]" / split / "MONOCYTE", tmp_path / "cells [b]" / split / "[red]A|B<i>")
    (tmp_path / "private.txt").write_text("mine")
    completed = run(
        ["audit", "data=bccd", f'data.root="{tmp_path}/cells [b]"', "data.groups=none", "output=."], cwd=tmp_path
    )
    assert completed.returncode == 0, completed.stderr
    assert "Audit of cells [b]" in completed.stdout
    (tracked,) = runs_in(tmp_path)
    assert not list(artifacts_of(tracked).rglob("private.txt"))
    assert "[red]A|B&lt;i&gt;" in (tmp_path / "audit.html").read_text()
    rows = [line for line in (tmp_path / "audit.md").read_text().splitlines() if line.startswith("| training |")]
    assert any(r"\[red\]A\|B\<i\>" in row for row in rows)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["output=/proc/nowhere"], "output=/proc/nowhere"),
        (["fail_on=never_ever"], "fail_on"),
        (["-m", "seed=1,2"], "-m: "),
    ],
)
def test_a_users_error_is_one_line(bccd, tmp_path, wrong, message):
    completed = run(["audit", "data=bccd", f"data.root={bccd}", *wrong], cwd=tmp_path)
    assert completed.returncode == 2
    (line,) = completed.stderr.splitlines()
    assert message in line
    assert list(tmp_path.iterdir()) == []
