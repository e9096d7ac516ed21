"""How validation images are taken from the training images.

Every split is a function from a manifest to a manifest in which some rows of ``train`` have become ``val``; the test
rows are never touched. The splits here look at files, not at groups, so copies of one photograph can fall on both
sides: they leak.
"""

from pathlib import PurePosixPath

import pandas as pd
from sklearn.model_selection import train_test_split

from bloodcell.errors import UserError


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


def divides_groups(manifest: pd.DataFrame) -> bool:
    """Whether images of one group are in more than one split."""
    return bool((manifest.groupby("group")["split"].nunique() > 1).any())


def _as_validation(manifest: pd.DataFrame, taken: "pd.Index[int] | list[int]") -> pd.DataFrame:
    changed = manifest.copy()
    changed.loc[taken, "split"] = "val"
    return changed
