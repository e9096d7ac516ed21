"""Run the commands of the page on your own images, in their order, with less work."""

import re
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest
from commands import REPOSITORY, run
from documents import BLOODCELL, commands_of
from stores import runs_in

PAGE = (REPOSITORY / "docs" / "your-own-images.md").read_text(encoding="utf-8")
COMMANDS = [command.removeprefix(BLOODCELL) for command in commands_of(PAGE)]
SMALL = ["backbone=morphology", "head=probe"]
SMALL_SWEEP = ["backbone=morphology,colour_histogram", "baselines=[majority]"]


def test_the_page_goes_from_a_folder_to_a_verdict():
    jobs = [command.partition(" ")[0] for command in COMMANDS]
    assert list(dict.fromkeys(jobs)) == ["init", "groups", "train", "audit", "compare", "predict"]


@pytest.fixture
def images(bccd: Path, tmp_path: Path) -> Path:
    """Return one folder per class, of the images of both sides; a table lists them, too."""
    folder = tmp_path / "path" / "to" / "images"
    for side in ("TRAIN", "TEST"):
        for file in bccd.glob(f"{side}/*/*"):
            (folder / file.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, folder / file.parent.name / f"{side}{file.name}")
    shutil.copytree(bccd / "TEST", tmp_path / "path" / "to" / "new-images")
    rows = [
        (file.relative_to(tmp_path), file.parent.name, f"patient{index}", index % 2)
        for each in folder.iterdir()
        for index, file in enumerate(sorted(each.iterdir()))
    ]
    pd.DataFrame(rows, columns=["path", "label", "group", "fold"]).to_csv(tmp_path / "cells.csv", index=False)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_command_of_the_page_runs_in_order(images: Path, tmp_path: Path) -> None:
    ids = {}
    for command in COMMANDS:
        words = [ids.get(value, value) for value in re.split(r"(\w*RUN_ID)", command)]
        few = (SMALL_SWEEP if "-m" in command else SMALL) if command.startswith("train") else []
        few_folds = ["split.folds=2"] if "split=group_kfold" in command else []
        n_before = len(runs_in(tmp_path)) if (tmp_path / "mlruns").is_dir() else 0
        completed = run([*shlex.split("".join(words)), *few, *few_folds], cwd=tmp_path, drawn=True)
        assert completed.returncode == 0, f"{command}: {completed.stderr}"
        if command.startswith("train"):
            name = "PARENT_RUN_ID" if "-m" in command else "RUN_ID"
            ids.setdefault(name, runs_in(tmp_path)[n_before].info.run_id)
    assert (tmp_path / "conf" / "data" / "mine.yaml").is_file()
    assert (tmp_path / "audit" / "audit.html").is_file()
