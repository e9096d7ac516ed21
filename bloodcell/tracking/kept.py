"""Models that runs have kept: found, loaded, registered."""

import tempfile
from collections.abc import Mapping
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from bloodcell.config import TrackingConfig
from bloodcell.errors import UserError
from bloodcell.serving import loader
from bloodcell.tracking.run import FOLD_TAG
from bloodcell.tracking.store import Store, is_unknown, open_store


def finished_run(run_id: str, *, tracking: TrackingConfig) -> tuple[Store, Run]:
    """Return a run that is finished, and the store that it is in.

    Raises
    ------
    UserError
        If the store cannot be opened, or has no such run, or the run did not finish.
    """
    store, _ = open_store(tracking)
    try:
        run = MlflowClient().get_run(run_id)
    except MlflowException as error:
        if not is_unknown(error):
            raise
        raise UserError(f"run={run_id}: {store.label} has no such run; give the id that MLflow shows") from error
    if run.info.status != "FINISHED":
        raise UserError(f"run={run_id}: is {run.info.status.lower()}; give a run that is finished")
    return store, run


def model_of(run: Run) -> str:
    """Return the address of the model that a run keeps.

    Raises
    ------
    UserError
        If it keeps none of its own.
    """
    if run.outputs is not None and run.outputs.model_outputs:
        return f"models:/{run.outputs.model_outputs[-1].model_id}"
    run_id = run.info.run_id
    folds = MlflowClient().search_runs(
        [run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}' and tags.{FOLD_TAG} = '1'", max_results=1
    )
    if folds:
        raise UserError(
            f"run={run_id}: is a cross-validation, which has a model for each fold and none of its own; train with "
            f"split.refit=true, or give the run of a fold, such as {folds[0].info.run_id}"
        )
    raise UserError(f"run={run_id}: keeps no model; train with log_model=true")


def load_served(address: str, *, setting: str) -> Any:
    """Load what answers for images, as ``mlflow models serve`` would.

    Parameters
    ----------
    address
        As MLflow takes it: ``models:/NAME@ALIAS``, ``models:/ID``, ``runs:/ID/model``, a folder.
    setting
        What named it, for messages.

    Returns
    -------
    mlflow.pyfunc.PyFuncModel
        See `bloodcell.serving.loader`.

    Raises
    ------
    UserError
        If there is no such model, or it is no model of bloodcell's.
    """
    try:
        folder = mlflow.artifacts.download_artifacts(artifact_uri=address, dst_path=tempfile.mkdtemp())
        flavours = mlflow.models.Model.load(folder).flavors
    except (MlflowException, OSError) as error:
        raise UserError(
            f"{setting}: cannot be loaded ({' '.join(str(error).split())}); give run=ID or models:/NAME@ALIAS"
        ) from error
    if flavours.get("python_function", {}).get("loader_module") != loader.__name__:
        raise UserError(f"{setting}: does not answer for images; give a model that bloodcell has kept")
    return mlflow.pyfunc.load_model(folder)


def register(address: str, *, name: str, alias: str, description: str, tags: Mapping[str, str]) -> int:
    """Make a model the newest version of a registered one, give it an alias, and return the version's number.

    Raises
    ------
    UserError
        If MLflow refuses the name or the alias.
    """
    client = MlflowClient()
    try:
        version = mlflow.register_model(address, name, tags=dict(tags)).version
        client.update_model_version(name, version, description=description)
        client.set_registered_model_alias(name, alias, version)
    except MlflowException as error:
        if error.get_http_status_code() >= 500:
            raise
        raise UserError(f"name={name}, alias={alias}: MLflow refuses it ({' '.join(str(error).split())})") from error
    return int(version)
