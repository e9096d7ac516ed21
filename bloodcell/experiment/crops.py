"""Counting, listing and drawing the crops of a run."""

import logging
from collections.abc import Mapping
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from bloodcell.cells.crop import CROPS, CropName
from bloodcell.cells.measurements import measure_images
from bloodcell.config.training import TrainConfig
from bloodcell.console.progress import SHOW_ALL, Reporting, print_status
from bloodcell.data.manifest import ImageSet
from bloodcell.experiment.images import Prepared
from bloodcell.experiment.recorder import Recorder
from bloodcell.images.reading import read_image_to_show
from bloodcell.plots.crops import Cropped, crop_gallery

log = logging.getLogger(__name__)

N_ACROSS = 3
"""Number of photographs in a row of the plot."""
N_CLASSES = 8
"""Largest number of classes in the plot."""
KINDS = {"not_found": "no cell found", "several": "several cells", "at_border": "cut by the border"}
"""Labels of crops that do not show exactly one whole cell, by column."""


def keep_crops(recorder: Recorder, config: TrainConfig, prepared: Prepared, *, reporting: Reporting = SHOW_ALL) -> None:
    """Draw some crops; count and list those that do not show exactly one whole cell.

    The list is ``crops.csv``. A cell is measured once and the measurements are cached. Nothing is done without a crop,
    or if the backbone is not a network.

    Parameters
    ----------
    recorder
        Receives the counts, the list and the plot.
    config, prepared
        The configuration and its images; test images are included if they are evaluated.
    reporting
        Unless quiet, images without a cell are reported.
    """
    if config.crop.name == "none" or not config.backbone.is_network:
        return
    images = prepared.images
    rows = images.manifest if config.evaluate_test else images.manifest.query("split != 'test'")
    kinds = KINDS if CROPS[config.crop.name].finds_cells else {}
    if kinds:
        rows = _facts(images, rows)
        _keep_counts(recorder, rows, quiet=reporting.quiet)
    chosen = _chosen(rows, images.classes, kinds)
    shown = {name: [_cropped(images, path, config.crop.name) for path in paths] for name, paths in chosen.items()}
    recorder.draw("crops", crop_gallery, shown)


def _keep_counts(recorder: Recorder, facts: pd.DataFrame, *, quiet: bool) -> None:
    """Count and list the images whose crops do not show one whole cell; report images without a cell."""
    counts = {kind: int(facts[kind].sum()) for kind in KINDS}
    recorder.log_metrics({"images": len(facts), **counts}, prefix="crop")
    otherwise = facts[facts[list(KINDS)].any(axis=1)]
    otherwise.to_csv(recorder.artifacts / "crops.csv", index=False)
    if counts["not_found"]:
        line = (
            f"{counts['not_found']:,} of {len(facts):,} images: no cell found, the whole image is used; listed in "
            "crops.csv"
        )
        log.warning(line)
        if not quiet:
            print_status(line)


def _facts(images: ImageSet, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the manifest without the digest, with the number of cells and a column for each kind."""
    measures = measure_images(images.files(rows), rows["sha256"].tolist())
    return rows[["path", "label", "source", "group", "split"]].assign(
        n_cells=np.where(measures.found, measures.counts, 0),
        not_found=~measures.found,
        several=measures.found & (measures.counts > 1),
        at_border=measures.found & measures.at_border,
    )


def _chosen(facts: pd.DataFrame, classes: tuple[str, ...], kinds: Mapping[str, str]) -> Mapping[str, list[str]]:
    """Choose training images of each class and of each kind, one per photograph in a row."""
    trained = facts[facts["split"] == "train"]
    shown = [classes[number] for number in np.unique(np.linspace(0, len(classes) - 1, N_CLASSES).round().astype(int))]
    rows = {label: trained[trained["label"] == label] for label in shown}
    rows |= {f"{name}: {facts[kind].sum():,}": facts[facts[kind]] for kind, name in kinds.items()}
    return {name: _spread(part) for name, part in rows.items() if len(part)}


def _spread(rows: pd.DataFrame) -> list[str]:
    """Choose images of different photographs, equally spaced in the order of names."""
    first = rows.sort_values("path").groupby("source", sort=False)["path"].first().tolist()
    places = np.linspace(0, len(first) - 1, min(N_ACROSS, len(first))).round().astype(int)
    return [first[place] for place in places]


def _cropped(images: ImageSet, path: str, name: CropName) -> Cropped:
    pixels = read_image_to_show(images.file(path))
    return Cropped(photograph=pixels, crop=CROPS[name].function(pixels), caption=PurePosixPath(path).name)
