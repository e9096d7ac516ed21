"""How validation images are taken from the training images, and test images where they have no folder of their own.

Every split turns a manifest into one, or into one for each fold, in which some rows of ``train`` have become ``val``;
the test rows are never touched, but by `group_test`, which makes them. `group_holdout` and `group_kfold` take whole
groups. `random_split` and `notebook_split` look at files: copies of one photograph can be on both sides, so they leak.
"""

from collections.abc import Iterable
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
from sklearn.model_selection import RepeatedStratifiedKFold, train_test_split

from bloodcell.errors import UserError


def group_holdout(manifest: pd.DataFrame, *, fraction: float, seed: int) -> pd.DataFrame:
    """Take a random fraction of each class's groups, each with all its training images.

    A group whose images have several labels counts for its most frequent one.

    Parameters
    ----------
    manifest
        As in `bloodcell.data.manifest.ImageSet`.
    fraction
        Share of each class's groups, between 0 and 1; rounded, but at least one is taken and one left.
    seed
        Same seed and images, same split, whatever the order of the rows.

    Raises
    ------
    UserError
        If a class has fewer than two groups.
    """
    taken = _some_groups(manifest, fraction=fraction, seed=seed, setting="split=group_holdout")
    return _groups_as_validation(manifest, taken)


def group_test(manifest: pd.DataFrame, *, fraction: float, seed: int) -> pd.DataFrame:
    """Take a random fraction of each class's groups for testing, each with all its training images.

    Chosen as `group_holdout` chooses, for a set that has no test images of its own.

    Parameters
    ----------
    manifest
        As in `bloodcell.data.manifest.ImageSet`, without test rows.
    fraction
        Share of each class's groups, between 0 and 1; rounded, but at least one is taken and one left.
    seed
        Same seed and images, same test set, whatever the order of the rows.

    Raises
    ------
    UserError
        If a class has fewer than two groups.
    """
    taken = _some_groups(manifest, fraction=fraction, seed=seed, setting="data.test_dir=null")
    return _groups_as(manifest, taken, split="test")


def group_kfold(manifest: pd.DataFrame, *, folds: int, repeats: int, seed: int) -> list[pd.DataFrame]:
    """Make folds of whole groups, each class's groups spread evenly over them.

    A group whose images have several labels counts for its most frequent one.

    Parameters
    ----------
    manifest
        As in `bloodcell.data.manifest.ImageSet`.
    folds
        How many, at least 2.
    repeats
        How many times, each with folds of its own.
    seed
        Same seed and images, same folds, whatever the order of the rows.

    Returns
    -------
    list of DataFrame
        ``folds * repeats`` manifests, repeat after repeat; in each repeat every training image is in validation once.

    Raises
    ------
    UserError
        If a class has fewer groups than there are folds.
    """
    groups = _training_groups(manifest)
    counts = _groups_per_class(manifest, groups)
    if counts.min() < folds:
        raise UserError(
            f"split.folds={folds}: each class needs a group for every fold, and {_fewest(counts)}; "
            "lower split.folds or add images of other photographs"
        )
    splitter = RepeatedStratifiedKFold(n_splits=folds, n_repeats=repeats, random_state=seed)
    return [_groups_as_validation(manifest, groups.index[taken]) for _, taken in splitter.split(groups, groups)]


def random_split(manifest: pd.DataFrame, *, fraction: float, seed: int) -> pd.DataFrame:
    """Take a random fraction of each class's training images.

    Parameters
    ----------
    manifest
        As in `bloodcell.data.manifest.ImageSet`.
    fraction
        Share of the training images, between 0 and 1.
    seed
        Same seed and manifest, same split.

    Raises
    ------
    UserError
        If the images are too few to put one of each class on both sides.
    """
    labels = manifest.loc[manifest["split"] == "train", "label"]
    try:
        kept, taken = train_test_split(
            labels.index, test_size=fraction, random_state=seed, shuffle=True, stratify=labels
        )
    except ValueError as error:
        raise UserError(
            f"split.fraction={fraction}: too few training images for it ({error}); add images or change the fraction"
        ) from error
    # Stratifying rounds, so all images of a small class can come to lie on one side.
    for label, count in labels.value_counts(sort=False).items():
        if label not in set(labels[kept]) & set(labels[taken]):
            raise UserError(
                f"split.fraction={fraction}: puts the {count} training images of class {label} on one side; "
                "add images or change the fraction"
            )
    return _as_validation(manifest, taken)


