"""Splits: which training images become validation, and which become test if there is no folder for that.

Every split turns a manifest into one, or into one for each fold, in which some rows of ``train`` have become ``val``;
the test rows are never touched, except by `group_test`, which makes them. `group_holdout`, `group_kfold` and
`group_test` never divide a group. `random_split` and `notebook_split` look at files: copies of one photograph can be in
both training and validation, so they leak.
"""

from collections.abc import Iterable
from itertools import chain
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
import pandas as pd
from sklearn.model_selection import RepeatedStratifiedKFold, StratifiedGroupKFold, train_test_split

from bloodcell.errors import UserError

RareClasses = Literal["error", "train_only"]

ATTEMPTS = 200
"""Random divisions that are tried where a stratified one of groups with several classes loses a class."""


def group_holdout(
    manifest: pd.DataFrame, *, fraction: float, seed: int, rare_classes: RareClasses = "error"
) -> pd.DataFrame:
    """Make a random fraction of the groups validation, stratified by class.

    Where every group has one class, that fraction of each class's groups is taken; else one part of a stratified
    partition of the groups, see `group_kfold`.

    Parameters
    ----------
    manifest
        As in `bloodcell.data.manifest.ImageSet`.
    fraction
        Share of the groups, between 0 and 1; rounded, but at least one of each class is taken and one left.
    seed
        Same seed and images, same split, whatever the order of the rows.
    rare_classes
        What to do with a class that is in fewer than two groups: ``error``, or ``train_only``, which keeps all groups
        that have it in training.

    Raises
    ------
    UserError
        If a class is in fewer than two groups and ``rare_classes`` is ``error``, or nothing is left to take.
    """
    taken = _some_groups(
        manifest, fraction=fraction, seed=seed, rare_classes=rare_classes, setting="split=group_holdout"
    )
    return _groups_as(manifest, taken, split="val")


def group_test(
    manifest: pd.DataFrame, *, fraction: float, seed: int, rare_classes: RareClasses = "error"
) -> pd.DataFrame:
    """Make a random fraction of the groups the test set, for a set that has no test images of its own.

    Parameters and errors are those of `group_holdout`.
    """
    taken = _some_groups(
        manifest, fraction=fraction, seed=seed, rare_classes=rare_classes, setting="data.test_dir=null"
    )
    return _groups_as(manifest, taken, split="test")


def group_kfold(
    manifest: pd.DataFrame, *, folds: int, repeats: int, seed: int, rare_classes: RareClasses = "error"
) -> list[pd.DataFrame]:
    """Make folds of whole groups, stratified by class.

    Where every group has one class, each class's groups are spread evenly over the folds. Groups of several classes are
    put into folds with about the same share of each class's images (`sklearn.model_selection.StratifiedGroupKFold`).

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
    rare_classes
        What to do with a class that is in fewer groups than there are folds: ``error``, or ``train_only``, which keeps
        all groups that have it in training, in every fold.

    Returns
    -------
    list of DataFrame
        ``folds * repeats`` manifests, repeat after repeat; in each repeat every group, but those kept in training, is
        in validation once.

    Raises
    ------
    UserError
        If a class is in fewer groups than there are folds and ``rare_classes`` is ``error``, or nothing is left.
    """
    train = _divisible(
        manifest, least=folds, rare_classes=rare_classes, setting=f"split.folds={folds}", way_out="lower split.folds"
    )
    return [_groups_as(manifest, taken, split="val") for taken in _partition(train, folds, repeats=repeats, seed=seed)]


def groups_per_class(manifest: pd.DataFrame) -> pd.Series:
    """Return in how many groups of the training images each class is, by class."""
    train = manifest[manifest["split"] == "train"]
    return train.groupby("label")["group"].nunique()


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


def _divisible(
    manifest: pd.DataFrame, *, least: int, rare_classes: RareClasses, setting: str, way_out: str
) -> pd.DataFrame:
    """Return the training rows whose groups may leave training, sorted by path."""
    train = manifest[manifest["split"] == "train"].sort_values("path")
    counts = groups_per_class(manifest)
    rare = counts[counts < least]
    if rare.empty:
        return train
    if rare_classes == "error":
        each = ", ".join(f"{label} {count}" for label, count in counts.items())
        raise UserError(
            f"{setting}: each class must be in at least {least} groups, but class {rare.index[0]} is in {rare.iloc[0]} "
            f"(groups by class: {each}); {way_out}, add images of other groups, or keep such classes in training only "
            "with data.rare_classes=train_only"
        )
    kept = set(train.loc[train["label"].isin(rare.index), "group"])
    train = train[~train["group"].isin(kept)]
    left = train.groupby("label")["group"].nunique()
    if left.size < 2 or left.min() < least:
        raise UserError(
            f"data.rare_classes=train_only: without the {len(kept)} groups of {', '.join(rare.index)} "
            f"{'no class is' if left.empty else f'class {left.idxmin()} is'} in {least} groups any more ({setting}); "
            f"{way_out}, or leave the rare classes out"
        )
    return train


