"""From a configuration to the images that a job works on."""

from dataclasses import replace

import pandas as pd

from bloodcell.config import BccdData, DataConfig, FolderData, NotebookSplit, SplitConfig, TrainConfig
from bloodcell.data.manifest import ImageSet
from bloodcell.data.pipeline import Samples
from bloodcell.data.sources import load_bccd, load_folders
from bloodcell.data.splits import divides_groups, limit_per_class, notebook_split, random_split, same_images


def prepare_images(config: TrainConfig) -> ImageSet:
    """Find, check, limit and split the images that a configuration asks for.

    Raises
    ------
    UserError
        If they cannot be used.
    """
    images = _load(config.data)
    manifest = images.manifest
    if config.debug.limit_per_class is not None:
        manifest = limit_per_class(manifest, limit=config.debug.limit_per_class)
    if "val" not in set(manifest["split"]):
        manifest = _split(manifest, config.split)
    if config.debug.overfit_images is not None:
        manifest = same_images(manifest, n_images=config.debug.overfit_images)
    return replace(images, manifest=manifest)


def may_leak(config: TrainConfig, images: ImageSet) -> bool:
    """Whether copies of one photograph may be on two sides of the split; only exact copies are known for sure."""
    files_were_split = not (isinstance(config.data, FolderData) and config.data.val_dir)
    return files_were_split or divides_groups(images.manifest)


def samples_of(images: ImageSet, split: str, config: TrainConfig) -> Samples:
    """Return one split's files and labels at the size that the backbone takes."""
    rows = images.part(split)
    return Samples(
        files=images.files(rows),
        labels=images.class_indices(rows),
        n_classes=len(images.classes),
        input_size=config.backbone.input_size,
        interpolation=config.backbone.interpolation,
    )


def _load(data: DataConfig) -> ImageSet:
    if isinstance(data, BccdData):
        return load_bccd(root=data.root, on_bad_image=data.on_bad_image)
    folders = {"train": data.train_dir, "test": data.test_dir} | ({"val": data.val_dir} if data.val_dir else {})
    return load_folders(folders=folders, on_bad_image=data.on_bad_image)


def _split(manifest: pd.DataFrame, split: SplitConfig) -> pd.DataFrame:
    if isinstance(split, NotebookSplit):
        return notebook_split(manifest, fraction=split.fraction)
    return random_split(manifest, fraction=split.fraction, seed=split.seed)
