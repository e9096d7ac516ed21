"""Make a run's model the best one in MLflow's registry, if a comparison shows that it is; or roll back.

  bloodcell promote candidate=RUN_ID
  bloodcell promote model=smears candidate=RUN_ID equivalence=0.02
  bloodcell promote to=VERSION reason="fails on slides of the new stain"

The candidate is compared with the champion, the version with the alias best, on held-out images that neither was
trained on, never the test set. If they were validated on different images, the champion predicts the candidate's
validation images that it was not trained on. The alias moves if the candidate is better, or equivalent and cheaper.
Without a champion the candidate must be better than the majority class. Exit codes: 0 promoted, 3 worse or equivalent
and not cheaper, 4 cannot tell.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from bloodcell.cards.comparison_report import Report, write_report
from bloodcell.comparison.comparing import Comparison, compare
from bloodcell.comparison.promotion import Decision, decide
from bloodcell.comparison.run_tags import common_group_name
from bloodcell.comparison.sentences import format_interval
from bloodcell.config.schemas import PromoteConfig
from bloodcell.console.json_output import set_json_result
from bloodcell.console.logs import log_file
from bloodcell.errors import UserError
from bloodcell.files import require_output_folder
from bloodcell.tracking.challenges import Challenge, find_challenge
from bloodcell.tracking.comparison_facts import images_digest, limitations, pictures_of, report_facts, run_facts
from bloodcell.tracking.comparisons import ComparedRun
from bloodcell.tracking.held_out import HeldOut, held_out_predictions
from bloodcell.tracking.models import (
    RegisteredVersion,
    log_folder,
    model_of,
    move_alias,
    remove_version,
    require_fit,
    tag_run,
    version_numbered,
    version_with,
)
from bloodcell.tracking.pooling import Pooled
from bloodcell.tracking.registration import register_run
from bloodcell.tracking.runs import StoredRun, finished_run, run_or_none
from bloodcell.tracking.store import Store, existing_store, named_if_lost
from bloodcell.wording import counted

ALIAS = "best"
"""The alias of the champion."""
FOLDER = "promotion"
"""The folder of the report among the candidate's artifacts."""
EXIT_CODES = {"promoted": 0, "not promoted": 3, "cannot tell": 4}


def run(config: PromoteConfig, *, output_dir: Path) -> None:
    """Promote a candidate, or roll back to a version.

    Raises
    ------
    UserError
        If a run or version cannot be used or is not fit to be served, the runs cannot be compared, or the alias moved
        meanwhile.
    SystemExit
        If the candidate is not promoted, with the code 3 or 4.
    """
    store = existing_store(config.tracking)
    if config.to is not None:
        _roll_back(config, config.to, store=store)
        return
    output = output_dir / "artifacts" / FOLDER if config.output is None else Path(config.output).expanduser()
    require_output_folder(output)
    candidate = finished_run(str(config.candidate), store, setting="candidate")
    require_fit(candidate, setting="candidate", force=config.force)
    model_of(candidate, setting="candidate")
    version = version_with(ALIAS, name=config.model)
    champion = None if version is None else _champion(version, candidate, config)
    report, decision, challenge = _compared(config, candidate, champion, version=version, store=store)
    write_report(report, output)
    with named_if_lost(store, output):
        new = _keep(config, candidate, decision, challenge, champion=version, folder=output)
    _show(config, report, decision, new=new, champion=version, folder=output, candidate=candidate)
    set_json_result(
        outcome=decision.outcome,
        verdict=decision.verdict,
        sentence=decision.sentence,
        model=config.model,
        alias=ALIAS,
        version=new,
        candidate_run=candidate.id,
        champion_version=version and version.number,
        champion_run=version and version.run_id,
        challenges=challenge and challenge.number,
        report=_address(candidate),
        tracking=store.label,
        folder=output.absolute(),
        page=(output / "report.html").absolute(),
        log=log_file(),
        comparison=report.data,
    )
    if code := EXIT_CODES[decision.outcome]:
        raise SystemExit(code)


def _champion(version: RegisteredVersion, candidate: StoredRun, config: PromoteConfig) -> StoredRun:
    """Return the run of the champion's version."""
    address = f"models:/{config.model}@{ALIAS}"
    found = None if version.run_id is None else run_or_none(version.run_id)
    if found is None:
        raise UserError(
            f"{address}: the run of version {version.number} is not in the store, so what it was trained on is "
            "unknown; move the alias to a version that has its run, with to=VERSION"
        )
    if found.id == candidate.id:
        raise UserError(f"candidate={candidate.id}: is already {address}, version {version.number}; give another run")
    return found


