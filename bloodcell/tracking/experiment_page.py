"""The page of an experiment in the MLflow UI: a saved view of its models, and a description."""

import json
from collections.abc import Mapping
from typing import Any

from bloodcell.evaluation.evidence import INTERVAL_TAG, TAG

VIEW = "bloodcell"
"""The key of the saved view in addresses."""
VIEW_TAG, NOTE_TAG = f"mlflow.sharedViewState.{VIEW}", "mlflow.note.content"

BASELINE, BASELINE_TAG = "baseline: ", "baseline"
"""The start of the names of a study's baselines, and their tag."""
EXCLUDED_TAG = "aside"
"""The tag of a run that is not one of its study's models; its value is the reason."""
MADE = 1_767_225_600_000
"""The time of the view, 2026-01-01, in milliseconds since 1970: the same view is the same text."""
MODELS = (
    f"tags.data_digest IS NOT NULL AND tags.fold IS NULL AND tags.{BASELINE_TAG} IS NULL "
    f"AND tags.{EXCLUDED_TAG} IS NULL"
)
"""The filter of trainings and ensembles: without folds, baselines, audits, and the parent runs of studies."""
COLUMNS = ("metrics.`val/accuracy`", f"tags.`{INTERVAL_TAG}`", "metrics.`val/groups`", f"tags.`{TAG}`")
WIDTHS = {"attributes.`Run Name`": 220, COLUMNS[0]: 110, COLUMNS[1]: 115, COLUMNS[2]: 85, COLUMNS[3]: 185}
"""Widths of columns in pixels."""
OPEN, CLOSED = ("val", "epoch", "test", "gallery"), ("cost", "explain", "crop", "calibrated/val", "calibrated/test")
MAJORITY = ("val/majority_class", "test/majority_class")
"""Sections of the charts: those that are open, and the others, in order."""

NOTE = """\
bloodcell's runs. Open the saved view **Models** (top right): one line for each model, best validation accuracy first.

- **val/accuracy**, **val_interval**: accuracy on validation images and its 95 % confidence interval
- **val/groups**: the number of independent groups (photographs, or your patients) behind it
- **evidence**: what limits the result; a model that leaks or was chosen on these images cannot win
- A run's page has its metrics under *Model metrics*, pictures and predictions under *Artifacts*
- Tags narrow the list: `tags.study = 'sweep'` finds sweeps and `tags.study = 'search'` searches, whose page has a \
leaderboard; `tags.fold IS NOT NULL` folds; `tags.baseline IS NOT NULL` baselines; `tags.job = 'audit'` audits

Metrics alone do not say which model is better: `bloodcell compare study=PARENT_RUN_ID` does.
"""


def page_of(experiment_id: str) -> str:
    """Return the address of an experiment's models, after that of the server."""
    return f"#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={VIEW}"


def experiment_tags() -> dict[str, str]:
    """Return the tags of an experiment for the MLflow UI: its kind, its saved view and its description."""
    kind = {"mlflow.experimentKind": "custom_model_development"}  # otherwise, pages for language models
    return {**kind, VIEW_TAG: _saved_view(), NOTE_TAG: NOTE}


def update_page(experiment_id: str) -> None:
    """Give an experiment of an earlier version the saved view and a description, and its baselines their tag."""
    from mlflow import MlflowClient

    client = MlflowClient()
    tags: Mapping[str, str] = client.get_experiment(experiment_id).tags
    for name, value in experiment_tags().items():
        if tags.get(name) != value and (name == VIEW_TAG or not tags.get(name)):
            client.set_experiment_tag(experiment_id, name, value)
    baselines = f"attributes.run_name LIKE '{BASELINE}%' AND tags.{BASELINE_TAG} IS NULL AND tags.data_digest != ''"
    for run in client.search_runs([experiment_id], baselines):
        client.set_tag(run.info.run_id, BASELINE_TAG, str(run.info.run_name).removeprefix(BASELINE))
    for run in client.search_runs([experiment_id], f"tags.job = 'audit' AND tags.{EXCLUDED_TAG} IS NULL"):
        client.set_tag(run.info.run_id, EXCLUDED_TAG, "audit")


def _saved_view() -> str:
    """Return a saved view as MLflow 3.17's UI writes it: a name, times, and the state of the page as text."""
    state: dict[str, Any] = {
        "searchFilter": MODELS,
        "orderByKey": COLUMNS[0],
        "orderByAsc": False,
        "selectedColumns": COLUMNS,
        "columnOrder": ["attributes.`Run Name`", "runDateAndNestInfo", *COLUMNS, "duration"],
        "columnWidths": WIDTHS,
        "compareRunCharts": [],  # the UI adds one for each metric
        "compareRunSections": [
            {"uuid": name, "name": name, "display": name in OPEN, "isReordered": True}
            for name in (*OPEN, *CLOSED, *MAJORITY)
        ],
        "isAccordionReordered": True,
    }
    view = {"name": "Models", "createdAt": MADE, "updatedAt": MADE, "state": json.dumps(state)}
    return json.dumps(view)
