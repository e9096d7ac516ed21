"""The runs, and the models, that the explorer shows."""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import numpy as np
import pandas as pd

from bloodcell.config.tracking import TrackingConfig
from bloodcell.console.quiet import quiet_stderr
from bloodcell.data.loading import KAGGLE_FOLDERS
from bloodcell.data.manifest import bits_by_path
from bloodcell.errors import UserError
from bloodcell.explorer.items import ExploredRun, Items
from bloodcell.explorer.originals import Originals
from bloodcell.explorer.thumbnails import Pixels
from bloodcell.tracking.comparison_facts import folders_of
from bloodcell.tracking.comparisons import ComparedRun, read_compared
from bloodcell.tracking.models import StoredModel, load_model
from bloodcell.tracking.runs import StoredRun


def read_explored(
    *, tracking: TrackingConfig, runs: Sequence[str], study: str | None
) -> tuple[list[ExploredRun], list[StoredRun | None]]:
    """Read the runs and files to explore; and the runs of the store, None for a file.

    Raises
    ------
    UserError
        As `bloodcell.tracking.comparisons.read_compared`.
    """
    found = read_compared(tracking=tracking, runs=runs, study=study, experiment=None)
    return [_explored(each) for each in found], [each.run for each in found]


def originals_of(items: Items, stored: Sequence[StoredRun | None], *, images: str | None) -> Originals:
    """Return what reads the images: below the folder ``images``, else where the runs had them.

    Raises
    ------
    UserError
        If ``images`` is no folder.
    """
    runs = [run for run in stored if run is not None]
    manifests = [manifest for run in runs if (manifest := _manifest(run)) is not None]
    bits = {path: number for manifest in manifests for path, number in bits_by_path(manifest).items()}
    if images is None:
        folders = [folder.absolute() for folder in folders_of(runs)]
    else:
        root = Path(images).expanduser().absolute()
        if not root.is_dir():
            raise UserError(f"images={images}: is no folder; give the folder of the images")
        folders = [root / name if name else root for name in KAGGLE_FOLDERS]
    return Originals(
        folders=folders,
        paths=items.table["path"].tolist(),
        sha256s=items.table["sha256"].tolist(),
        bits=bits,
        need_digest=images is None,
    )


class Explainers:
    """Draws heat maps by the models of runs, each of which is loaded when it is first needed.

    Of a cross-validation, an image is explained by the model of the fold that held it out.
    """

    def __init__(self, items: Items, stored: Sequence[StoredRun | None], originals: Originals) -> None:
        self._items, self._stored, self._originals = items, stored, originals
        self._models: dict[str, StoredModel] = {}
        self._lock = Lock()

    def heat(self, run: int, row: int, index: int) -> Pixels:
        """Return an image with the evidence for a class.

        Raises
        ------
        UserError
            If the run has no model.
        UnreadableImage
            If the image cannot be read.
        """
        pixels = self._originals.pixels(row)
        with self._lock:  # one at a time: each takes all cores
            with quiet_stderr():  # Keras, which takes seconds and reports missing GPUs
                from bloodcell.models.explanation import explain
                from bloodcell.plots.explanation import heat_over
            model = self._model(run, row)
            classes = model.serving.classes
            found = explain(model.model, pixels, class_index=classes.index(self._items.classes[index]))
        return np.asarray(np.rint(255 * heat_over(pixels, found.heat)), np.uint8)

    def _model(self, number: int, row: int) -> StoredModel:
        run = self._stored[number]
        if run is None:
            raise UserError("A file of predictions has no model, so there is no heat map.")
        fold = int(self._items.runs[number].fold[row])
        of_fold = next((each for each in run.folds if each.tags.fold == fold), None) if fold >= 0 else None
        models = of_fold.models if of_fold is not None else run.models
        if not models and of_fold is None and run.folds:  # an image that no fold held out
            models = run.folds[0].models
        if not models:
            raise UserError("This run kept no model (log_model=false), so there is no heat map.")
        address = models[-1]
        if address not in self._models:
            self._models[address] = load_model(address, setting=f"runs={run.id}")
        return self._models[address]


def _explored(each: ComparedRun) -> ExploredRun:
    return ExploredRun(
        name=each.name,
        predictions=each.predictions,
        manifest=None if each.run is None else _manifest(each.run),
        limits=() if each.run is None else each.run.tags.evidence,
    )


def _manifest(run: StoredRun) -> pd.DataFrame | None:
    """Return the manifest of a run; None of an ensemble, which has none of its own."""
    try:
        return run.manifest
    except UserError:
        return None
