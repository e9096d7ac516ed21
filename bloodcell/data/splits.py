"""Splits: which training images become validation, and which become test if there is no folder for that.

Every split turns a manifest into one, or into one for each fold, in which some rows of ``train`` have become ``val``;
the test rows are never touched, except by `group_test`, which makes them. `group_holdout`, `group_kfold` and
`group_test` never divide a group. `random_split` and `notebook_split` split by file: copies of one photograph can be in
both training and validation, so they leak.
"""

import re
from collections.abc import Iterable
from itertools import chain
from typing import Literal

import numpy as np
import pandas as pd
from sklearn.model_selection import RepeatedStratifiedKFold, StratifiedGroupKFold, train_test_split

from bloodcell.errors import UserError

RareClasses = Literal["error", "train_only"]

ATTEMPTS = 200
"""Random splits that are tried if the stratified split of groups with several classes loses a class."""


def group_holdout(
    manifest: pd.DataFrame, *, fraction: float, seed: int, rare_classes: RareClasses = "error"
) -> pd.DataFrame:
    """Move a random fraction of the groups to validation, stratified by class.

    If every group has one class, the fraction is of each class's groups; else validation is one fold of a
    stratified partition of the groups, see `group_kfold`.

    Parameters
    ----------
    manifest
        As in `bloodcell.data.manifest.ImageSet`.
    fraction
        Fraction of the groups, between 0 and 1; at least one group of each class leaves training and one stays.
    seed
        Seed of the split, which does not depend on the order of the rows.
    rare_classes
        For a class in fewer than two groups: ``error``, or ``train_only``, which keeps all its groups in training.

    Raises
    ------
    UserError
        If a class is in fewer than two groups and ``rare_classes`` is ``error``, or no group can leave training.
    """
    moved = _some_groups(
        manifest, fraction=fraction, seed=seed, rare_classes=rare_classes, setting="split=group_holdout"
    )
    return _groups_as(manifest, moved, split="val")


def group_test(
    manifest: pd.DataFrame, *, fraction: float, seed: int, rare_classes: RareClasses = "error"
) -> pd.DataFrame:
    """Move a random fraction of the groups to test, for a set without test images; see `group_holdout`."""
    moved = _some_groups(
        manifest, fraction=fraction, seed=seed, rare_classes=rare_classes, setting="data.test_dir=null"
    )
    return _groups_as(manifest, moved, split="test")


def group_kfold(
    manifest: pd.DataFrame, *, folds: int, repeats: int, seed: int, rare_classes: RareClasses = "error"
) -> list[pd.DataFrame]:
    """Make folds of whole groups, stratified by class.

    If every group has one class, each class's groups are spread evenly over the folds. Groups of several classes are
    assigned so that folds have similar class frequencies (`sklearn.model_selection.StratifiedGroupKFold`).

    Parameters
    ----------
    manifest
        As in `bloodcell.data.manifest.ImageSet`.
    folds, repeats, seed
        Number of folds, at least 2; number of repeats, each with other folds. The order of rows does not matter.
    rare_classes
        For a class in fewer groups than folds: ``error``, or ``train_only``, which keeps all its groups in training, in
        every fold.

    Returns
    -------
    list of DataFrame
        ``folds * repeats`` manifests, repeat after repeat. In each repeat every group is in validation once, except
        those kept in training.

    Raises
    ------
    UserError
        If a class is in fewer groups than folds and ``rare_classes`` is ``error``, or no group can leave training.
    """
    train = _splittable(
        manifest, least=folds, rare_classes=rare_classes, setting=f"split.folds={folds}", remedy="lower split.folds"
    )
    return [_groups_as(manifest, moved, split="val") for moved in _partition(train, folds, repeats=repeats, seed=seed)]


def given_folds(manifest: pd.DataFrame) -> list[pd.DataFrame]:
    """Make the folds that the manifest's column ``fold`` gives, in the order of their names; numbers as numbers.

    Raises
    ------
    UserError
        If there are no folds or only one, a training image is in none, or a class is in one fold only.
    """
    train = manifest[manifest["split"] == "train"]
    if "fold" not in manifest:
        raise UserError(
            "split=given: the images have neither folds nor validation images; use a table with a column of folds, "
            "data.folders=fold/class, or split=group_kfold"
        )
    if (empty := train["fold"].str.strip() == "").any():
        raise UserError(
            f"split=given: {empty.sum()} training images have no fold, the first is {train.loc[empty, 'path'].iloc[0]}"
        )
    folds = sorted(train["fold"].unique(), key=_by_number)
    if len(folds) < 2:
        raise UserError(f"split=given: all training images are in the fold {folds[0]}; give at least two folds")
    spread = train.groupby("label")["fold"].unique()
    if (alone := spread[spread.str.len() == 1]).size:
        raise UserError(
            f"split=given: all images of class {alone.index[0]} are in the fold {alone.iloc[0][0]}, so no model of the "
            "fold would know the class; leave it out with data.without_classes, or use split=group_kfold"
        )
    return [_move(manifest, (manifest["split"] == "train") & (manifest["fold"] == fold), split="val") for fold in folds]


