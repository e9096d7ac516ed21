"""Registering the model of a run as a new version, with its model card and what is known of it as tags."""

from collections.abc import Mapping

from bloodcell.cards.model_card import accuracies_of, model_card, shortened
from bloodcell.evaluation.evidence import as_text
from bloodcell.tracking.card_facts import card_facts
from bloodcell.tracking.models import RUN_TAG, log_text, model_of, register, serving_parameters_of
from bloodcell.tracking.runs import StoredRun

TAGS = ("leaky", "groups", "group_name", "data_digest", "weights", "weights_digest", "git_commit")
"""Tags of the run that the version also gets."""
CARD = "model_card.md"
MAX_DESCRIPTION = 5000
"""The limit of MLflow's databases, in characters."""


def register_run(
    run: StoredRun, *, setting: str, name: str, alias: str | None = None, tags: Mapping[str, str] | None = None
) -> int:
    """Register the model of a run, write its card, and return the number of the version.

    The card is the description of the version and an artifact of the run. A run that is registered under another name
    again keeps the newer card; each version's description stays.

    Parameters
    ----------
    run
        A finished run.
    setting
        The setting that named it, for messages.
    name
        Of the registered model.
    alias
        Of the version; None: no alias is moved.
    tags
        Of the version, besides those of every version.

    Raises
    ------
    UserError
        If the run has no model, or MLflow refuses the name or the alias.
    """
    address = model_of(run, setting=setting)
    serving = serving_parameters_of(address, setting=f"{setting}={run.id}")
    card = model_card(card_facts(run, name=name, serving=serving))
    page = f"#/experiments/{run.experiment_id}/runs/{run.id}/artifacts/{CARD}"
    version = register(
        address,
        name=name,
        alias=alias,
        description=shortened(card, limit=MAX_DESCRIPTION, whole=f"[{CARD}]({page})"),
        tags=_version_tags(run) | dict(tags or {}),
    )
    log_text(run, card, CARD)
    return version


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
