"""Runs that are compared: what is read of them, and what a comparison leaves with them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Run, RunTag, ViewType
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME, MLFLOW_RUN_NOTE
from mlflow.utils.time import get_current_time_millis

from bloodcell.config.tracking import TrackingConfig
from bloodcell.console.progress import track
from bloodcell.errors import UserError
from bloodcell.evaluation.predictions import read_predictions
from bloodcell.tracking.kept import download, existing_store, finished_of, folds_of, runs_of_study, whole_run
from bloodcell.tracking.members import ENSEMBLE, PREDICTIONS
from bloodcell.tracking.run import ASIDE_TAG, FOLD_TAG, JOB_TAG
from bloodcell.tracking.store import Store
from bloodcell.tracking.study import found_runs

COMPARE = "compare"
"""The job whose runs are comparisons."""
FOLDER = "comparison"
"""Where a report is among a run's artifacts."""
COUNT_TAG = "compared_on."
"""What the tag begins with that counts how often images were compared on; their digest follows."""
NOTE = "- Compared: "
"""What the line of a run's description begins with that a comparison adds."""
FILES = (".csv", ".parquet")
EPOCH_ACCURACY = "epoch/val_accuracy"


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """A run, or a file of predictions, as a candidate of a comparison.

    Attributes
    ----------
    name
        For people.
    run_id
        MLflow's; empty of a file.
    predictions
        The table that it left.
    parameters, tags, metrics
        As MLflow keeps them; empty of a file.
    curve
        Pairs of epoch and accuracy on validation, of a cross-validation the mean of its folds as far as all go; empty
        where there is none.
    """

    name: str
    run_id: str
    predictions: pd.DataFrame
    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    curve: Sequence[tuple[float, float]]


def read_compared(
    *, tracking: TrackingConfig, runs: Sequence[str], study: str | None, experiment: str | None
) -> list[ComparedRun]:
    """Read what is to be compared; nothing is changed in the store.

    Runs of a study or an experiment that did not finish are left out, which is said.

    Raises
    ------
    UserError
        If the store cannot be opened or has no such run, study or experiment, a run is not finished, is a part of
        another or left no predictions, or a file cannot be read.
    """
    if files := [run for run in runs if run.endswith(FILES)]:
        tables = [_of_file(file) for file in files]
        if len(files) == len(runs):
            return _told_apart(tables)
    store = existing_store(tracking)
    client = MlflowClient()
    if study is not None:
        found = _of_study(study, store)
    elif experiment is not None:
        found = _of_experiment(experiment, store)
    else:
        found = [whole_run(run, store) for run in runs if run not in files]
    with TemporaryDirectory() as scratch:
        read = [
            _of_run(client, run, at=Path(scratch) / str(number))
            for number, run in enumerate(track(found, "reading runs", total=len(found)))
        ]
    return _told_apart([*read, *(tables if files else [])])


def times_compared(digest: str) -> int:
    """Return how many comparisons on the images of a digest the store knows of, also where they were deleted."""
    client = MlflowClient()
    tag = COUNT_TAG + digest
    experiments = [each.experiment_id for each in client.search_experiments()]
    return sum(
        int(run.data.tags[tag]) for run in found_runs(client, experiments, f"tags.`{tag}` LIKE '%'", view=ViewType.ALL)
    )


def count_comparison(run_id: str, digest: str) -> None:
    """Note with the run that holds the report that its images were compared on once more."""
    client = MlflowClient()
    tag = COUNT_TAG + digest
    before = int(client.get_run(run_id).data.tags.get(tag, "0"))
    client.set_tag(run_id, tag, str(before + 1))


def keep_report(run_id: str, folder: Path, *, summary: str) -> None:
    """Keep a report with the run that it is of, a study's parent or the comparison's own, and say so on its page."""
    client = MlflowClient()
    client.log_artifacts(run_id, str(folder), FOLDER)
    _describe(client, client.get_run(run_id), summary, report=run_id)


def keep_standing(
    run_id: str, *, metrics: Mapping[str, float], tags: Mapping[str, str], sentence: str, report: str
) -> None:
    """Keep with a run how it stands in a comparison.

    Parameters
    ----------
    run_id
        The run, which has ended.
    metrics, tags
        What MLflow's own comparison is to show.
    sentence
        What the run's page is to say.
    report
        The id of the run that holds the report.
    """
    client = MlflowClient()
    now = get_current_time_millis()
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, now, 0) for name, value in metrics.items()],
        tags=[RunTag(name, value) for name, value in {**tags, FOLDER: f"runs:/{report}/{FOLDER}/report.html"}.items()],
    )
    _describe(client, client.get_run(run_id), sentence, report=report)