def random_split(manifest: pd.DataFrame, *, fraction: float, seed: int) -> pd.DataFrame:
    """Move a random fraction, between 0 and 1, of each class's training images to validation.

    Raises
    ------
    UserError
        If there are too few images to have each class in both splits.
    """
    labels = manifest.loc[manifest["split"] == "train", "label"]
    try:
        kept, moved = train_test_split(
            labels.index, test_size=fraction, random_state=seed, shuffle=True, stratify=labels
        )
    except ValueError as error:
        raise UserError(
            f"split.fraction={fraction}: too few training images ({error}); add images or change the fraction"
        ) from error
    # Stratification rounds, so all images of a small class can be in one split.
    for label, count in labels.value_counts(sort=False).items():
        if label not in set(labels[kept]) & set(labels[moved]):
            raise UserError(
                f"split.fraction={fraction}: puts all {count} images of class {label} into one split; "
                "add images or change the fraction"
            )
    return _move(manifest, moved, split="val")


def notebook_split(manifest: pd.DataFrame, *, fraction: float) -> pd.DataFrame:
    """Move the first fraction of each class's sorted files to validation.

    As ``keras.preprocessing.image.ImageDataGenerator(validation_split=fraction).flow_from_directory`` does: files are
    sorted by folder and name, and the first ``int(fraction * n)`` of each class move. (Unlike here, Keras includes
    hidden files and excludes GIF and WebP.)

    Raises
    ------
    UserError
        If a class has too few images to have one in each split.
    """
    train = manifest[manifest["split"] == "train"]
    moved: list[int] = []
    for label, rows in train.groupby("label"):
        in_order = rows["path"].map(_folder_and_name).sort_values().index.tolist()
        count = int(fraction * len(in_order))
        if not 0 < count < len(in_order):
            raise UserError(
                f"split.fraction={fraction}: takes {count} of the {len(in_order)} images of class {label}; "
                "add images or change the fraction"
            )
        moved += in_order[:count]
    return _move(manifest, moved, split="val")


def limit_per_class(manifest: pd.DataFrame, *, limit: int) -> pd.DataFrame:
    """Keep at most ``limit`` images of each class in each split.

    They are chosen by digest: at random, but the same on every machine.
    """
    ranks = manifest.sort_values(["sha256", "path"]).groupby(["split", "label"]).cumcount()
    return manifest[ranks.reindex(manifest.index) < limit].reset_index(drop=True)


