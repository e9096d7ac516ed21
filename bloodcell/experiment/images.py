"""The images of a configuration: read, grouped, split and checked for leaks."""

import hashlib
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from bloodcell.config.data import BccdData, DataConfig, HeldOutTest, SmearsData, TableData
from bloodcell.config.split import (
    GivenSplit,
    GroupHoldoutSplit,
    GroupKfoldSplit,
    NotebookSplit,
    RandomSplit,
    SplitConfig,
)
from bloodcell.config.training import TrainConfig
from bloodcell.data.groups import (
    Level,
    column_groups,
    folder_groups,
    groups_as_sources,
    joined_pages,
    listed_groups,
    matched_groups,
    recovered_groups,
    recovered_sources,
    single_groups,
    sources_in_several_groups,
)
from bloodcell.data.labels import correct_labels
from bloodcell.data.leaks import (
    Leakage,
    find_shared_groups,
    resolve_leaks,
    shared_groups_in_folds,
    untextured_across,
)
from bloodcell.data.loading import KAGGLE_FOLDERS, Policy, load_bccd, load_folders
from bloodcell.data.manifest import ImageSet, digest
from bloodcell.data.smears import load_smears, smears_folder
from bloodcell.data.splits import (
    RareClasses,
    given_folds,
    group_holdout,
    group_kfold,
    group_test,
    limit_per_class,
    notebook_split,
    random_split,
    same_images,
)
from bloodcell.data.table import load_table, table_folder
from bloodcell.errors import UserError

BY_FILE = ("random", "notebook")
"""Splits by file: copies of one photograph can be in both training and validation."""

