"""The result of an experiment, with a view for notebooks."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from bloodcell.cards.outcome import interval_text
from bloodcell.config.training import TrainConfig
from bloodcell.evaluation.evidence import as_text
from bloodcell.evaluation.outcome import Outcome
from bloodcell.experiment.html import NAMES, experiment_html
from bloodcell.models.classifier import Classifier
from bloodcell.models.kept_backbones import given_model
from bloodcell.wording import PHOTOGRAPH, counted


@dataclass(frozen=True, kw_only=True, repr=False)
class Result:
    """The result of an experiment.

    Attributes
    ----------
    name
        The name of the run.
    config
        The configuration.
    folder
        The output folder: ``run.json``, ``artifacts/``, ``checkpoints/``, the folders of folds.
    outcome
        The evaluation of each split.
    history
        A row for each epoch, see `bloodcell.training.trainer.Trained`, with ``epoch`` from 1; in a cross-validation
        with the column ``fold``.
    classifier
        The trained classifier; None after a cross-validation without ``split.refit``.
    addresses
        Addresses to load the model, or that of each fold, from; empty strings if no model is saved.
    features
        The origin of the input of each stage, as text.
    cost
        The cost of the model and of its training, see `bloodcell.models.cost.Cost`; in a cross-validation without
        ``split.refit`` that of the first fold.
    """

    name: str
    config: TrainConfig
    folder: Path
    outcome: Outcome
    history: pd.DataFrame
    classifier: Classifier | None
    addresses: tuple[str, ...]
    features: str
    cost: Mapping[str, float]

    @cached_property
    def model(self) -> Any:
        """The trained Keras model; None after a cross-validation without ``split.refit``.

        From raw RGB images (n, height, width, 3), uint8, to probabilities (n, classes), in the order of
        ``outcome.classes``.
        """
        return None if self.classifier is None else given_model(self.classifier)

    @property
    def predictions(self) -> pd.DataFrame:
        """The predictions table: ``path, label, source, group, split, fold`` and ``p_<class>`` for each class."""
        return self.outcome.predictions

    @property
    def metrics(self) -> pd.DataFrame:
        """Metrics by split and name: ``value``, its 95 % interval ``low`` and ``high``, and ``baseline``.

        The index has the levels ``split`` (``val``, ``test``) and ``metric``. All columns are float64; ``low`` and
        ``high`` are NaN if a metric has no interval. The baseline is the majority class on the same images.
        """
        return metrics_frame(
            {split: each.metrics for split, each in self.outcome.splits.items()},
            {split: each.baseline for split, each in self.outcome.splits.items()},
        )

    @property
    def figures(self) -> Mapping[str, Path]:
        """The plots by name, such as ``confusion_val``: PNG files."""
        return {path.stem: path for path in sorted((self.folder / "artifacts" / "plots").glob("*.png"))}

    def __repr__(self) -> str:
        """Return name, accuracies with intervals, and folder, a line each."""
        return "\n".join([self.name, *(f"  {line}" for line in self._lines()), f"  {self.folder}"])

    def _repr_html_(self) -> str:
        """Return a table of metrics, the confusion matrices and the folder."""
        sentence, evidence = self.outcome.leakage.sentence, as_text(self.outcome.evidence)
        return experiment_html(
            name=self.name,
            metrics={split: each.metrics for split, each in self.outcome.splits.items()},
            baselines={split: each.baseline for split, each in self.outcome.splits.items()},
            figures=self.figures,
            notes=[
                *([f"Warning: {sentence}"] if sentence else []),
                *([f"Evidence: {evidence}"] if evidence else []),
            ],
            places=[str(self.folder)],
            group_name=self.outcome.leakage.group_name,
        )

    def _lines(self) -> list[str]:
        leakage = self.outcome.leakage
        lines = []
        for split, each in self.outcome.splits.items():
            metrics = each.metrics
            number, noun = metrics["photographs"], PHOTOGRAPH
            if leakage.group_name != PHOTOGRAPH:
                number, noun = metrics["groups"], leakage.group_name
            lines.append(
                f"{NAMES[split]} accuracy {metrics['accuracy']:.3f} (95 % CI {interval_text(metrics, 'accuracy')}), "
                f"{counted(len(each.table), 'image')} of {counted(number, noun)}; majority class "
                f"{each.baseline['accuracy']:.3f}"
            )
        if self.outcome.evidence:
            lines.append(f"Evidence: {as_text(self.outcome.evidence)}")
        return [*lines, f"Warning: {leakage.sentence}"] if leakage.sentence else lines


def metrics_frame(
    metrics: Mapping[str, Mapping[str, float]], baselines: Mapping[str, Mapping[str, float]]
) -> pd.DataFrame:
    """Return the table of `Result.metrics` from the metrics of each split, and of the majority class, by name."""
    rows = [
        {"split": split, "metric": name, "value": value, "baseline": baselines.get(split, {}).get(name)}
        | {end: values.get(f"{name}_{end}") for end in ("low", "high")}
        for split, values in metrics.items()
        for name, value in values.items()
        if not name.endswith(("_low", "_high"))
    ]
    columns = ["split", "metric", "value", "low", "high", "baseline"]
    return pd.DataFrame(rows, columns=columns).set_index(columns[:2]).astype("float64")
