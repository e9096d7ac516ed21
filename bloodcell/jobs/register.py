"""Add a run's model to MLflow's registry, with a model card.

  bloodcell register run=ID
  bloodcell register run=ID name=smears alias=best

Then `bloodcell predict model=models:/bloodcell@candidate` predicts with it, and `mlflow models serve` serves it. The
card is model_card.md in the run's artifacts, and the description of the registered version. A run that is not fit to
be served (a debug run, one that leaks, is below the baseline or has seen only rendered cells) is refused.
"""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bloodcell.cards.model_card import accuracies_of, cautions, metric_lines, model_card, shortened
from bloodcell.config.schemas import RegisterConfig
from bloodcell.console.json_output import set_json_result
from bloodcell.evaluation.evidence import as_text
from bloodcell.tracking.card_facts import card_facts
from bloodcell.tracking.models import (
    RUN_TAG,
    RegisteredVersion,
    log_text,
    model_of,
    register,
    require_fit,
    serving_parameters_of,
    version_with,
)
from bloodcell.tracking.runs import StoredRun, finished_run, run_or_none
from bloodcell.tracking.store import Store, existing_store

TAGS = ("leaky", "groups", "group_name", "data_digest", "weights", "weights_digest", "git_commit")
"""Tags of the run that the version also gets."""
CARD = "model_card.md"
MAX_DESCRIPTION = 5000
"""The limit of MLflow's databases, in characters."""


def run(config: RegisterConfig, *, output_dir: Path) -> None:  # noqa: ARG001 - nothing is written
    """Register the model of a run, and write its card.

    A run that is registered under another name again keeps the newer card; each version's description stays.

    Raises
    ------
    UserError
        If the run cannot be used, is not fit to be served, or MLflow refuses the name or the alias.
    """
    store = existing_store(config.tracking)
    kept = finished_run(config.run, store, setting="run")
    require_fit(kept, setting="run", force=config.force)
    address = model_of(kept, setting="run")
    serving = serving_parameters_of(address, setting=f"run={config.run}")
    card = model_card(card_facts(kept, name=config.name, serving=serving))
    page = f"#/experiments/{kept.experiment_id}/runs/{kept.id}/artifacts/{CARD}"
    displaced = version_with(config.alias, name=config.name)
    version = register(
        address,
        name=config.name,
        alias=config.alias,
        description=shortened(card, limit=MAX_DESCRIPTION, whole=f"[{CARD}]({page})"),
        tags=_version_tags(kept),
    )
    log_text(kept, card, CARD)
    lines = [
        *_displaced(displaced, config.alias),
        *metric_lines(kept.metrics, group_name=kept.tags.group_name),
        *cautions(kept.tags),
    ]
    _show(config, version, lines, run_id=kept.id, store=store)


def _displaced(version: RegisteredVersion | None, alias: str) -> list[str]:
    """Say which version loses the alias, and its figures."""
    if version is None:
        return []
    run = None if version.run_id is None else run_or_none(version.run_id)
    figures = [] if run is None else metric_lines(run.metrics, group_name=run.tags.group_name)
    known = figures or ["unknown, because the store no longer has its run"]
    return [f"Version {version.number} is no longer @{alias}. Its figures:", *(f"  {each}" for each in known)]


def _version_tags(run: StoredRun) -> dict[str, str]:
    """Return the tags of a model's version: those of its run that matter, and its accuracies."""
    values = {name: getattr(run.tags, name) for name in TAGS} | {
        RUN_TAG: run.id,
        "evidence": as_text(run.tags.evidence),
    }
    accuracies = [f"{split}/{name}" for split in ("val", "test") for name in accuracies_of(run.tags.group_name)]
    return {name: value for name, value in values.items() if value is not None} | {
        name.replace("/", "_"): f"{run.metrics[name]:.4f}" for name in accuracies if name in run.metrics
    }


def _show(config: RegisterConfig, version: int, lines: Sequence[str], *, run_id: str, store: Store) -> None:
    model = f"models:/{config.name}@{config.alias}"
    set_json_result(
        name=config.name,
        version=version,
        alias=config.alias,
        model=model,
        run_id=run_id,
        tracking=store.label,
        card=CARD,
        notes=lines,
    )
    console = Console(highlight=False, soft_wrap=True)
    for line in (
        f"{config.name}, version {version}, is now {model} in {store.label}",
        *lines,
        f"Model card  {CARD}, an artifact of run {run_id}",
        f"Predict     bloodcell predict model={model} images=FOLDER",
    ):
        console.print(line, markup=False)
