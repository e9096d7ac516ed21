"""What a run's crops are like: counted, listed and drawn."""

import logging
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from bloodcell.cells.crop import CROPS, CropName
from bloodcell.cells.measurements import measure_images
from bloodcell.config.training import TrainConfig
from bloodcell.console.progress import say
from bloodcell.data.manifest import ImageSet
from bloodcell.experiment.images import Prepared
from bloodcell.images.reading import read_image
from bloodcell.models.measured import is_kind
from bloodcell.plots.crops import Cropped, crop_gallery
from bloodcell.plots.drawing import Pictures
from bloodcell.tracking.run import TrackedRun

log = logging.getLogger(__name__)

N_ACROSS = 3
"""Photographs in a row of the picture."""
N_CLASSES = 8
"""Of more classes than these some are drawn."""
KINDS = {"not_found": "no cell found", "several": "several cells", "at_border": "cut by the border"}
"""What a crop is told by that is not of one whole cell, and what that is called."""


def keep_crops(
    tracked: TrackedRun,
    config: TrainConfig,
    prepared: Prepared,
    *,
    artifacts: Path,
    pictures: Pictures,
    quiet: bool = False,
) -> None:
    """Have some crops drawn; where they are of cells, count those that are not of one whole cell, and list these.

    The list is ``crops.csv``. What is known of an image's cell is measured once and recalled. Nothing is done where
    images are not cropped, or no network sees them.

    Parameters
    ----------
    tracked
        The run that counts are kept in.
    config, prepared
        What is asked for; the test images count where they are evaluated.
    artifacts
        The run's folder of files.
    pictures
        Draws the picture.
    quiet
        Whether this is one training of many, so that nothing is said.
    """
    if config.crop.name == "none" or is_kind(config.backbone.name):
        return
    images = prepared.images
    rows = images.manifest if config.evaluate_test else images.manifest.query("split != 'test'")
    kinds = KINDS if CROPS[config.crop.name].finds_cells else {}
    if kinds:
        rows = _facts(images, rows)
        _keep_counts(tracked, rows, artifacts=artifacts, quiet=quiet)
    chosen = _chosen(rows, images.classes, kinds)
    shown = {name: [_cropped(images, path, config.crop.name) for path in paths] for name, paths in chosen.items()}
    pictures.draw("crops", crop_gallery, shown)


def _keep_counts(tracked: TrackedRun, facts: pd.DataFrame, *, artifacts: Path, quiet: bool) -> None:
    """Count the images whose crops are not of one whole cell, list them, and say how many have none."""
    counts = {kind: int(facts[kind].sum()) for kind in KINDS}
    tracked.log_metrics({"images": len(facts), **counts}, prefix="crop")
    otherwise = facts[facts[list(KINDS)].any(axis=1)]
    otherwise.to_csv(artifacts / "crops.csv", index=False)
    if counts["not_found"]:
        line = (
            f"{counts['not_found']:,} of {len(facts):,} images: no cell found, the whole image is used; listed in "
            "crops.csv"
        )
        log.warning(line)
        if not quiet:
            say(line)


def _facts(images: ImageSet, rows: pd.DataFrame) -> pd.DataFrame:
    """Return what is known of each image's cell: its row of the manifest less the digest, a column for each kind."""
    measures = measure_images(images.files(rows), rows["sha256"].tolist())
    return rows[["path", "label", "source", "group", "split"]].assign(
        n_cells=np.where(measures.found, measures.counts, 0),
        not_found=~measures.found,
        several=measures.found & (measures.counts > 1),
        at_border=measures.found & measures.at_border,
    )


def _chosen(facts: pd.DataFrame, classes: tuple[str, ...], kinds: Mapping[str, str]) -> Mapping[str, list[str]]:
    """Choose training images, no two of one photograph in a row: of each class, and of each kind that there is."""
    trained = facts[facts["split"] == "train"]
    shown = [classes[number] for number in np.unique(np.linspace(0, len(classes) - 1, N_CLASSES).round().astype(int))]
    rows = {label: trained[trained["label"] == label] for label in shown}
    rows |= {f"{name}: {facts[kind].sum():,}": facts[facts[kind]] for kind, name in kinds.items()}
    return {name: _spread(part) for name, part in rows.items() if len(part)}


def _spread(rows: pd.DataFrame) -> list[str]:
    """Choose one image each of some photographs, far from each other in the order of names."""
    first = rows.sort_values("path").groupby("source", sort=False)["path"].first().tolist()
    places = np.linspace(0, len(first) - 1, min(N_ACROSS, len(first))).round().astype(int)
    return [first[place] for place in places]


def _cropped(images: ImageSet, path: str, name: CropName) -> Cropped:
    pixels = read_image(images.root / path)
    return Cropped(photograph=pixels, crop=CROPS[name].function(pixels), caption=PurePosixPath(path).name)
