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

from bloodcell.cards.model_card import cautions, metric_lines
from bloodcell.config.schemas import RegisterConfig
from bloodcell.console.json_output import set_json_result
from bloodcell.tracking.models import RegisteredVersion, require_fit, version_with
from bloodcell.tracking.registration import CARD, register_run
from bloodcell.tracking.runs import finished_run, run_or_none
from bloodcell.tracking.store import Store, existing_store


def run(config: RegisterConfig, *, output_dir: Path) -> None:  # noqa: ARG001 - nothing is written
    """Register the model of a run, and write its card; see `bloodcell.tracking.registration.register_run`.

    Raises
    ------
    UserError
        If the run cannot be used, is not fit to be served, or MLflow refuses the name or the alias.
    """
    store = existing_store(config.tracking)
    kept = finished_run(config.run, store, setting="run")
    require_fit(kept, setting="run", force=config.force)
    displaced = version_with(config.alias, name=config.name)
    version = register_run(kept, setting="run", name=config.name, alias=config.alias)
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