def notebook_split(manifest: pd.DataFrame, *, fraction: float) -> pd.DataFrame:
    """Take the first fraction of each class's sorted file names.

    As ``keras.preprocessing.image.ImageDataGenerator(validation_split=fraction)`` does it in ``flow_from_directory``:
    files sorted by folder and name, the first ``int(fraction * n)`` of each class. (Keras takes hidden files for
    images too, and GIF and WebP for none; of such a folder its images are others.)

    Raises
    ------
    UserError
        If a class has too few images for its fraction to hold one.
    """
    train = manifest[manifest["split"] == "train"]
    taken: list[int] = []
    for label, rows in train.groupby("label"):
        in_order = rows["path"].map(_folder_and_name).sort_values().index.tolist()
        count = int(fraction * len(in_order))
        if not 0 < count < len(in_order):
            raise UserError(
                f"split.fraction={fraction}: takes {count} of the {len(in_order)} images of class {label}; "
                "add images or change the fraction"
            )
        taken += in_order[:count]
    return _as_validation(manifest, taken)


def limit_per_class(manifest: pd.DataFrame, *, limit: int) -> pd.DataFrame:
    """Keep at most ``limit`` images of each class in each split.

    Chosen by their digests: without pattern, but the same on every machine.
    """
    ranks = manifest.sort_values(["sha256", "path"]).groupby(["split", "label"]).cumcount()
    return manifest[ranks.reindex(manifest.index) < limit].reset_index(drop=True)


def same_images(manifest: pd.DataFrame, *, n_images: int) -> pd.DataFrame:
    """Make training, validation and test of the same few training images, equally many of each class.

    For overfitting on purpose, to see whether a model can learn at all.

    Raises
    ------
    UserError
        If ``n_images`` cannot hold one of each class.
    """
    train = manifest[manifest["split"] == "train"]
    n_classes = train["label"].nunique()
    if n_images < n_classes:
        raise UserError(f"debug.overfit_images={n_images}: give at least one image for each of the {n_classes} classes")
    few = limit_per_class(train, limit=n_images // n_classes)
    return pd.concat([few.assign(split=split) for split in ("train", "val", "test")], ignore_index=True)


def _folder_and_name(path: str) -> tuple[str, str]:
    return str(PurePosixPath(path).parent), PurePosixPath(path).name


def _training_groups(manifest: pd.DataFrame) -> pd.Series:
    """Return the most frequent label of each group's training images, by group, in the order of the groups' names."""
    train = manifest[manifest["split"] == "train"]
    counts = train.groupby(["group", "label"]).size().rename("images").reset_index()
    ranked = counts.sort_values(["group", "images", "label"], ascending=[True, False, True])
    return ranked.drop_duplicates("group").set_index("group")["label"]


def _groups_per_class(manifest: pd.DataFrame, groups: pd.Series) -> pd.Series:
    classes = sorted(manifest.loc[manifest["split"] == "train", "label"].unique())
    return groups.value_counts().reindex(classes, fill_value=0)


def _fewest(counts: pd.Series) -> str:
    every = ", ".join(f"{label} {count}" for label, count in counts.items())
    return f"class {counts.idxmin()} has {counts.min()} (groups by class: {every})"


def _some_groups(manifest: pd.DataFrame, *, fraction: float, seed: int, setting: str) -> list[str]:
    """Draw a fraction of each class's groups, leaving one at least."""
    groups = _training_groups(manifest)
    counts = _groups_per_class(manifest, groups)
    if counts.min() < 2:
        raise UserError(
            f"{setting}: a class needs two groups, one for each side, and {_fewest(counts)}; "
            "add images of other photographs"
        )
    random = np.random.default_rng(seed)
    taken: list[str] = []
    for label, count in counts.items():
        n_taken = min(max(round(fraction * count), 1), count - 1)
        taken += random.permutation(groups.index[groups == label])[:n_taken].tolist()
    return taken


def _groups_as_validation(manifest: pd.DataFrame, groups: Iterable[str]) -> pd.DataFrame:
    return _groups_as(manifest, groups, split="val")


def _groups_as(manifest: pd.DataFrame, groups: Iterable[str], *, split: str) -> pd.DataFrame:
    return _taken_as(manifest, manifest["group"].isin(groups) & (manifest["split"] == "train"), split=split)


def _as_validation(manifest: pd.DataFrame, taken: "pd.Index[int] | list[int]") -> pd.DataFrame:
    return _taken_as(manifest, taken, split="val")


def _taken_as(
    manifest: pd.DataFrame, taken: "pd.Index[int] | list[int] | pd.Series[bool]", *, split: str
) -> pd.DataFrame:
    changed = manifest.copy()
    changed.loc[taken, "split"] = split
    return changed
