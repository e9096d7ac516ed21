"""Compare runs: which is better, by how much, and with what confidence.

The runs of a sweep or a search; of an MLflow experiment; any runs, also with predictions of other programs (a CSV or
Parquet file with the columns path, label, group and p_<class>):

  bloodcell compare study=4e5f
  bloodcell compare experiment=bloodcell predictions=test
  bloodcell compare runs=[0a1b,2c3d,other.csv] equivalence=0.02

The report is report.html, with the same content in report.md and, for programs, report.json. Only predictions are read,
and the few images that the report shows; no model is loaded.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bloodcell.cards.comparison_report import Report, RunFacts, as_data, write_report
from bloodcell.comparison.comparing import Comparison, compare
from bloodcell.comparison.run_tags import TRAIN, common_group_name
from bloodcell.comparison.sentences import format_interval
from bloodcell.config.parameters import parameters_of
from bloodcell.config.schemas import CompareConfig
from bloodcell.console.json_output import set_json_result
from bloodcell.console.logs import log_file
from bloodcell.data.leaks import SPLIT_NAMES
from bloodcell.experiment.environment import environment_tags
from bloodcell.experiment.images import image_folders
from bloodcell.files import require_output_folder
from bloodcell.tracking.comparisons import (
    COMPARE,
    FOLDER,
    count_comparison,
    keep_report,
    keep_standing,
    read_compared,
    times_compared,
)
from bloodcell.tracking.pooling import Pooled, pool
from bloodcell.tracking.run import JOB_TAG, named_if_lost, tracked_run
from bloodcell.tracking.store import Store, find_store, open_store
from bloodcell.tracking.where import mlflow_ui

SIZE, QUALITY = (160, 120), 78
"""The largest side of a report's pictures in pixels, and their JPEG quality."""


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
    comparison = compare(
        {name: [each.predictions for each in several.runs] for name, several in pooled.items()},
        metrics=config.metrics,
        n_resamples=config.n_resamples,
        equivalence=config.equivalence,
        seed=config.seed,
        split=config.predictions,
        leaky=[name for name, each in pooled.items() if any(run.tags.leaky == "true" for run in each.stored)],
        group_name=common_group_name(each.run.tags for each in runs if each.run),
    )
    store, _ = open_store(config.tracking)
    digest = _digest(comparison)
    report = Report(
        title=f"Comparison of {len(pooled)} {'runs' if len(pooled) != 1 else 'run'}",
        comparison=comparison,
        runs={name: _run_facts(several) for name, several in pooled.items()},
        warnings=_warnings(comparison, pooled, times=times_compared(digest)),
        facts=_facts(config, comparison, store, digest),
        picture=_Pictures(pooled),
    )
    write_report(report, output)
    with named_if_lost(store, output):
        holder = _keep(config, report, output, digest=digest, output_dir=output_dir)
        _keep_standings(report, pooled, holder=holder)
    _show(report, output, where=f"run {holder}, {FOLDER}/report.html")
    set_json_result(
        run_id=holder,
        tracking=store.label,
        mlflow_ui=mlflow_ui(config.tracking, store),
        folder=output.absolute(),
        page=(output / "report.html").absolute(),
        log=log_file(),
        **as_data(report),
    )


def _keep(config: CompareConfig, report: Report, folder: Path, *, digest: str, output_dir: Path) -> str:
    """Log the report to the study's parent, or a new run; return the run's id."""
    summary = " ".join(report.summary)
    if config.study is not None:
        keep_report(config.study, folder, summary=summary)
        count_comparison(config.study, digest)
        return config.study
    with (
        tracked_run(
            tracking=config.tracking,
            name=config.tracking.run_name or report.title,
            tags=environment_tags() | {JOB_TAG: COMPARE, "output_dir": str(output_dir)},
            folder=output_dir,
        ) as tracked,
        named_if_lost(tracked.store, folder),
    ):
        tracked.log_parameters(parameters_of(config))
        keep_report(tracked.run_id, folder, summary=summary)
        count_comparison(tracked.run_id, digest)
        return tracked.run_id


def _keep_standings(report: Report, pooled: Mapping[str, Pooled], *, holder: str) -> None:
    """Log to every run its intervals and its verdict against the baseline."""
    comparison = report.comparison
    estimates = comparison.estimates[comparison.estimates["unit"] == "image"]
    baseline = comparison.aligned.baseline
    verdicts = comparison.verdicts.assign(sentence=comparison.sentences)
    verdicts = verdicts[verdicts["metric"] == comparison.scores[0].name]
    ranking = comparison.ranking.set_index("run")
    prefix = f"compared/{comparison.aligned.split}"
    for name, several in pooled.items():
        own = estimates[estimates["run"] == name]
        metrics = {
            f"{prefix}/{row['metric']}{end}": row[column]
            for row in own.to_dict("records")
            for end, column in (("", "value"), ("_low", "low"), ("_high", "high"))
        }
        pair = verdicts[(verdicts["a"] == name) & (verdicts["b"] == baseline)]
        sentence = "It is the baseline."
        if len(pair):
            row = pair.iloc[0]
            metrics |= {
                f"{prefix}/above_baseline{end}": row[column]
                for end, column in (("", "difference"), ("_low", "low"), ("_high", "high"))
            }
            sentence = row["sentence"]
        tags = {
            "verdict_on_baseline": sentence,
            "can_be_best": str(bool(ranking["can_be_best"][name])).lower(),
        }
        finite = {key: float(value) for key, value in metrics.items() if np.isfinite(value)}
        for each in several.stored:
            keep_standing(each.id, metrics=finite, tags=tags, sentence=sentence, report=holder)


