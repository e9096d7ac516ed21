"""The facts of a report, from a run or the best run of a study, and from an audit."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from bloodcell.cards.model_card_metrics import HELD_OUT
from bloodcell.cards.report_facts import ReportAudit, ReportFacts, ReportRun, StudyFacts
from bloodcell.comparison.leaderboard import OBJECTIVE, leaderboard
from bloodcell.comparison.run_tags import ENSEMBLE, TRAIN
from bloodcell.errors import UserError
from bloodcell.evaluation.predictions import PROBABILITY_PREFIX
from bloodcell.tracking.card_facts import (
    date_of,
    found_leakage,
    kept,
    member_trainings,
    study_of,
    tested_runs,
    training_of,
)
from bloodcell.tracking.runs import StoredRun, find_run, finished_run, run_or_none, runs_of_study, search_runs
from bloodcell.tracking.store import Store
from bloodcell.tracking.study import entry_of

LOCAL_PAGES = "http://127.0.0.1:5000"
"""Where ``bloodcell ui`` serves an embedded store, unless its settings say otherwise."""
MAX_AUDIT_BYTES = 200_000_000


def facts_of_run(run_id: str, store: Store) -> ReportFacts:
    """Return the facts of a finished run.

    Raises
    ------
    UserError
        If the store has no such finished run of a training or an ensemble.
    """
    run = finished_run(run_id, store, setting="run")
    if run.tags.job not in (TRAIN, ENSEMBLE) or run.tags.data_digest is None:
        raise UserError(f"run={run_id}: is not a training or an ensemble; give the id of one, or study=ID")
    return _facts(run, store)


def facts_of_study(study: str, store: Store) -> ReportFacts:
    """Return the facts of the best run of a study by validation, as in its leaderboard.

    Raises
    ------
    UserError
        If the store has no such study, or none of its runs finished.
    """
    children = [each for each in runs_of_study(study, store) if each.tags.has_predictions or not each.finished]
    parent = find_run(study, store, setting="study")
    finished = {each.id: each for each in children if each.finished}
    if not finished:
        raise UserError(f"study={study}: has no finished run; give another study, or run=ID")
    objective = (
        parent.parameters.get("tuner.objective")
        if any(OBJECTIVE in each.metrics for each in finished.values())
        else None
    )
    table = leaderboard([entry_of(each) for each in finished.values()], objective=objective)
    ranked = [finished[run_id] for run_id in table["run_id"]]
    facts = _facts(ranked[0], store)
    return replace(
        facts,
        study=StudyFacts(
            run=_run(parent, store),
            kind=parent.tags.study or "study",
            runs=[_run(each, store) for each in ranked],
            not_finished=len(children) - len(finished),
        ),
    )


def read_audit(file: str, facts: ReportFacts, store: Store) -> ReportAudit:
    """Return the audit in a file ``audit.json``.

    Raises
    ------
    UserError
        If it cannot be read, is not an audit, or is of other classes than the run.
    """
    path = Path(file).expanduser()
    try:
        if path.stat().st_size > MAX_AUDIT_BYTES:
            raise UserError(f"audit={file}: is too large; give audit.json of bloodcell audit")
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "it is not JSON"
        raise UserError(f"audit={file}: cannot be read ({reason}); give audit.json of bloodcell audit") from error
    lists = [data.get(name) for name in ("findings", "clear")] if isinstance(data, Mapping) else [None]
    if not all(isinstance(each, list) for each in lists) or not isinstance(data.get("facts"), Mapping):
        raise UserError(f"audit={file}: is not an audit; give audit.json of bloodcell audit")
    found = [each for several in lists for each in several or [] if isinstance(each, Mapping)]
    findings = {str(each["code"]): each for each in found if "code" in each and isinstance(each.get("what"), str)}
    classes = str(data["facts"].get("classes", ""))
    if facts.classes and classes != ", ".join(facts.classes):
        raise UserError(
            f"audit={file}: is of the classes {classes}, and the run of {', '.join(facts.classes)}; give the audit of "
            "the run's images"
        )
    digest = str(data["facts"].get("data digest", ""))
    runs = search_runs(f"tags.job = 'audit' AND tags.data_digest = '{digest}'") if re.fullmatch(r"\w+", digest) else []
    if not runs:
        return ReportAudit(findings=findings, run_id=None, page=path.absolute().as_uri())
    return ReportAudit(findings=findings, run_id=runs[-1].id, page=f"{_page(runs[-1], store)}/artifacts/audit.json")


def _facts(run: StoredRun, store: Store) -> ReportFacts:
    is_ensemble = run.tags.job == ENSEMBLE
    trainings = member_trainings(run) if is_ensemble else [training_of(run)]
    predictions, manifest = kept(lambda: run.predictions), kept(lambda: run.manifest)
    siblings, kind, readings = study_of(run)
    tables = {split: _table(run, f"report/{split}.csv") for split in HELD_OUT}
    return ReportFacts(
        run=_run(run, store),
        date=date_of(run.started),
        trainings=trainings,
        members=[_run(each, store) for run_id in run.tags.members if (each := run_or_none(run_id)) is not None],
        method=run.tags.method or "soft" if is_ensemble else "",
        classes=_classes(predictions, manifest),
        predictions=predictions,
        manifest=manifest,
        per_class={split: table for split, table in tables.items() if table is not None},
        unreadable=_table(run, "unreadable_images.csv"),
        excluded=_table(run, "excluded_images.csv"),
        leakage=found_leakage(run, trainings, manifest, predictions),
        folds=[_run(fold, store) for fold in run.folds],
        models=run.models,
        siblings=siblings,
        study_kind=kind,
        tested_runs=tested_runs(run),
        test_readings=readings,
    )


def _table(run: StoredRun, file: str) -> pd.DataFrame | None:
    """Return a table of the run's files; None if it has none."""
    return kept(lambda: run.read(file, pd.read_csv))


def _classes(predictions: pd.DataFrame | None, manifest: pd.DataFrame | None) -> list[str]:
    if predictions is not None:
        columns = [str(name) for name in predictions.columns]
        return [name.removeprefix(PROBABILITY_PREFIX) for name in columns if name.startswith(PROBABILITY_PREFIX)]
    return [] if manifest is None else sorted(manifest["label"].astype(str).unique())


def _run(run: StoredRun, store: Store) -> ReportRun:
    return ReportRun(
        id=run.id,
        name=run.name,
        page=_page(run, store),
        tags=run.tags,
        metrics=run.metrics,
        parameters=run.parameters,
    )


def _page(run: StoredRun, store: Store) -> str:
    """Return the address of a run's page in the MLflow UI."""
    base = store.label.rstrip("/") if store.is_server else LOCAL_PAGES
    return f"{base}/#/experiments/{run.experiment_id}/runs/{run.id}"
