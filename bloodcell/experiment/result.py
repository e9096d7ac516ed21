"""The result of an experiment, with a view for notebooks."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from bloodcell.cards.outcome import SHOWN, interval_text
from bloodcell.config.training import TrainConfig
from bloodcell.evaluation.evidence import as_text
from bloodcell.evaluation.outcome import Evaluation, Outcome
from bloodcell.wording import PHOTOGRAPH, counted, plural

NAMES = {"val": "Validation", "test": "Test"}


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
        A row for each epoch, see `bloodcell.training.trainer.Trained`; in a cross-validation with the column
        ``fold``.
    model
        The trained Keras model, from raw RGB images (n, height, width, 3), uint8, to probabilities (n, classes), in the
        order of ``outcome.classes``; None after a cross-validation without ``split.refit``.
    addresses
        Addresses to load the model, or that of each fold, from; empty strings if no model is saved.
    features
        The origin of the input of each stage, as text.
    """

    name: str
    config: TrainConfig
    folder: Path
    outcome: Outcome
    history: pd.DataFrame
    model: Any
    addresses: tuple[str, ...]
    features: str

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
        rows = [
            {"split": split, "metric": name, "value": value, "baseline": evaluation.baseline.get(name)}
            | {end: evaluation.metrics.get(f"{name}_{end}") for end in ("low", "high")}
            for split, evaluation in self.outcome.splits.items()
            for name, value in evaluation.metrics.items()
            if not name.endswith(("_low", "_high"))
        ]
        table = pd.DataFrame(rows).set_index(["split", "metric"])
        return table[["value", "low", "high", "baseline"]].astype("float64")

    @property
    def figures(self) -> Mapping[str, Path]:
        """The plots by name, such as ``confusion_val``: PNG files."""
        return {path.stem: path for path in sorted((self.folder / "artifacts" / "plots").glob("*.png"))}

    def __repr__(self) -> str:
        """Return name, accuracies with intervals, and folder, a line each."""
        return "\n".join([self.name, *(f"  {line}" for line in self._lines()), f"  {self.folder}"])

    def _repr_html_(self) -> str:
        """Return a table of metrics, the confusion matrices and the folder."""
        groups = plural(self.outcome.leakage.group_name)
        evaluations = self.outcome.splits
        head = "".join(f"<th>{NAMES[split]}</th><th>95 % interval</th><th>majority class</th>" for split in evaluations)
        rows = "".join(
            f"<tr><th>{escape(label.format(groups=groups).strip())}</th>"
            + "".join(_cells(evaluation, name) for evaluation in evaluations.values())
            + "</tr>"
            for name, label in SHOWN.items()
        )
        pictures = "".join(
            f'<img alt="{escape(name)}" style="max-width: 48%" src="data:image/png;base64,{_encoded(path)}">'
            for name, path in self.figures.items()
            if name in [f"confusion_{split}" for split in evaluations]
        )
        sentence = self.outcome.leakage.sentence
        warning = f"<p><b>Warning:</b> {escape(sentence)}</p>" if sentence else ""
        if self.outcome.evidence:
            warning += f"<p>Evidence: {escape(as_text(self.outcome.evidence))}</p>"
        return (
            f"<h4>{escape(self.name)}</h4>{warning}<table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody>"
            f"</table>{pictures}<p><code>{escape(str(self.folder))}</code></p>"
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


def _cells(evaluation: Evaluation, name: str) -> str:
    metrics = evaluation.metrics
    interval = interval_text(metrics, name) if f"{name}_low" in metrics else ""
    return f"<td>{metrics[name]:.3f}</td><td>{interval}</td><td>{evaluation.baseline[name]:.3f}</td>"


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
