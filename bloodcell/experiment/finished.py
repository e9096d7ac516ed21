"""Reading the result of a finished fold from its folder."""

import json
from pathlib import Path

import pandas as pd

from bloodcell.config.training import TrainConfig
from bloodcell.errors import UserError
from bloodcell.evaluation.outcome import evaluate_outcome
from bloodcell.evaluation.predictions import read_predictions
from bloodcell.experiment.evidence import evidence_of
from bloodcell.experiment.fold import RESULT_FILE, FoldResult
from bloodcell.experiment.identity import experiment_digest
from bloodcell.experiment.images import Prepared


def load_fold(
    folder: Path, *, prepared: Prepared, config: TrainConfig, fold: int, weights_digest: str
) -> FoldResult | None:
    """Return the result that `bloodcell.experiment.fold.train_fold` recorded in a folder.

    Metrics are computed again from the predictions, and equal those of the training to the last digit.

    Parameters
    ----------
    folder
        The run's folder. The fold is finished if its ``run.json`` has the ``status`` ``FINISHED``.
    prepared, config, fold
        As for `bloodcell.experiment.fold.train_fold`.
    weights_digest
        The digest of the backbone's weights before training.

    Returns
    -------
    FoldResult or None
        None if the folder is not that of a finished fold with this configuration, these images and these weights, or
        lacks a file.
    """
    digest = experiment_digest(config, data_digest=prepared.digest, weights_digest=weights_digest)
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        if run.get("status") != "FINISHED" or run["tags"].get("experiment_digest") != digest:
            return None
        result = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
        artifacts = folder / "artifacts"
        tables = _by_split(artifacts / "predictions.parquet")
        views_file = artifacts / "predictions_views.parquet"
        views = _by_split(views_file) if views_file.exists() else {}
    except (OSError, ValueError, KeyError, UserError):
        return None
    outcome = evaluate_outcome(
        tables,
        classes=prepared.images.classes,
        training=prepared.images.part("train"),
        leakage=prepared.leakage,
        evidence=evidence_of(config, fold=fold),
        label_smoothing=config.hyperparameters.label_smoothing,
        views=views,
        test_sets=prepared.images.test_sets,
    )
    return FoldResult(outcome=outcome, **result | {"history": pd.DataFrame(result["history"])})


def _by_split(file: Path) -> dict[str, pd.DataFrame]:
    table = read_predictions(file)
    return {split: table[table["split"] == split].reset_index(drop=True) for split in table["split"].unique()}