def _describe(client: MlflowClient, run: Run, text: str, *, report: str) -> None:
    """Put a line on a run's page, in place of an earlier comparison's."""
    holder = client.get_run(report)
    link = f"#/experiments/{holder.info.experiment_id}/runs/{report}/artifacts/{FOLDER}/report.html"
    before = run.data.tags.get(MLFLOW_RUN_NOTE, "").splitlines()
    kept = [line for line in before if not line.startswith(NOTE)]
    # First, as MLflow's pages hide the end of what is long.
    note = "\n".join([f"{NOTE}{text} See the [report]({link}).", *kept])
    client.set_tag(run.info.run_id, MLFLOW_RUN_NOTE, note)


def _of_study(study: str, store: Store) -> list[Run]:
    counted = [run for run in runs_of_study(study, store) if _counts(run)]
    return finished_of(counted, setting=f"study={study}", mend="give the parent of a sweep or a search")


def _of_experiment(name: str, store: Store) -> list[Run]:
    client = MlflowClient()
    found = client.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage == "deleted":
        raise UserError(f"experiment={name}: {store.label} has no such experiment; give the name of one")
    runs = found_runs(client, [found.experiment_id], "")
    counted = [run for run in runs if FOLD_TAG not in run.data.tags and _counts(run)]
    return finished_of(counted, setting=f"experiment={name}", mend="give another, or runs=")


def _counts(run: Run) -> bool:
    """Say whether a run is a training or an ensemble, rather than a study, an audit or a comparison, or set aside."""
    tags = run.data.tags
    return "data_digest" in tags and tags.get(JOB_TAG) in (None, ENSEMBLE) and ASIDE_TAG not in tags


def _of_run(client: MlflowClient, run: Run, *, at: Path) -> ComparedRun:
    run_id = run.info.run_id
    download(run, (PREDICTIONS,), at=at, mend="give a run of bloodcell train or ensemble")
    name = run.data.tags.get(MLFLOW_RUN_NAME, run_id)
    return ComparedRun(
        name=re.sub(r"^\d+: (?=.)", "", name),
        run_id=run_id,
        predictions=read_predictions(at / PREDICTIONS),
        parameters=run.data.params,
        tags=run.data.tags,
        metrics=run.data.metrics,
        curve=_curve(client, run),
    )


def _curve(client: MlflowClient, run: Run) -> list[tuple[float, float]]:
    sources = [run] if EPOCH_ACCURACY in run.data.metrics else folds_of(run)
    histories = [client.get_metric_history(each.info.run_id, EPOCH_ACCURACY) for each in sources]
    values: dict[int, list[float]] = {}
    for each in (each for history in histories for each in history):
        values.setdefault(each.step, []).append(each.value)
    # Folds that go on for longer than others have another mean.
    return [
        (float(step), sum(several) / len(several))
        for step, several in sorted(values.items())
        if len(several) == len(sources)
    ]


def _of_file(file: str) -> ComparedRun:
    path = Path(file).expanduser()
    try:
        if path.suffix == ".csv":
            # No label is taken for a missing one, such as NA or None.
            table = pd.read_csv(
                path,
                dtype=dict.fromkeys(("path", "label", "source", "group"), str),
                keep_default_na=False,
                na_values=[""],
            )
        else:
            table = pd.read_parquet(path)
    except FileNotFoundError as error:
        raise UserError(
            f"runs={file}: there is no such file; give a table of predictions, or the id of a run"
        ) from error
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"runs={file}: cannot be read ({reason}); give a table of predictions") from error
    return ComparedRun(name=path.stem, run_id="", predictions=table, parameters={}, tags={}, metrics={}, curve=())


def _told_apart(runs: list[ComparedRun]) -> list[ComparedRun]:
    """Give runs of one name their ids, too; refuse one that is there twice."""
    ids = [run.run_id for run in runs if run.run_id]
    if twice := [each for each in ids if ids.count(each) > 1]:
        raise UserError(f"runs={twice[0]}: is given twice; give every run once")
    names = [run.name for run in runs]
    return [
        run if names.count(run.name) == 1 else replace(run, name=f"{run.name} [{run.run_id[:8] or number}]")
        for number, run in enumerate(runs)
    ]