def _run_facts(several: Pooled) -> RunFacts:
    if not several.stored:
        return RunFacts()
    first = several.stored[0]
    speed = first.metrics.get("cost/images_per_second")
    costs = {
        "parameters": first.metrics.get("cost/parameters"),
        "flops": first.metrics.get("cost/flops"),
        "milliseconds": 1000 / speed if speed else None,
    }
    return RunFacts(
        configuration=several.configuration,
        costs={name: value for name, value in costs.items() if value is not None},
        curve=first.curve,
        run_ids=[each.id for each in several.stored],
    )


def _warnings(comparison: Comparison, pooled: Mapping[str, Pooled], *, times: int) -> list[str]:
    """Return the warnings about the results."""
    warnings = []
    split = comparison.aligned.split
    if split == "test" and times:
        warnings.append(
            f"These test images have been compared on {times} {'times' if times > 1 else 'time'} before: if that chose "
            "a model, its test results are optimistic."
        )
    stored = {name: several.stored for name, several in pooled.items()}
    tags = [run.tags for runs in stored.values() for run in runs]
    configs = {name: [run.config for run in runs if run.tags.job == TRAIN] for name, runs in stored.items()}
    if split == "val" and any(each.trial is not None for each in tags):
        warnings.append("A search chose its trials by these images: the result of the best is optimistic.")
    stopped = [name for name, runs in configs.items() if any(each and each.stops_by_validation for each in runs)]
    if split == "val" and stopped:
        which = "all runs" if len(stopped) == len(pooled) else "; ".join(stopped)
        warnings.append(f"Validation chose the epochs of {which}: results on these images are slightly optimistic.")
    for candidate in comparison.aligned.candidates:
        if candidate.leak:
            warnings.append(f"{candidate.name} leaks, and cannot win: {candidate.leak}.")
    if unknown := [name for name, runs in configs.items() if None in runs]:
        warnings.append(
            f"The settings of {'; '.join(unknown)} are those of another version of bloodcell: whether validation chose "
            "their epochs is unknown."
        )
    if any(each.groups == "none" for each in tags):
        warnings.append(
            "Groups are unknown (data.groups=none): if there are copies, they count as independent, and intervals are "
            "too narrow."
        )
    models = [each for each in comparison.aligned.candidates if not each.trivial]
    single = [each.name for each in models if len(each.probabilities) == 1]
    if len(single) < len(models):  # else every verdict says it
        warnings += [f"{name} was trained once: its interval does not include the choice of seed." for name in single]
    return warnings


def _facts(config: CompareConfig, comparison: Comparison, store: Store, digest: str) -> dict[str, str]:
    split = comparison.aligned.split
    kind = ", out of fold" if comparison.aligned.out_of_fold else ""
    return {
        "predictions of": f"{SPLIT_NAMES.get(split, split)}{kind}",
        "classes": ", ".join(comparison.aligned.classes),
        "store": store.label,
        "digest of images and labels": digest,
        "simulations": f"{config.n_resamples:,}, seed {config.seed}",
        "practical equivalence": f"within ±{config.equivalence:g}",
        "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC by bloodcell {version('bloodcell')}",
    }


def _digest(comparison: Comparison) -> str:
    """Return a digest of the compared images and labels."""
    images = comparison.aligned.images
    lines = "\n".join(images["path"] + "\t" + images["label"])
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


class _Pictures:
    """Small JPEGs of the images that still exist."""

    def __init__(self, pooled: Mapping[str, Pooled]) -> None:
        configs = [run.config for several in pooled.values() for run in several.stored]
        self._folders = list(dict.fromkeys(folder for each in configs if each for folder in image_folders(each.data)))

    def __call__(self, path: str) -> bytes | None:
        for folder in self._folders:
            try:
                with Image.open(folder / path) as image:
                    small = image.convert("RGB")
            except OSError:
                continue
            small.thumbnail(SIZE)
            kept = BytesIO()
            small.save(kept, "JPEG", quality=QUALITY)
            return kept.getvalue()
        return None


def _show(report: Report, folder: Path, *, where: str) -> None:
    comparison = report.comparison
    score = comparison.scores[0]
    console = Console(highlight=False, soft_wrap=True)
    title = f"{report.title}, by {score.label}{' in %' if score.is_share else ''}"
    shown = Table(title=escape(title), title_justify="left")
    shown.add_column("run", overflow="fold")
    for heading in comparison.units.values():
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("the best?", no_wrap=True)
    own = comparison.estimates[comparison.estimates["metric"] == score.name]
    by = {unit: own[own["unit"] == unit].set_index("run") for unit in comparison.units}
    for row in comparison.ranking.to_dict("records"):
        cells = [format_interval(each.loc[row["run"]], score) for each in by.values()]
        if len(cells) > 2:  # otherwise there is no room for names
            cells = [cell.replace(" (", "\n(") for cell in cells]
        standing = "leaks" if row["leak"] else "can be" if row["can_be_best"] else "no"
        shown.add_row(escape(str(row["run"])), *cells, standing)
    console.print(shown)
    for sentence in report.summary:
        console.print(sentence, markup=False)
    console.print(str(report.comparison.certificate), markup=False)
    for warning in report.warnings:
        console.print(f"Warning: {warning}", markup=False)
    console.print(f"Report      {folder / 'report.html'}", markup=False)
    console.print(f"MLflow run  {where}", markup=False)
