"""Labels that people have corrected."""

from dataclasses import replace
from pathlib import Path, PurePosixPath

import pandas as pd

from bloodcell.data.csv_files import read_csv
from bloodcell.data.manifest import ImageSet
from bloodcell.errors import UserError
from bloodcell.images.address import address_of
from bloodcell.wording import abridged, counted

LABEL_BEFORE = "label_before"
"""The column of the manifest with the labels before corrections."""


def correct_labels(images: ImageSet, file: str | Path) -> ImageSet:
    """Take the labels of some images from a CSV file.

    Parameters
    ----------
    images
        The images.
    file
        A CSV file with the columns ``path``, relative to the images' root, and ``label``, a class of the set.

    Returns
    -------
    ImageSet
        Its manifest also has `LABEL_BEFORE`; a note says how many labels have changed.

    Raises
    ------
    UserError
        If the file cannot be read, or has an image or a class that the set does not have, or two labels for an image.
    """
    setting = f"data.labels_file={file}"
    table = read_csv(file, setting="data.labels_file", needs=("path", "label"))
    table = table.assign(path=table["path"].map(lambda path: PurePosixPath(path).as_posix()))
    table = table[["path", "label"]].drop_duplicates()
    if (twice := table["path"].duplicated()).any():
        raise UserError(f"{setting}: has several labels for {table.loc[twice, 'path'].iloc[0]}; keep one")
    manifest = images.manifest
    left_out = {*images.unreadable["path"], *images.excluded["path"]}
    if unknown := sorted(set(table["path"]) - set(manifest["path"]) - left_out):
        raise UserError(f"{setting}: {abridged(unknown)}: no image of the set; give paths relative to {images.root}")
    if strange := sorted(set(table["label"]) - set(images.classes)):
        raise UserError(f"{setting}: {strange[0]!r} is no class; the classes are {', '.join(images.classes)}")
    given = dict(zip(table["path"], table["label"], strict=True))
    own = zip(manifest["path"], manifest["label"], strict=True)
    labels = pd.Series(
        [given.get(path, given.get(address_of(path).file, label)) for path, label in own], manifest.index
    )
    changed = int((labels != manifest["label"]).sum())
    note = f"{counted(changed, 'label')} of {len(manifest):,} changed by {Path(file).name}"
    corrected = manifest.assign(label=labels, **{LABEL_BEFORE: manifest["label"]})
    return replace(images, manifest=corrected, notes=(*images.notes, note))