def _compared(
    config: PromoteConfig,
    candidate: StoredRun,
    champion: StoredRun | None,
    *,
    version: RegisteredVersion | None,
    store: Store,
) -> tuple[Report, Decision, Challenge | None]:
    """Compare the candidate with the champion, or with the baseline alone."""
    ours = f"{candidate.name} (candidate)"
    theirs = None
    runs, notes = {ours: candidate}, []
    tables: dict[str, pd.DataFrame] = {ours: candidate.predictions}
    if champion is not None and version is not None:
        theirs = f"{champion.name} (version {version.number}, @{ALIAS})"
        held_out: HeldOut = held_out_predictions(
            candidate, champion, address=f"models:/{config.model}/{version.number}"
        )
        runs |= {theirs: champion}
        tables = {ours: held_out.candidate, theirs: held_out.champion}
        notes = [held_out.note]
    pooled = {
        name: Pooled(runs=(ComparedRun(name=name, predictions=tables[name], run=each),)) for name, each in runs.items()
    }
    comparison = compare(
        tables,
        metrics=config.metrics,
        n_resamples=config.n_resamples,
        equivalence=config.equivalence,
        seed=config.seed,
        split="val",
        evidence={name: each.evidence for name, each in pooled.items()},
        group_name=common_group_name(each.tags for each in runs.values()),
    )
    facts = {name: run_facts(several) for name, several in pooled.items()}
    costs: dict[str, Mapping[str, float]] = {name: each.costs for name, each in facts.items()}
    decision = decide(comparison, candidate=ours, champion=theirs, costs=costs)
    challenge = None
    if version is not None:
        challenge = find_challenge(candidate, version, model=config.model, images=images_digest(comparison))
        notes.append(challenge.sentence)
    report = Report(
        title=f"Promotion of {candidate.name} to models:/{config.model}@{ALIAS}: {decision.outcome}",
        comparison=comparison,
        runs=facts,
        warnings=[*notes, *limitations(comparison.aligned, pooled, times=0)],
        facts={"decision": f"{decision.outcome}. {decision.sentence}"} | report_facts(comparison, store),
        picture=pictures_of(pooled),
    )
    return report, decision, challenge


def _keep(
    config: PromoteConfig,
    candidate: StoredRun,
    decision: Decision,
    challenge: Challenge | None,
    *,
    champion: RegisteredVersion | None,
    folder: Path,
) -> int | None:
    """Keep the report and the verdict with the candidate, and promote it if it is; return its version."""
    if challenge is not None:
        challenge.count(candidate)
    log_folder(candidate, folder, FOLDER)
    tags = {
        "promotion": decision.outcome,
        "promotion_verdict": decision.sentence,
        "promotion_candidate_run": candidate.id,
        "promotion_report": _address(candidate),
        "promotion_time": _now(),
    }
    if champion is not None:
        tags |= {"promotion_champion_version": str(champion.number), "promotion_champion_run": str(champion.run_id)}
    new = None
    if decision.outcome == "promoted":
        new = register_run(candidate, setting="candidate", name=config.model, tags=tags)
        try:
            move_alias(ALIAS, name=config.model, to=new, expected=champion)
        except UserError:
            remove_version(new, name=config.model)
            raise
    tag_run(candidate, tags)
    return new


def _roll_back(config: PromoteConfig, number: int, *, store: Store) -> None:
    """Move the alias to a version, with the reason."""
    name, setting = config.model, f"to={number}"
    version, before = version_numbered(number, name=name), version_with(ALIAS, name=name)
    if version is None:
        raise UserError(f"{setting}: {name} has no such version in {store.label}; give the number of one")
    if before is not None and before.number == number:
        raise UserError(f"{setting}: is already models:/{name}@{ALIAS}; give another version")
    kept = None if version.run_id is None else run_or_none(version.run_id)
    if kept is not None:
        require_fit(kept, setting=f"{setting}, run", force=config.force)
    elif not config.force:
        raise UserError(
            f"{setting}: its run is not in the store, so whether it is fit to be served is unknown; give another "
            "version, or force=true to serve it all the same"
        )
    tags = {
        "rollback_reason": str(config.reason),
        "rollback_from_version": str(before.number) if before else "none",
        "rollback_time": _now(),
    }
    move_alias(ALIAS, name=name, to=number, expected=before, tags=tags)
    came = f", from version {before.number}" if before else ""
    _print([f"models:/{name}@{ALIAS} is now version {number}{came}, in {store.label}", f"Reason      {config.reason}"])
    set_json_result(
        outcome="rolled back",
        model=name,
        alias=ALIAS,
        version=number,
        from_version=before and before.number,
        reason=config.reason,
        run_id=version.run_id,
        tracking=store.label,
    )


def _address(candidate: StoredRun) -> str:
    return f"runs:/{candidate.id}/{FOLDER}/report.html"


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _show(
    config: PromoteConfig,
    report: Report,
    decision: Decision,
    *,
    new: int | None,
    champion: RegisteredVersion | None,
    folder: Path,
    candidate: StoredRun,
) -> None:
    model = f"models:/{config.model}@{ALIAS}"
    stays = f"stays version {champion.number}" if champion else "has no version"
    ends = {
        "promoted": f"Promoted: {model} is now version {new}",
        "not promoted": f"Not promoted: {model} {stays}",
        "cannot tell": f"Cannot tell, so not promoted: {model} {stays}",
    }
    _print(
        [
            *_estimates(report.comparison),
            decision.sentence,
            *report.warnings,
            ends[decision.outcome],
            f"Report      {folder / 'report.html'}",
            f"MLflow run  run {candidate.id}, {FOLDER}/report.html",
        ]
    )


def _estimates(comparison: Comparison) -> list[str]:
    """Return a line for each model with its score and interval."""
    score = comparison.scores[0]
    estimates: dict[Any, Any] = comparison.estimates_of(score)["image"].to_dict("index")
    groups = f"{counted(comparison.n_images, 'image')}, {counted(comparison.n_groups, comparison.group_name)}"
    unit = ", %" if score.is_share else ""
    return [f"Validation {score.label}{unit}, 95 % interval ({groups}):"] + [
        f"  {format_interval(row, score)}  {name}" for name, row in estimates.items()
    ]


def _print(lines: list[str]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        console.print(line, markup=False)
