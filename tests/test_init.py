"""``bloodcell init`` as a user would run it: its output, and that the file it writes can be used."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import run
from data.photographs import copy, save
from pictures import rendered


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two classes: two copies each of eight photographs, whose names say which."""
    root = tmp_path_factory.mktemp("copies")
    rng = np.random.default_rng(0)
    for number, pixels in enumerate(rendered(8)):
        for index in range(2):
            save(root / ("lobed", "round")[number % 2], f"slide{number}_aug{index}", copy(pixels, rng))
    return root


def groups_of(cwd: Path, *overrides: str) -> pd.DataFrame:
    completed = run(["groups", "-cd", "conf", "data=mine", *overrides], cwd=cwd)
    assert completed.returncode == 0, completed.stderr
    return pd.read_csv(cwd / "groups.csv")


def test_one_folder_per_class_becomes_a_configuration_that_takes_its_test_from_it(copies: Path, tmp_path: Path) -> None:
    completed = run(["init", str(copies)], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert "16 of 2 classes, all 320 x 240 pixels" in completed.stdout
    assert "Test        no folder: " in completed.stdout
    assert "bloodcell train -cd conf data=mine\n" in completed.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]
    shown = run(["train", "-cd", "conf", "data=mine", "--cfg", "job", "-p", "data"], cwd=tmp_path).stdout
    assert f"train_dir: {copies.resolve()}\n" in shown
    assert "test_dir: null\n" in shown


def test_file_names_that_give_the_photograph_are_used(copies: Path, tmp_path: Path) -> None:
    completed = run(["init", str(copies)], cwd=tmp_path)
    assert "Photographs 8, by file name" in completed.stdout
    assert sorted(groups_of(tmp_path)["group"].unique()) == [f"slide{number}" for number in range(8)]


def test_file_names_that_disagree_with_the_pixels_are_not_used(copies: Path, tmp_path: Path) -> None:
    shutil.copytree(copies, tmp_path / "mixed")
    (tmp_path / "mixed" / "lobed" / "slide0_aug1.jpeg").rename(tmp_path / "mixed" / "lobed" / "slide99_aug1.jpeg")
    completed = run(["init", "mixed"], cwd=tmp_path)
    assert "Photographs 8, by comparing pixels; file names disagree" in completed.stdout
    assert groups_of(tmp_path)["group"].nunique() == 8


