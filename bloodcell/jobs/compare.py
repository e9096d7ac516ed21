"""Compare runs: which is better, by how much, and with what confidence.

The runs of a sweep or a search; of an MLflow experiment; any runs, also with predictions of other programs (a CSV or
Parquet file with the columns path, label, group and p_<class>):

  bloodcell compare study=4e5f
  bloodcell compare experiment=bloodcell predictions=test
  bloodcell compare runs=[0a1b,2c3d,other.csv] equivalence=0.02

The report is report.html, with the same content in report.md and, for programs, report.json. Only predictions are read,
and the few images that the report shows; no model is loaded.
"""

from pathlib import Path

from rich.console import Console

from bloodcell.cards.comparison_report import Report, write_report
from bloodcell.cards.comparison_table import comparison_table
from bloodcell.comparison.comparing import Comparison, compare
from bloodcell.comparison.decision import split_name
from bloodcell.comparison.run_tags import common_group_name
from bloodcell.config.parameters import parameters_of
from bloodcell.config.schemas import CompareConfig
from bloodcell.console.json_output import set_json_result
from bloodcell.console.logs import log_file
from bloodcell.data.csv_files import groups_by_path
from bloodcell.experiment.environment import environment_tags
from bloodcell.files import require_output_folder
from bloodcell.tracking.comparison_facts import (
    images_digest,
    limitations,
    pictures_of,
    report_facts,
    run_facts,
)
from bloodcell.tracking.comparisons import (
    COMPARE,
    FOLDER,
    count_comparison,
    keep_report,
    keep_standings,
    read_compared,
    times_compared,
)
from bloodcell.tracking.pooling import Pooled, pool
from bloodcell.tracking.run import JOB_TAG, require_delivered, tracked_run
from bloodcell.tracking.store import find_store, named_if_lost, open_store
from bloodcell.tracking.where import mlflow_ui
from bloodcell.wording import counted


def run(config: CompareConfig, *, output_dir: Path) -> None:
    """Compare runs, write the report into a folder, log it to MLflow, and print the result.

    The folder is written first, MLflow second, so a lost store loses nothing.

    Raises
    ------
    UserError
        If the store or a run cannot be used, runs cannot be compared, or the folder cannot be written.
    StoreLostError
        If the store fails after the report was written.
    """
    find_store(config.tracking)  # refuses a missing store before anything is read
    output = output_dir / "artifacts" / FOLDER if config.output is None else Path(config.output).expanduser()
    require_output_folder(output)
    runs = read_compared(tracking=config.tracking, runs=config.runs, study=config.study, experiment=config.experiment)
    pooled = pool(runs) if config.pool_seeds else {each.name: Pooled(runs=(each,)) for each in runs}
    majority = next((name for name, each in pooled.items() if each.is_majority), None)
    comparison = compare(
        {name: [each.predictions for each in several.runs] for name, several in pooled.items()},
        metrics=config.metrics,
        n_resamples=config.n_resamples,
        equivalence=config.equivalence,
        seed=config.seed,
        split=config.predictions,
        evidence={name: each.evidence for name, each in pooled.items()},
        group_name=common_group_name(each.run.tags for each in runs if each.run),
        columns=config.columns,
        classes=config.classes,
        groups=None if config.groups_file is None else groups_by_path(config.groups_file, setting="groups_file"),
        baseline=majority,
    )
    store, _ = open_store(config.tracking)
    digest = images_digest(comparison)
    report = Report(
        title=f"Comparison of {counted(len(pooled) - (majority is not None), 'run')} on {split_name(comparison)}",
        comparison=comparison,
        runs={name: run_facts(several, with_curve=name in comparison.leading) for name, several in pooled.items()},
        warnings=[
            *comparison.aligned.notes,
            *_left_out(comparison),
            *limitations(comparison.aligned, pooled, times=times_compared(digest)),
        ],
        facts=report_facts(comparison, store),
        picture=pictures_of(pooled),
    )
    write_report(report, output)
    with named_if_lost(store, output):
        holder = _keep(config, report, output, digest=digest, output_dir=output_dir)
        keep_standings(comparison, {name: each.stored for name, each in pooled.items()}, report=holder)
    _show(report, output, where=f"run {holder}, {FOLDER}/report.html")
    set_json_result(
        run_id=holder,
        tracking=store.label,
        mlflow_ui=mlflow_ui(config.tracking, store),
        folder=output.absolute(),
        page=(output / "report.html").absolute(),
        log=log_file(),
        **report.data,
    )


def _keep(config: CompareConfig, report: Report, folder: Path, *, digest: str, output_dir: Path) -> str:
    """Log the report to the study's parent, or a new run; return the run's id."""
    summary = " ".join(report.decision.sentences)
    if config.study is not None:
        keep_report(config.study, folder, summary=summary)
        count_comparison(config.study, digest)
        return config.study
    with tracked_run(
        tracking=config.tracking,
        name=config.tracking.run_name or report.title,
        tags=environment_tags() | {JOB_TAG: COMPARE},
        folder=output_dir,
    ) as tracked:
        tracked.log_parameters(parameters_of(config))
    require_delivered(tracked)
    keep_report(tracked.run_id, folder, summary=summary)
    count_comparison(tracked.run_id, digest)
    return tracked.run_id


def _left_out(comparison: Comparison) -> list[str]:
    if not comparison.left_out:
        return []
    return [f"{comparison.left_out} The report shows only these models; report.json and estimates.csv have all."]


def _show(report: Report, folder: Path, *, where: str) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(comparison_table(report.comparison, title=report.title))
    warnings = [f"Warning: {warning}" for warning in report.warnings]
    page = folder / "report.html"
    for line in (*report.decision.sentences, str(report.comparison.certificate), *warnings):
        console.print(line, markup=False)
    console.print(f"Report      {page}", markup=False)
    console.print(f"MLflow run  {where}", markup=False)
