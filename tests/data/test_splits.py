import io
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bloodcell.data.loading import load_folders
from bloodcell.data.splits import (
    group_holdout,
    group_kfold,
    limit_per_class,
    notebook_split,
    random_split,
    same_images,
)
from bloodcell.errors import UserError


def manifest_of(train: dict[str, int], *, test: int = 3) -> pd.DataFrame:
    """Make a manifest with so many training images of each class, and ``test`` test images of each."""
    rows = [
        (f"{split}/{label}/{number}.png", label, f"{split}{label}{number}", split)
        for split, counts in (("test", dict.fromkeys(train, test)), ("train", train))
        for label, count in counts.items()
        for number in range(count)
    ]
    table = pd.DataFrame(rows, columns=["path", "label", "group", "split"])
    return table.assign(sha256=[f"{hash_:08x}" for hash_ in np.random.default_rng(0).permutation(len(table))])


def paths(manifest: pd.DataFrame, split: str, label: str | None = None) -> list[str]:
    chosen = manifest["split"] == split
    return manifest.loc[chosen if label is None else chosen & (manifest["label"] == label), "path"].tolist()


def assert_only_training_images_became_validation(before: pd.DataFrame, after: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(after.drop(columns="split"), before.drop(columns="split"))
    changed = after["split"] != before["split"]
    assert (before.loc[changed, "split"] == "train").all()
    assert (after.loc[changed, "split"] == "val").all()


COUNTS = st.dictionaries(st.sampled_from("ABCDE"), st.integers(10, 40), min_size=2)
FRACTIONS = st.floats(0.2, 0.8)


@settings(max_examples=40)
@given(counts=COUNTS, fraction=FRACTIONS, seed=st.integers(0, 2**32 - 1))
def test_a_random_split_moves_the_fraction_of_each_class_and_loses_nothing(
    counts: dict[str, int], fraction: float, seed: int
) -> None:
    before = manifest_of(counts)
    after = random_split(before, fraction=fraction, seed=seed)
    assert_only_training_images_became_validation(before, after)
    taken = len(paths(after, "val"))
    assert abs(taken - fraction * sum(counts.values())) < 1
    for label, count in counts.items():
        assert abs(len(paths(after, "val", label)) - taken * count / sum(counts.values())) < 1 + 1e-9


@settings(max_examples=40)
@given(counts=COUNTS, fraction=FRACTIONS)
def test_a_notebook_split_moves_the_fraction_of_each_class_and_loses_nothing(
    counts: dict[str, int], fraction: float
) -> None:
    before = manifest_of(counts)
    after = notebook_split(before, fraction=fraction)
    assert_only_training_images_became_validation(before, after)
    for label, count in counts.items():
        assert len(paths(after, "val", label)) == int(fraction * count)


def test_a_split_leaves_the_manifest_that_it_was_given_as_it_was() -> None:
    manifest = manifest_of({"A": 10, "B": 10})
    before = manifest.copy()
    random_split(manifest, fraction=0.2, seed=0)
    notebook_split(manifest, fraction=0.2)
    pd.testing.assert_frame_equal(manifest, before)


def test_one_seed_gives_one_random_split() -> None:
    manifest = manifest_of({"A": 20, "B": 30})
    splits = [tuple(paths(random_split(manifest, fraction=0.2, seed=seed), "val")) for seed in (0, 1, 2, 0)]
    assert splits[0] == splits[3]
    assert len(set(splits)) == 3


@pytest.mark.parametrize(
    ("counts", "fraction", "named"),
    [
        ({"A": 20, "B": 1}, 0.2, ""),
        ({"A": 4, "B": 4, "C": 4}, 0.1, ""),
        ({"A": 100, "B": 2}, 0.2, "B"),
        ({"A": 100, "B": 2}, 0.9, "B"),
    ],
)
def test_a_random_split_refuses_to_leave_a_class_on_one_side(
    counts: dict[str, int], fraction: float, named: str
) -> None:
    with pytest.raises(UserError) as refused:
        random_split(manifest_of(counts), fraction=fraction, seed=0)
    message = str(refused.value)
    assert message.startswith(f"split.fraction={fraction}: ")
    assert named in message
    assert "\n" not in message


def test_a_notebook_split_refuses_to_leave_validation_without_a_class() -> None:
    with pytest.raises(UserError) as refused:
        notebook_split(manifest_of({"A": 20, "B": 4}), fraction=0.2)
    assert str(refused.value) == (
        "split.fraction=0.2: takes 0 of the 4 images of class B; add images or change the fraction"
    )


def keras_validation(folder: Path, fraction: float) -> list[str]:
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    generator = ImageDataGenerator(validation_split=fraction)
    return [Path(name).as_posix() for name in generator.flow_from_directory(folder, subset="validation").filenames]


def notebook_validation(root: Path, fraction: float) -> list[str]:
    images = load_folders(folders={split: root / split for split in ("train", "test")}, levels="class")
    return [path.removeprefix("train/") for path in paths(notebook_split(images.manifest, fraction=fraction), "val")]


@pytest.mark.parametrize("fraction", [0.2, 0.25, 0.5])
def test_the_notebook_split_is_the_one_of_keras(bccd: Path, tmp_path: Path, fraction: float) -> None:
    shutil.copytree(bccd / "TRAIN", tmp_path / "train")
    shutil.copytree(bccd / "TEST", tmp_path / "test")
    folder = tmp_path / "train" / "MONOCYTE"
    for file, name in zip(
        sorted(folder.iterdir()),
        ["10.jpeg", "9.JPEG", "A.jpg", "a b/1.jpeg", "a-b/1.jpeg", "a/1.jpeg", "a/b/1.jpeg", "Über.jpeg", "-.jpeg"],
        strict=False,
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        file.rename(folder / name)
    expected = keras_validation(tmp_path / "train", fraction)
    assert len(expected) == 4 * int(fraction * 10)
    assert notebook_validation(tmp_path, fraction) == expected


FOLDERS = st.sampled_from(["", "a", "A", "a-b", "a b", "a/b", "é"])
STEMS = st.text("aB01-_ .é(", min_size=1, max_size=4).filter(lambda name: not name.startswith("."))
SUFFIXES = st.sampled_from([".png", ".PNG", ".jpg"])
NAMES = st.lists(
    st.builds(lambda folder, stem, suffix: str(Path(folder, stem + suffix)), FOLDERS, STEMS, SUFFIXES),
    unique_by=str.lower,
    min_size=4,
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(names=NAMES, fraction=st.floats(0.25, 0.75))
def test_the_notebook_split_is_the_one_of_keras_whatever_the_names(names: list[str], fraction: float) -> None:
    with tempfile.TemporaryDirectory() as root:
        for split, label in (("train", "A"), ("train", "B"), ("test", "A"), ("test", "B")):
            fill(Path(root) / split / label, names)
        assert notebook_validation(Path(root), fraction) == keras_validation(Path(root) / "train", fraction)


def fill(folder: Path, names: Iterable[str]) -> None:
    file = io.BytesIO()
    Image.new("RGB", (1, 1)).save(file, "PNG")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(file.getvalue())


def test_a_limit_applies_to_each_class_in_each_split() -> None:
    manifest = manifest_of({"A": 9, "B": 4, "C": 2}, test=5)
    few = limit_per_class(manifest, limit=4)
    assert few.groupby(["split", "label"]).size().to_dict() == {
        **{("train", "A"): 4, ("train", "B"): 4, ("train", "C"): 2},
        **{("test", label): 4 for label in "ABC"},
    }
    assert few.index.tolist() == list(range(len(few)))
    assert few["path"].tolist() == [path for path in manifest["path"] if path in set(few["path"])]


def test_a_limit_chooses_the_same_images_in_whatever_order_they_come() -> None:
    manifest = manifest_of({"A": 9, "B": 7})
    shuffled = manifest.sample(frac=1, random_state=1)
    assert set(limit_per_class(shuffled, limit=4)["path"]) == set(limit_per_class(manifest, limit=4)["path"])
    assert set(limit_per_class(manifest, limit=3)["path"]) < set(limit_per_class(manifest, limit=4)["path"])


def test_overfitting_uses_the_same_few_training_images_everywhere() -> None:
    manifest = manifest_of({"A": 9, "B": 7, "C": 5})
    few = same_images(random_split(manifest, fraction=0.3, seed=0), n_images=7)
    train = paths(few, "train")
    assert sorted(Path(path).parent.as_posix() for path in train) == [
        *["train/A", "train/A", "train/B", "train/B", "train/C", "train/C"]
    ]
    assert paths(few, "val") == train
    assert paths(few, "test") == train


def test_overfitting_refuses_fewer_images_than_classes() -> None:
    with pytest.raises(UserError, match=r"^debug.overfit_images=2: .* 3 classes"):
        same_images(manifest_of({"A": 9, "B": 7, "C": 5}), n_images=2)


# Rows of (group, label, split): groups of any size, with one label or several, in training, test or both.
ROWS = st.lists(
    st.tuples(st.integers(0, 14), st.sampled_from("AB"), st.sampled_from(["train", "train", "test"])), max_size=40
)


def manifest_with_groups(rows: list[tuple[int, str, str]], *, at_least: int) -> pd.DataFrame:
    """Make a manifest of these rows, and of ``at_least`` more groups of each class."""
    sure = [(f"{label}{number}", label, "train") for label in "AB" for number in range(at_least)]
    table = pd.DataFrame([*((str(group), *rest) for group, *rest in rows), *sure], columns=["group", "label", "split"])
    names = [f"{number}.png" for number in range(len(table))]
    return table.assign(path=names, sha256=names)


def assert_no_training_group_is_divided(after: pd.DataFrame) -> None:
    sides = after[after["split"] != "test"].groupby("group")["split"].nunique()
    assert (sides == 1).all()


def assert_every_class_is_on_both_sides(after: pd.DataFrame) -> None:
    for split in ("train", "val"):
        assert set(after.loc[after["split"] == split, "label"]) == {"A", "B"}


@settings(max_examples=100, deadline=None)
@given(rows=ROWS, fraction=FRACTIONS, seed=st.integers(0, 2**32 - 1))
def test_a_group_holdout_divides_no_group_of_any_manifest(
    rows: list[tuple[int, str, str]], fraction: float, seed: int
) -> None:
    before = manifest_with_groups(rows, at_least=2)
    after = group_holdout(before, fraction=fraction, seed=seed)
    assert_only_training_images_became_validation(before, after)
    assert_no_training_group_is_divided(after)
    assert_every_class_is_on_both_sides(after)
    shuffled = group_holdout(before.sample(frac=1, random_state=seed), fraction=fraction, seed=seed)
    pd.testing.assert_frame_equal(shuffled.sort_index(), after)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, folds=st.integers(2, 4), repeats=st.integers(1, 3), seed=st.integers(0, 2**32 - 1))
def test_group_folds_divide_no_group_of_any_manifest_and_validate_on_every_image_once_in_each_repeat(
    rows: list[tuple[int, str, str]], folds: int, repeats: int, seed: int
) -> None:
    before = manifest_with_groups(rows, at_least=folds)
    parts = group_kfold(before, folds=folds, repeats=repeats, seed=seed)
    assert len(parts) == folds * repeats
    for part in parts:
        assert_only_training_images_became_validation(before, part)
        assert_no_training_group_is_divided(part)
        assert_every_class_is_on_both_sides(part)
    for repeat in range(repeats):
        validated = sum((part["split"] == "val").astype(int) for part in parts[repeat * folds : (repeat + 1) * folds])
        assert (validated == (before["split"] == "train")).all()
    shuffled = group_kfold(before.sample(frac=1, random_state=seed), folds=folds, repeats=repeats, seed=seed)
    for part, same in zip(parts, shuffled, strict=True):
        pd.testing.assert_frame_equal(same.sort_index(), part)


@settings(max_examples=40)
@given(counts=st.dictionaries(st.sampled_from("ABC"), st.integers(2, 30), min_size=2), fraction=FRACTIONS)
def test_a_group_holdout_takes_the_fraction_of_each_classs_groups(counts: dict[str, int], fraction: float) -> None:
    after = group_holdout(manifest_of(counts), fraction=fraction, seed=0)
    for label, count in counts.items():
        taken = len(paths(after, "val", label))
        assert 1 <= taken <= count - 1
        assert abs(taken - fraction * count) <= 1


def test_one_seed_gives_one_group_split_and_another_seed_another() -> None:
    manifest = manifest_of({"A": 20, "B": 30})
    splits = [tuple(paths(group_holdout(manifest, fraction=0.2, seed=seed), "val")) for seed in (0, 1, 2, 0)]
    assert splits[0] == splits[3]
    assert len(set(splits)) == 3
    folds = [tuple(paths(group_kfold(manifest, folds=3, repeats=2, seed=seed)[0], "val")) for seed in (0, 1, 0)]
    assert folds[0] == folds[2] != folds[1]
    one, other = (paths(group_kfold(manifest, folds=3, repeats=2, seed=0)[fold], "val") for fold in (0, 3))
    assert one != other


def patients(*, n: int = 20, classes: str = "ABCD", seed: int = 0) -> pd.DataFrame:
    """Make training images of patients, each with cells of several classes in proportions of its own."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"patient{patient}/{number}.png", rng.choice(list(classes), p=proportions), f"patient{patient}", "train")
        for patient in range(n)
        for proportions in [rng.dirichlet(np.ones(len(classes)))]
        for number in range(rng.integers(10, 40))
    ]
    table = pd.DataFrame(rows, columns=["path", "label", "group", "split"])
    return table.assign(sha256=[f"{number:08x}" for number in range(len(table))])


def test_patients_with_cells_of_several_classes_are_split_whole_with_every_class_on_both_sides() -> None:
    manifest = patients()
    folds = group_kfold(manifest, folds=5, repeats=2, seed=0)
    assert len(folds) == 10
    for fold in (*folds, group_holdout(manifest, fraction=0.3, seed=0), group_holdout(manifest, fraction=0.7, seed=0)):
        val, train = (fold[fold["split"] == split] for split in ("val", "train"))
        assert not set(val["group"]) & set(train["group"])
        assert set(val["label"]) == set(train["label"]) == set("ABCD")
    for repeat in (folds[:5], folds[5:]):
        held_out = pd.concat([fold.loc[fold["split"] == "val", "path"] for fold in repeat])
        assert sorted(held_out) == sorted(manifest["path"])
    again = group_kfold(manifest.sample(frac=1, random_state=1), folds=5, repeats=2, seed=0)
    assert [sorted(paths(fold, "val")) for fold in again] == [sorted(paths(fold, "val")) for fold in folds]


def test_every_class_of_mixed_groups_stays_on_both_sides_of_a_holdout() -> None:
    rows = [("0", "A"), ("0", "B"), ("0", "B"), ("1", "A"), ("A0", "A"), ("A1", "A"), ("B0", "B"), ("B1", "B")]
    table = pd.DataFrame(rows, columns=["group", "label"]).assign(split="train", path=list("abcdefgh"), sha256="0")
    for seed in range(20):
        for fraction in (0.25, 0.75):
            assert_every_class_is_on_both_sides(group_holdout(table, fraction=fraction, seed=seed))
        for fold in group_kfold(table, folds=3, repeats=1, seed=seed):
            assert set(fold.loc[fold["split"] == "train", "label"]) == {"A", "B"}


def test_a_class_of_too_few_patients_is_refused_with_counts_or_kept_in_training() -> None:
    manifest = patients()
    rare = manifest.assign(label=manifest["label"].where(manifest["path"] != "patient3/0.png", "R"))
    with pytest.raises(UserError) as refused:
        group_kfold(rare, folds=5, repeats=1, seed=0)
    assert "class R is in 1 (groups by class: " in str(refused.value)
    assert "data.rare_classes=train_only" in str(refused.value)
    for fold in group_kfold(rare, folds=5, repeats=1, seed=0, rare_classes="train_only"):
        assert set(fold.loc[fold["group"] == "patient3", "split"]) == {"train"}
    kept = group_holdout(rare, fraction=0.2, seed=0, rare_classes="train_only")
    assert set(kept.loc[kept["label"] == "R", "split"]) == {"train"}


def test_too_few_groups_are_refused_with_the_counts_of_every_class() -> None:
    manifest = manifest_of({"A": 7, "B": 3, "C": 1})
    for split, setting in (
        (lambda: group_kfold(manifest, folds=3, repeats=1, seed=0), "split.folds=3: "),
        (lambda: group_holdout(manifest, fraction=0.2, seed=0), "split=group_holdout: "),
    ):
        with pytest.raises(UserError) as refused:
            split()
        assert str(refused.value).startswith(setting)
        assert "class C is in 1 (groups by class: A 7, B 3, C 1)" in str(refused.value)
