"""Put a run's model into MLflow's registry, under an alias, with a card that says what is known of it.

For example:

  bloodcell register run=ID
  bloodcell register run=ID name=smears alias=candidate

It is then asked with `bloodcell predict model=models:/bloodcell@best`, and served with `mlflow models serve`. The card
is model_card.md among the run's artifacts, and the version's description.
"""

from pathlib import Path

from rich.console import Console

from bloodcell.cards.model_card import accuracies_of, cautions, figures_in_short, model_card, shortened
from bloodcell.config.schemas import RegisterConfig
from bloodcell.console.document import tell
from bloodcell.jobs._card import card_facts
from bloodcell.tracking.kept import answering_of, existing_store, finished_run, keep_text, model_of, register
from bloodcell.wording import group_name_of

TAGS = ("leaky", "groups", "group_name", "data_digest", "weights", "weights_digest", "git_commit")
"""Of the run, which the version takes over."""
CARD = "model_card.md"
MAX_DESCRIPTION = 5000
"""What MLflow's databases have room for, in characters."""


def run(config: RegisterConfig, *, output_dir: Path) -> None:  # noqa: ARG001 - nothing is written
    """Register the model of a run, and write its card.

    A run that is registered under another name again keeps the newer card; each version's description stays.

    Raises
    ------
    UserError
        If the run cannot be used, or MLflow refuses the name or the alias.
    """
    store = existing_store(config.tracking)
    kept = finished_run(config.run, store, setting="run")
    address = model_of(kept, setting="run")
    answering = answering_of(address, setting=f"run={config.run}")
    card = model_card(card_facts(kept, name=config.name, answering=answering))
    metrics, tags = kept.data.metrics, kept.data.tags
    group_name = group_name_of([tags])
    said = [*figures_in_short(metrics, group_name=group_name), *cautions(tags)]
    page = f"#/experiments/{kept.info.experiment_id}/runs/{kept.info.run_id}/artifacts/{CARD}"
    version = register(
        address,
        name=config.name,
        alias=config.alias,
        description=shortened(card, limit=MAX_DESCRIPTION, whole=f"[{CARD}]({page})"),
        tags={name: tags[name] for name in TAGS if name in tags}
        | {
            f"{split}_{name}": f"{metrics[f'{split}/{name}']:.4f}"
            for split in ("val", "test")
            for name in accuracies_of(group_name)
            if f"{split}/{name}" in metrics
        },
    )
    keep_text(kept, card, CARD)
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{config.name}, version {version}, is now models:/{config.name}@{config.alias} in {store.label}", markup=False
    )
    for line in said:
        console.print(line, markup=False)
    tell(
        name=config.name,
        version=version,
        alias=config.alias,
        model=f"models:/{config.name}@{config.alias}",
        run_id=kept.info.run_id,
        tracking=store.label,
        card=CARD,
        said=said,
    )
    console.print(f"Its card    {CARD}, an artifact of run {kept.info.run_id}", markup=False)
    console.print(
        f"Ask it      bloodcell predict model=models:/{config.name}@{config.alias} images=FOLDER", markup=False
    )
