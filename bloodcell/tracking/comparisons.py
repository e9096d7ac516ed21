"""Comparisons of runs: reading the runs, and logging results to them."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Run, RunTag, ViewType
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE
from mlflow.utils.time import get_current_time_millis

from bloodcell.comparison.comparing import Comparison
from bloodcell.comparison.run_tags import TRAIN
from bloodcell.config.tracking import TrackingConfig
from bloodcell.console.progress import track
from bloodcell.errors import UserError
from bloodcell.evaluation.evidence import why_not_better
from bloodcell.tracking.experiment_page import BASELINE
from bloodcell.tracking.runs import (
    StoredRun,
    find_run,
    mlflow_runs,
    only_finished,
    read_table_file,
    runs_of_study,
    search_runs,
    whole_run,
)
from bloodcell.tracking.store import SERVERS, Store, existing_store, scheme_of
from bloodcell.tracking.table_runs import is_table

COMPARE = "compare"
"""The job whose runs are comparisons."""
FOLDER = "comparison"
"""The folder of the report among a run's artifacts."""
COUNT_TAG = "compared_on."
"""Prefix of the tag that counts comparisons on the same images, before the images' digest."""
NOTE = "- Compared: "
"""Start of the line that a comparison adds to a run's description."""
THREADS = 8
"""Runs that are read or written at the same time, because a request mostly waits for the server."""
ENDS = ("", "_low", "_high")
"""Behind a metric's name: its value and the ends of its interval."""


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """A compared run or file of predictions.

    Attributes
    ----------
    name
        Its name, unique in the comparison.
    predictions
        See `bloodcell.evaluation.predictions`.
    run
        None for a file.
    """

    name: str
    predictions: pd.DataFrame
    run: StoredRun | None = None


def read_compared(
    *, tracking: TrackingConfig, runs: Sequence[str], study: str | None, experiment: str | None
) -> list[ComparedRun]:
    """Read the runs and files to compare.

    Unfinished runs of a study or an experiment are left out, and their names are printed.

    Raises
    ------
    UserError
        If the store cannot be opened or has no such run, study or experiment, a run is not finished, is a fold or has
        no predictions, or a file cannot be read.
    """
    files = [run for run in runs if is_table(run)]
    tables = [ComparedRun(name=Path(file).stem, predictions=read_table_file(file)) for file in files]
    if runs and len(files) == len(runs):
        return _with_unique_names(tables)
    store = existing_store(tracking)
    if study is not None:
        found = _of_study(study, store)
    elif experiment is not None:
        found = _of_experiment(experiment, store)
    else:
        found = [whole_run(run, store) for run in runs if run not in files]
    with ThreadPoolExecutor(THREADS) as pool:
        read = list(track(pool.map(_compared, found), "reading runs", total=len(found)))
    return _with_unique_names([*read, *tables])


def best_of_study(study: str, *, tracking: TrackingConfig) -> tuple[str, int]:
    """Return the id of the run of a study that is best on validation and can win, and the number of its runs.

    Raises
    ------
    UserError
        If the store has no such study, or no run of it can win.
    """
    store = existing_store(tracking)
    runs = [run for run in _of_study(study, store) if run.tags.job == TRAIN and not run.name.startswith(BASELINE)]
    best = find_run(study, store, setting="study").tags.best_run
    chosen = next((run for run in runs if run.id == best), None)
    if chosen is None or why_not_better(chosen.tags.evidence):
        raise UserError(f"study={study}: has no best run that can win (it leaks, or is a debug run); give candidate=ID")
    return chosen.id, len(runs)


def _compared(run: StoredRun) -> ComparedRun:
    _ = run.config  # is read here, because this is done for several runs at the same time
    return ComparedRun(name=re.sub(r"^\d+: (?=.)", "", run.name), predictions=run.predictions, run=run)


def times_compared(digest: str) -> int:
    """Return the number of comparisons on the images of a digest, including deleted ones."""
    tag = COUNT_TAG + digest
    return sum(int(run.data.tags[tag]) for run in mlflow_runs(f"tags.`{tag}` LIKE '%'", view=ViewType.ALL))


def count_comparison(run_id: str, digest: str) -> None:
    """Count a comparison on the images of a digest, in the run that has the report."""
    client = MlflowClient()
    tag = COUNT_TAG + digest
    before = int(client.get_run(run_id).data.tags.get(tag, "0"))
    client.set_tag(run_id, tag, str(before + 1))