def _partition(train: pd.DataFrame, folds: int, *, repeats: int, seed: int) -> list[list[str]]:
    """Return the groups of each fold, repeat after repeat."""
    if (train.groupby("group")["label"].nunique() == 1).all():
        labels = train.drop_duplicates("group").set_index("group")["label"].sort_index()
        splitter = RepeatedStratifiedKFold(n_splits=folds, n_repeats=repeats, random_state=seed)
        return [labels.index[taken].tolist() for _, taken in splitter.split(labels, labels)]
    return [part for repeat in range(repeats) for part in _mixed_folds(train, folds, seed=(seed + repeat) % 2**32)]


def _mixed_folds(train: pd.DataFrame, folds: int, *, seed: int) -> list[list[str]]:
    """Return the groups of each fold, where groups hold several classes: no fold has all groups of a class."""
    stratified = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    parts = [
        train["group"].iloc[taken].unique().tolist()
        for _, taken in stratified.split(train, train["label"], train["group"])
    ]
    names, random = np.array(sorted(set(train["group"]))), np.random.default_rng(seed)
    for _ in range(ATTEMPTS):
        if all(part and _has_every_class(train, set(names) - set(part)) for part in parts):
            return parts
        parts = [part.tolist() for part in np.array_split(random.permutation(names), folds)]
    raise UserError(
        f"split.folds={folds}: no such folds of the {names.size} groups were found that leave every class in training; "
        "lower split.folds, or keep rare classes in training only with data.rare_classes=train_only"
    )


def _has_every_class(train: pd.DataFrame, groups: Iterable[str]) -> bool:
    return train.loc[train["group"].isin(list(groups)), "label"].nunique() == train["label"].nunique()


def _some_groups(
    manifest: pd.DataFrame, *, fraction: float, seed: int, rare_classes: RareClasses, setting: str
) -> list[str]:
    """Draw a fraction of the groups, leaving one of each class at least."""
    train = _divisible(
        manifest, least=2, rare_classes=rare_classes, setting=setting, way_out="use another split or test folder"
    )
    if (train.groupby("group")["label"].nunique() == 1).all():
        labels = train.drop_duplicates("group").set_index("group")["label"].sort_index()
        random = np.random.default_rng(seed)
        taken: list[str] = []
        for label, count in labels.value_counts().sort_index().items():
            n_taken = min(max(round(fraction * count), 1), count - 1)
            taken += random.permutation(labels.index[labels == label])[:n_taken].tolist()
        return taken
    few = min(fraction, 1 - fraction)
    n_parts = min(max(round(1 / few), 2), int(train.groupby("label")["group"].nunique().min()))
    names, random = sorted(set(train["group"])), np.random.default_rng(seed)
    parts = _mixed_folds(train, n_parts, seed=seed)
    drawn = (random.permutation(names)[: max(round(few * len(names)), 1)].tolist() for _ in range(ATTEMPTS))
    for part in chain(parts, drawn):
        others = sorted(set(names) - set(part))
        if _has_every_class(train, part) and _has_every_class(train, others):
            return part if fraction <= 0.5 else others
    raise UserError(
        f"{setting}: no division of the {len(names)} groups was found that puts every class on both sides; add groups, "
        "or keep rare classes in training only with data.rare_classes=train_only"
    )


def _groups_as(manifest: pd.DataFrame, groups: Iterable[str], *, split: str) -> pd.DataFrame:
    return _taken_as(manifest, manifest["group"].isin(list(groups)) & (manifest["split"] == "train"), split=split)


def _as_validation(manifest: pd.DataFrame, taken: "pd.Index[int] | list[int]") -> pd.DataFrame:
    return _taken_as(manifest, taken, split="val")


def _taken_as(
    manifest: pd.DataFrame, taken: "pd.Index[int] | list[int] | pd.Series[bool]", *, split: str
) -> pd.DataFrame:
    changed = manifest.copy()
    changed.loc[taken, "split"] = split
    return changed
