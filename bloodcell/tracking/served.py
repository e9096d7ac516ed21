"""A stored model to serve or export, with its run and its card."""

from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from bloodcell.cards.model_card import model_card
from bloodcell.tracking.card_facts import card_facts
from bloodcell.tracking.models import RUN_TAG, StoredModel, load_model, model_of
from bloodcell.tracking.registration import CARD
from bloodcell.tracking.runs import StoredRun, finished_run, run_or_none
from bloodcell.tracking.store import Store

REGISTERED = "models:/"


@dataclass(frozen=True, kw_only=True)
class ChosenModel:
    """A model that was chosen by its run or its address.

    Attributes
    ----------
    stored
        The model.
    name
        For people.
    run
        The run that logged it; None: unknown.
    description
        Of a registered version; empty without one.
    """

    stored: StoredModel
    name: str
    run: StoredRun | None
    description: str

    @property
    def card(self) -> str | None:
        """Its model card in Markdown; None: it has none.

        It is that in the run's artifacts, or one made of the run, or the description of a registered version whose run
        is gone.
        """
        if self.run is None:
            return self.description or None
        if CARD in self.run.files:
            return self.run.read(CARD, lambda path: path.read_text(encoding="utf-8"))
        return model_card(card_facts(self.run, name=self.name, serving=self.stored.serving))


def choose_model(store: Store, *, run: str | None, model: str | None) -> ChosenModel:
    """Load the model of a run, or of an address.

    Raises
    ------
    UserError
        If there is no such run or model, or it cannot be used.
    """
    version: ModelVersion | None = None
    if run is not None:
        found: StoredRun | None = finished_run(run, store, setting="run")
        assert found is not None
        address, setting, name = model_of(found, setting="run"), f"run={run}", found.name
    else:
        address, setting = str(model), f"model={model}"
        version = _version_of(address)
        name = address if version is None else f"{version.name}, version {version.version}"
    stored = load_model(address, setting=setting)
    if run is None:
        run_id = (version.tags.get(RUN_TAG) if version else None) or stored.interface.metadata.run_id
        found = run_or_none(run_id) if run_id else None
    description = (version.description if version else None) or ""
    return ChosenModel(stored=stored, name=name, run=found, description=description)


def _version_of(address: str) -> ModelVersion | None:
    """Return the registered version of an address; None if it names none."""
    name, _, which = address.removeprefix(REGISTERED).partition("/" if "@" not in address else "@")
    if not address.startswith(REGISTERED) or not which:
        return None
    client = MlflowClient()
    try:
        found = (
            client.get_model_version_by_alias(name, which) if "@" in address else client.get_model_version(name, which)
        )
    except MlflowException as error:
        if error.get_http_status_code() >= 500:
            raise
        return None  # loading it gives the reason
    return found