def keep_report(run_id: str, folder: Path, *, summary: str) -> None:
    """Log a report to a run (a study's parent or the comparison's run), and link to it in its description."""
    client = MlflowClient()
    client.log_artifacts(run_id, str(folder), FOLDER)
    holder = client.get_run(run_id)
    description = _described(holder.data.tags.get(MLFLOW_RUN_NOTE, ""), summary, report=holder)
    client.set_tag(run_id, MLFLOW_RUN_NOTE, description)


def keep_standings(comparison: Comparison, runs: Mapping[str, Sequence[StoredRun]], *, report: str) -> None:
    """Log to every compared run, by its name in the comparison, its intervals and its verdict against the baseline.

    ``report`` is the id of the run that has the report.
    """
    prefix = f"compared/{comparison.aligned.split}"
    by_image = {score.name: comparison.estimates_of(score)["image"].to_dict("index") for score in comparison.scores}
    on_baseline = {
        row["a"]: row
        for row in comparison.verdicts.assign(sentence=comparison.sentences).to_dict("records")
        if row["metric"] == comparison.scores[0].name and row["b"] == comparison.aligned.baseline
    }
    can_be_best = comparison.ranking.set_index("run")["can_be_best"]
    link = f"runs:/{report}/{FOLDER}/report.html"
    client = MlflowClient()
    holder = client.get_run(report)
    batches: list[tuple[str, list[Metric], list[RunTag]]] = []
    for name, several in runs.items():
        metrics = {
            f"{metric}{end}": estimates[name][end.strip("_") or "value"]
            for metric, estimates in by_image.items()
            for end in ENDS
        }
        sentence = "It is the baseline."
        if name in on_baseline:
            row = on_baseline[name]
            metrics |= {f"above_baseline{end}": row[end.strip("_") or "difference"] for end in ENDS}
            sentence = row["sentence"]
        now = get_current_time_millis()
        kept = [Metric(f"{prefix}/{key}", float(value), now, 0) for key, value in metrics.items() if np.isfinite(value)]
        best = str(bool(can_be_best[name])).lower()
        tags = {"verdict_on_baseline": sentence, "can_be_best": best, FOLDER: link}
        for run in several:
            tags[MLFLOW_RUN_NOTE] = _described(run.description, sentence, report=holder)
            batches.append((run.id, kept, [RunTag(*tag) for tag in tags.items()]))
    # In a database only one can write at a time.
    with ThreadPoolExecutor(THREADS if scheme_of(client.tracking_uri) in SERVERS else 1) as pool:
        written = pool.map(lambda batch: client.log_batch(batch[0], metrics=batch[1], tags=batch[2]), batches)
        list(track(written, "writing results", total=len(batches)))


def _described(before: str, text: str, *, report: Run) -> str:
    """Return a run's description with a line on the comparison, instead of that on an earlier one."""
    place = f"{report.info.run_id}/artifacts/{FOLDER}/report.html"
    link = f"#/experiments/{report.info.experiment_id}/runs/{place}"
    others = [line for line in before.splitlines() if not line.startswith(NOTE)]
    # First, because the MLflow UI hides the end of a long description.
    return "\n".join([f"{NOTE}{text} See the [report]({link}).", *others])


def _of_study(study: str, store: Store) -> list[StoredRun]:
    runs = [run for run in runs_of_study(study, store) if run.tags.has_predictions]
    return only_finished(runs, setting=f"study={study}", advice="give the parent of a sweep or a search")


def _of_experiment(name: str, store: Store) -> list[StoredRun]:
    found = MlflowClient().get_experiment_by_name(name)
    if found is None or found.lifecycle_stage == "deleted":
        raise UserError(f"experiment={name}: {store.label} has no such experiment; give the name of one")
    runs = search_runs("", [found.experiment_id])
    whole = [run for run in runs if run.tags.has_predictions and run.tags.fold is None]
    return only_finished(whole, setting=f"experiment={name}", advice="give another, or runs=")


def _with_unique_names(compared: list[ComparedRun]) -> list[ComparedRun]:
    """Add ids to equal names.

    Raises
    ------
    UserError
        If a run is given twice.
    """
    ids = [each.run.id for each in compared if each.run]
    if twice := [each for each, count in Counter(ids).items() if count > 1]:
        raise UserError(f"runs={twice[0]}: is given twice; give every run once")
    names = Counter(each.name for each in compared)
    return [
        each
        if names[each.name] == 1
        else replace(each, name=f"{each.name} [{each.run.id[:8] if each.run else number}]")
        for number, each in enumerate(compared)
    ]