LEAST_LIMITED = 40
"""Images of each class from which a limited run holds out its test images: fewer may be copies of one photograph."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Images that are ready for training.

    Attributes
    ----------
    images
        The images; those of a cross-validation are in ``train`` and ``test`` only.
    split
        The name of the split, or ``given``.
    leakage
        The leakage of the split.
    left_out
        The manifest's rows of images that were left out because their photograph is also in another split.
    folds
        The same for each fold of a cross-validation, in order; empty if there is only one split.
    """

    images: ImageSet
    split: str
    leakage: Leakage
    left_out: pd.DataFrame
    folds: "tuple[Prepared, ...]" = ()

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that change with any image or its split, in any fold."""
        if not self.folds:
            return digest(self.images.manifest)
        return hashlib.sha256("".join(fold.digest for fold in self.folds).encode()).hexdigest()[:16]


def prepare_images(config: TrainConfig) -> Prepared:
    """Find, check, limit, group and split the images of a configuration.

    Raises
    ------
    UserError
        If they cannot be used, or the split leaks and ``data.on_shared_groups`` does not allow it.
    """
    images = _load(config.data)
    has_test, limit = "test" in set(images.manifest["split"]), config.debug.limit_per_class
    if limit is not None:  # before photographs are found, which takes longest
        images = _limited(images, limit if has_test else max(2 * limit, LEAST_LIMITED))
    if not has_test:
        images = with_test(_grouped(images, config.data), config.data)
    if limit is not None:
        images = _limited(images, limit)
    if config.debug.overfit_images is not None:
        images = replace(images, manifest=same_images(images.manifest, n_images=config.debug.overfit_images))
        return _prepared(_grouped(images, config.data), config, split="the same images", on_shared_groups="allow")
    return split_images(_grouped(images, config.data), config)


def split_images(images: ImageSet, config: TrainConfig) -> Prepared:
    """Split grouped images that have a test set.

    Raises
    ------
    UserError
        If they cannot be split, or the split leaks and ``data.on_shared_groups`` does not allow it.
    """
    if "val" in set(images.manifest["split"]):
        if isinstance(config.data, TableData) and not isinstance(config.split, GivenSplit):
            raise UserError(
                f"split={config.split.name}: makes validation images, but data.table={config.data.table} has some; use "
                "split=given, or another data.split_column"
            )
        return _prepared(images, config, split="given")
    whole = _prepared(images, config, split=config.split.name)
    parts = [
        _prepared(replace(images, manifest=manifest), config, split=config.split.name)
        for manifest in _split(whole.images.manifest, config.split, rare_classes=config.data.rare_classes)
    ]
    if len(parts) == 1:
        return replace(parts[0], left_out=pd.concat([whole.left_out, parts[0].left_out], ignore_index=True))
    shared = shared_groups_in_folds([part.images.manifest for part in parts], group_name=config.data.group_noun)
    leakage = replace(
        whole.leakage,
        shared=[*whole.leakage.shared, *shared],
        untextured=max(part.leakage.untextured for part in (whole, *parts)),
    )
    return replace(whole, leakage=leakage, folds=tuple(parts))


def _limited(images: ImageSet, limit: int) -> ImageSet:
    return replace(images, manifest=limit_per_class(images.manifest, limit=limit))


def load_images(data: DataConfig) -> ImageSet:
    """Find and check images, and find the source and the group of each.

    Raises
    ------
    UserError
        If they cannot be used, or the source of an image is unknown.
    """
    return with_test(grouped_images(data), data)


def grouped_images(data: DataConfig) -> ImageSet:
    """Find and check images, and find the source and the group of each; hold out no test images.

    Raises
    ------
    UserError
        If they cannot be used, or the source of an image is unknown.
    """
    return _grouped(_load(data), data)


def _load(data: DataConfig) -> ImageSet:
    images = _read(data)
    return images if data.labels_file is None else correct_labels(images, data.labels_file)


def _read(data: DataConfig) -> ImageSet:
    policy = Policy(
        on_bad_image=data.on_bad_image,
        rare_classes=data.rare_classes,
        without_classes=data.without_classes,
        pages=data.pages,
        bit_depth=None if data.bit_depth == "auto" else data.bit_depth,
        exclude_file=data.exclude_file,
    )
    if isinstance(data, SmearsData):
        return load_smears(
            train_photographs=data.train_photographs,
            test_photographs=data.test_photographs,
            copies=data.copies,
            slides=data.slides,
            seed=data.seed,
            policy=policy,
        )
    if isinstance(data, BccdData):
        return load_bccd(root=data.root, policy=policy)
    if isinstance(data, TableData):
        return load_table(file=data.table, folder=data.folder, columns=data.columns, policy=policy)
    return load_folders(folders=data.dirs, policy=policy, levels=data.folders)


def image_folders(data: DataConfig) -> list[Path]:
    """Return the folders to which the paths of a manifest may be relative."""
    if isinstance(data, SmearsData):
        return [smears_folder(data.train_photographs, data.test_photographs, data.copies, data.slides, data.seed)]
    if isinstance(data, BccdData):
        return [Path(data.root).expanduser() / folder for folder in KAGGLE_FOLDERS]
    if isinstance(data, TableData):
        return [table_folder(data.table, data.folder)]
    return [Path(os.path.commonpath([Path(folder).expanduser().resolve() for folder in data.dirs.values()]))]


def with_test(images: ImageSet, data: DataConfig) -> ImageSet:
    """Hold out test images of grouped images, whole groups, if there are none.

    Raises
    ------
    UserError
        If a class is in too few groups.
    """
    if not isinstance(data, HeldOutTest) or "test" in set(images.manifest["split"]):
        return images
    manifest = group_test(
        images.manifest, fraction=data.test_fraction, seed=data.test_seed, rare_classes=data.rare_classes
    )
    return replace(images, manifest=manifest)


def _grouped(images: ImageSet, data: DataConfig) -> ImageSet:
    return joined_pages(_with_groups(images, data))


def _with_groups(images: ImageSet, data: DataConfig) -> ImageSet:
    # The configuration has been checked: each choice has the setting that it needs.
    match data.groups:
        case "known":
            return images
        case "recover":
            return recovered_groups(images)
        case "none":
            return single_groups(images)
        case "column":
            grouped = _by_column(images, data, "group")
        case "pattern":
            grouped = matched_groups(images, pattern=str(data.groups_pattern))
        case "folder":
            grouped = folder_groups(images)
    match data.photographs_from:
        case "recover":
            return recovered_sources(grouped)
        case "column":
            return _by_column(grouped, data, "source")
        case "pattern":
            return matched_groups(grouped, pattern=str(data.photographs_pattern), level="source")
        case "groups":
            return groups_as_sources(grouped)


def _by_column(images: ImageSet, data: DataConfig, level: Level) -> ImageSet:
    """Take the groups or sources from a column: of the file that is given, else of the table that lists the images."""
    column = data.groups_column if level == "group" else data.photographs_column
    if data.groups_file is None:
        return column_groups(images, column=column, level=level)
    return listed_groups(images, file=data.groups_file, column=column, level=level)


def _split(manifest: pd.DataFrame, split: SplitConfig, *, rare_classes: RareClasses) -> list[pd.DataFrame]:
    """Return the manifest with a validation split, once for every fold."""
    match split:
        case GroupHoldoutSplit():
            return [group_holdout(manifest, fraction=split.fraction, seed=split.seed, rare_classes=rare_classes)]
        case GroupKfoldSplit():
            return group_kfold(
                manifest, folds=split.folds, repeats=split.repeats, seed=split.seed, rare_classes=rare_classes
            )
        case GivenSplit():
            return given_folds(manifest)
        case RandomSplit():
            return [random_split(manifest, fraction=split.fraction, seed=split.seed)]
        case NotebookSplit():
            return [notebook_split(manifest, fraction=split.fraction)]


def _prepared(images: ImageSet, config: TrainConfig, *, split: str, on_shared_groups: str | None = None) -> Prepared:
    """Resolve leaks and describe the remaining ones.

    A split by file that the user chose may put copies in both training and validation.
    """
    split_by_file = split in BY_FILE and "val" in set(images.manifest["split"])
    policy = on_shared_groups or ("allow" if split_by_file else config.data.on_shared_groups)
    name = config.data.group_noun
    manifest, left_out = resolve_leaks(images.manifest, on_shared_groups=policy, group_name=name)
    leakage = Leakage(
        shared=find_shared_groups(manifest, group_name=name),
        split_by_file=split_by_file,
        groups_known=config.data.groups != "none",
        untextured=untextured_across(manifest),
        sources_in_groups=sources_in_several_groups(manifest),
        group_name=name,
    )
    return Prepared(images=replace(images, manifest=manifest), split=split, leakage=leakage, left_out=left_out)