def test_a_sample_of_many_images_is_compared(copies: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "many"
    for number, file in enumerate(sorted(copies.rglob("*.jpeg"))):
        (renamed / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, renamed / file.parent.name / f"{number}.jpeg")
    completed = run(["init", "many", "max_images=5"], cwd=tmp_path)
    assert " of a sample of 5 images, by comparing pixels" in completed.stdout
    assert "groups: recover\n" in (tmp_path / "conf" / "data" / "mine.yaml").read_text(encoding="utf-8")


def test_kaggles_layout_is_detected(bccd: Path, tmp_path: Path) -> None:
    completed = run(["init", str(bccd), "output=own/data/cells.yaml", "max_images=8"], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert "Kaggle's Blood Cell Images: one folder per class in train and test" in completed.stdout
    assert "few photographs in test" in completed.stdout
    completed = run(["groups", "-cd", "own", "data=cells", "data.groups=none"], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert len(pd.read_csv(tmp_path / "groups.csv")) == 60


def test_files_that_cannot_be_used_are_reported_and_left_out(bccd: Path, tmp_path: Path) -> None:
    root = tmp_path / "a, b's (c) [d]"  # as text, whatever Hydra would make of it
    shutil.copytree(bccd / "TRAIN", root / "Training", ignore=lambda _, names: [n for n in names if "MONO" in n])
    shutil.copytree(bccd / "TEST", root / "valid", ignore=lambda _, names: [n for n in names if "MONO" in n])
    (root / "extra").mkdir()
    (root / "Training" / "notes.txt").write_text("from the left microscope")
    (root / "valid" / "NEUTROPHIL" / "torn.jpeg").write_bytes(b"\xff\xd8")
    for file in sorted((root / "Training" / "NEUTROPHIL").iterdir())[1:]:
        file.unlink()
    completed = run(["init", root.name, "max_images=8"], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert "Unreadable  1, left out, for example valid/NEUTROPHIL/torn.jpeg (" in completed.stdout
    assert "Other files 1, not used, for example Training/notes.txt" in completed.stdout
    assert "Not used    extra" in completed.stdout
    assert "Warning: too few photographs of NEUTROPHIL (1) for 2 splits" in completed.stdout
    assert "as many photographs as NEUTROPHIL; use balanced accuracy" in completed.stdout
    shown = run(["train", "-cd", "conf", "data=mine", "--cfg", "job", "-p", "data"], cwd=tmp_path).stdout
    assert "on_bad_image: skip\n" in shown


def test_a_photograph_in_two_splits_is_reported(copies: Path, tmp_path: Path) -> None:
    for side in ("train", "test"):
        shutil.copytree(copies, tmp_path / "set" / side)
    for number, file in enumerate(sorted((tmp_path / "set" / "test").rglob("*.jpeg"))):
        file.rename(file.with_name(f"{number}.jpeg"))
    completed = run(["init", "set"], cwd=tmp_path)
    assert "Warning: 8 photographs have images in more than one split" in completed.stdout


def test_a_file_is_replaced_only_with_overwrite(copies: Path, tmp_path: Path) -> None:
    file = tmp_path / "conf" / "data" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("kept\n")
    completed = run(["init", str(copies)], cwd=tmp_path)
    assert completed.returncode == 2
    assert completed.stderr.startswith("bloodcell: output=conf/data/mine.yaml: exists")
    assert "overwrite=true" in completed.stderr
    assert file.read_text() == "kept\n"
    assert run(["init", str(copies), "overwrite=true"], cwd=tmp_path).returncode == 0
    assert file.read_text(encoding="utf-8").startswith("# Written by `bloodcell init`")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "folder "),
        (["nowhere"], "folder=nowhere: no such folder"),
        (["one"], "folder=one: has only one class (lobed)"),
        (["flat"], "folder=flat: 1 images are not in class folders"),
        (["mixed", "output=mine.yaml"], "output=mine.yaml: must be DIR/data/NAME.yaml, "),
        (["mixed", "output=conf/data/folder.yaml"], "data=folder is one of bloodcell's own choices"),
        (["mixed", "output=/proc/x/data/a.yaml"], "output=/proc/x/data/a.yaml: cannot be written ("),
        (["mixed", "max_imagess=5"], "max_imagess is not a setting of init; did you mean max_images?"),
    ],
)
def test_a_users_error_is_one_line_and_leaves_nothing_behind(
    copies: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    shutil.copytree(copies / "lobed", tmp_path / "one" / "lobed")
    (tmp_path / "flat").mkdir()
    shutil.copy(next(copies.rglob("*.jpeg")), tmp_path / "flat")
    (tmp_path / "mixed").symlink_to(copies)
    completed = run(["init", *words], cwd=tmp_path)
    assert completed.returncode == 2
    (line,) = completed.stderr.splitlines()
    assert message in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flat", "mixed", "one"]


def laid_out(copies: Path, root: Path, place: str) -> str:
    """Copy the images into folders, ``place`` with their class and number; return the name of the set's folder."""
    for number, file in enumerate(sorted(copies.rglob("*.jpeg"))):
        target = root / place.format(label=file.parent.name, number=number // 2, third=number // 2 % 3) / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    return place.partition("/")[0]


@pytest.mark.parametrize(
    ("place", "settings", "words"),
    [
        ("set/fold_{third}/{label}", ["folders: fold/class"], ["split=given"]),
        ("set/patient{number}/{label}", ["folders: group/class", "groups: folder", "group_name: patient"], []),
        ("set/{label}/patient{number}", ["folders: class/group", "groups: folder", "group_name: patient"], []),
    ],
)
def test_folders_of_folds_and_patients_are_recognised_and_the_printed_command_trains(
    copies: Path, tmp_path: Path, place: str, settings: list[str], words: list[str]
) -> None:
    completed = run(["init", laid_out(copies, tmp_path, place)], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr
    written = (tmp_path / "conf" / "data" / "mine.yaml").read_text(encoding="utf-8")
    assert set(settings) <= set(written.splitlines())
    (printed,) = [line.split()[2:] for line in completed.stdout.splitlines() if line.startswith("Train ")]
    assert printed[:1] + printed[4:] == ["train", *words]
    few = [
        "backbone=colour_histogram",
        "head=probe",
        "finetune=none",
        "baselines=[]",
        "explain=none",
        "log_model=false",
    ]
    completed = run([*printed, *few], cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr


def test_the_printed_command_has_the_settings_that_training_needs(copies: Path, tmp_path: Path) -> None:
    for side in ("train", "test"):
        shutil.copytree(copies, tmp_path / "set" / side)
    shutil.rmtree(tmp_path / "set" / "test" / "lobed")
    for file in sorted((tmp_path / "set" / "test").rglob("*.jpeg"))[:-2]:
        file.unlink()
    completed = run(["init", "set"], cwd=tmp_path)
    assert "Warning: training refuses these images without settings: " in completed.stdout
    needed = "data.rare_classes=train_only data.on_shared_groups=drop"
    assert f"bloodcell train -cd conf data=mine {needed}\n" in completed.stdout


def test_a_folder_whose_name_looks_like_a_setting_is_found(copies: Path, tmp_path: Path) -> None:
    shutil.copytree(copies, tmp_path / "d" / "a=b")
    assert run(["init", "d/a=b"], cwd=tmp_path).returncode == 0