def same_images(manifest: pd.DataFrame, *, n_images: int) -> pd.DataFrame:
    """Return the same few training images as training, validation and test, equally many of each class.

    A model that can learn overfits them.

    Raises
    ------
    UserError
        If ``n_images`` is less than the number of classes.
    """
    train = manifest[manifest["split"] == "train"]
    n_classes = train["label"].nunique()
    if n_images < n_classes:
        raise UserError(
            f"debug.overfit_images={n_images}: is less than the {n_classes} classes; set {n_classes} or more"
        )
    few = limit_per_class(train, limit=n_images // n_classes)
    return pd.concat([few.assign(split=split) for split in ("train", "val", "test")], ignore_index=True)


def _by_number(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts fold_2 before fold_10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def _folder_and_name(path: str) -> tuple[str, str]:
    folder, _, name = path.rpartition("/")
    return folder or ".", name


def _splittable(
    manifest: pd.DataFrame, *, least: int, rare_classes: RareClasses, setting: str, remedy: str
) -> pd.DataFrame:
    """Return the training rows whose groups can leave training, sorted by path."""
    train = manifest[manifest["split"] == "train"].sort_values("path")
    counts = train.groupby("label")["group"].nunique()
    rare = counts[counts < least]
    if rare.empty:
        return train
    if rare_classes == "error":
        listed = ", ".join(f"{label} {count}" for label, count in counts.items())
        raise UserError(
            f"{setting}: each class must be in at least {least} groups, but class {rare.index[0]} is in {rare.iloc[0]} "
            f"(groups by class: {listed}); {remedy}, add images of other groups, or keep rare classes in training "
            "with data.rare_classes=train_only"
        )
    kept = set(train.loc[train["label"].isin(rare.index), "group"])
    train = train[~train["group"].isin(kept)]
    left = train.groupby("label")["group"].nunique()
    if left.size < 2 or left.min() < least:
        raise UserError(
            f"data.rare_classes=train_only: keeps the {len(kept)} groups of {', '.join(rare.index)} in training, and "
            f"{'no class is' if left.empty else f'class {left.idxmin()} is not'} in {least} other groups ({setting}); "
            f"{remedy}, or remove the rare classes"
        )
    return train


def _labels_of_groups(train: pd.DataFrame) -> "pd.Series[str] | None":
    """Return the class of each group, by the groups' names; None if a group has several classes."""
    pairs = train.drop_duplicates(["group", "label"]).set_index("group")["label"]
    return pairs.sort_index() if pairs.index.is_unique else None


def _partition(train: pd.DataFrame, folds: int, *, repeats: int, seed: int) -> list[list[str]]:
    """Return the groups of each fold, repeat after repeat."""
    if (labels := _labels_of_groups(train)) is not None:
        splitter = RepeatedStratifiedKFold(n_splits=folds, n_repeats=repeats, random_state=seed)
        return [labels.index[moved].tolist() for _, moved in splitter.split(labels, labels)]
    return [part for repeat in range(repeats) for part in _mixed_folds(train, folds, seed=(seed + repeat) % 2**32)]


def _mixed_folds(train: pd.DataFrame, folds: int, *, seed: int) -> list[list[str]]:
    """Return the groups of each fold if groups have several classes; no fold has all groups of a class."""
    stratified = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    parts = [
        train["group"].iloc[moved].unique().tolist()
        for _, moved in stratified.split(train, train["label"], train["group"])
    ]
    names, random = np.array(sorted(set(train["group"]))), np.random.default_rng(seed)
    for _ in range(ATTEMPTS):
        if all(part and _has_every_class(train, set(names) - set(part)) for part in parts):
            return parts
        parts = [part.tolist() for part in np.array_split(random.permutation(names), folds)]
    raise UserError(
        f"split.folds={folds}: no folds of the {names.size} groups leave every class in training; lower split.folds, "
        "or keep rare classes in training with data.rare_classes=train_only"
    )


def _has_every_class(train: pd.DataFrame, groups: Iterable[str]) -> bool:
    return train.loc[train["group"].isin(list(groups)), "label"].nunique() == train["label"].nunique()


def _some_groups(
    manifest: pd.DataFrame, *, fraction: float, seed: int, rare_classes: RareClasses, setting: str
) -> list[str]:
    """Draw a fraction of the groups; at least one of each class is left."""
    train = _splittable(
        manifest, least=2, rare_classes=rare_classes, setting=setting, remedy="use another split or test folder"
    )
    random = np.random.default_rng(seed)
    if (labels := _labels_of_groups(train)) is not None:
        moved: list[str] = []
        for label, count in labels.value_counts().sort_index().items():
            n_moved = min(max(round(fraction * count), 1), count - 1)
            moved += random.permutation(labels.index[labels == label])[:n_moved].tolist()
        return moved
    few = min(fraction, 1 - fraction)
    n_parts = min(max(round(1 / few), 2), int(train.groupby("label")["group"].nunique().min()))
    names = sorted(set(train["group"]))
    parts = _mixed_folds(train, n_parts, seed=seed)
    drawn = (random.permutation(names)[: max(round(few * len(names)), 1)].tolist() for _ in range(ATTEMPTS))
    for part in chain(parts, drawn):
        others = sorted(set(names) - set(part))
        if _has_every_class(train, part) and _has_every_class(train, others):
            return part if fraction <= 0.5 else others
    raise UserError(
        f"{setting}: no split of the {len(names)} groups has every class in both parts; add groups, or keep rare "
        "classes in training with data.rare_classes=train_only"
    )


def _groups_as(manifest: pd.DataFrame, groups: Iterable[str], *, split: str) -> pd.DataFrame:
    return _move(manifest, manifest["group"].isin(list(groups)) & (manifest["split"] == "train"), split=split)


def _move(manifest: pd.DataFrame, moved: "pd.Index[int] | list[int] | pd.Series[bool]", *, split: str) -> pd.DataFrame:
    changed = manifest.copy()
    changed.loc[moved, "split"] = split
    return changed
