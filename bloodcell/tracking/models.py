"""Finding, loading and registering the models of runs."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import RunTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel

from bloodcell.errors import UserError
from bloodcell.evaluation.evidence import why_not_registered
from bloodcell.serving import loader
from bloodcell.serving.loader import IMAGE, load_folder, load_parameters
from bloodcell.serving.prediction import ServingParameters
from bloodcell.tracking.runs import StoredRun

RUN_TAG = "run_id"
"""The tag of a registered version with the id of its run, which MLflow does not record for every address."""


@dataclass(frozen=True, kw_only=True)
class StoredModel:
    """A model that was loaded from the store.

    Attributes
    ----------
    model
        The Keras model, from raw RGB (batch, height, width, 3), uint8, to probabilities (batch, k).
    serving
        Classes, calibration and novelty, for prediction.
    example
        The content of an image file.
    interface
        The same model with MLflow's interface, which checks what it gets.
    """

    model: Any
    serving: ServingParameters
    example: bytes
    interface: PyFuncModel


def model_of(run: StoredRun, *, setting: str) -> str:
    """Return the address of a run's model; ``setting`` named the run.

    Raises
    ------
    UserError
        If it has no model.
    """
    if run.models:
        return run.models[-1]
    if run.folds:
        raise UserError(
            f"{setting}={run.id}: is a cross-validation with one model per fold; train "
            f"with split.refit=true, or give the run of a fold, such as {run.folds[0].id}"
        )
    if run.tags.study:
        raise UserError(
            f"{setting}={run.id}: is a {run.tags.study}, which has no model; give one of its runs that has one"
        )
    if run.tags.trial:
        raise UserError(f"{setting}={run.id}: is a trial without a model; give the best trial, trained again")
    raise UserError(f"{setting}={run.id}: has no model; train with log_model=true")


def models_of(run: StoredRun) -> tuple[str, ...]:
    """Return the address of a run's model, or those of its folds; none unless all folds have one."""
    if run.models:
        return run.models[-1:]
    models = [fold.models[-1:] for fold in run.folds]
    return tuple(address for found in models for address in found) if all(models) else ()


def load_model(
    address: str, *, setting: str, check: Callable[[ServingParameters], object] | None = None
) -> StoredModel:
    """Load a model to predict with.

    Parameters
    ----------
    address
        MLflow's address: ``models:/NAME@ALIAS``, ``models:/ID``, ``runs:/ID/NAME``, a folder.
    setting
        The setting that named it, for messages.
    check
        Is called before the model itself is loaded, which takes seconds, and may raise a `UserError`.

    Raises
    ------
    UserError
        If there is no such model, or it is from another program or another version of bloodcell.
    """
    with _downloaded(address, setting=setting) as folder:
        if check is not None:
            check(load_parameters(folder))
        described = mlflow.models.Model.load(folder)
        example = described.load_input_example(str(folder))
        served = load_folder(folder)
        return StoredModel(
            model=served.model,
            serving=served.serving,
            example=example[IMAGE].iloc[0],
            interface=PyFuncModel(model_meta=described, model_impl=served),
        )


def serving_parameters_of(address: str, *, setting: str) -> ServingParameters:
    """Return the classes, calibration and novelty of a model without loading it; see `load_model`."""
    with _downloaded(address, setting=setting) as folder:
        return load_parameters(folder)


def register(address: str, *, name: str, alias: str | None, description: str, tags: Mapping[str, str]) -> int:
    """Register a model as a new version, with an alias if one is given, and return the version's number.

    A `UserError` if MLflow refuses the name or the alias.
    """
    client = MlflowClient()
    try:
        with redirect_stderr(StringIO()):  # MLflow prints what the job prints, too
            version = mlflow.register_model(address, name, tags=dict(tags)).version
        client.update_model_version(name, version, description=description)
        if alias is not None:
            client.set_registered_model_alias(name, alias, version)
    except MlflowException as error:
        if error.get_http_status_code() >= 500:
            raise
        given = f"name={name}, alias={alias}" if alias is not None else f"model={name}"
        raise UserError(f"{given}: MLflow refuses it ({' '.join(str(error).split())})") from error
    return int(version)


@dataclass(frozen=True, kw_only=True)
class RegisteredVersion:
    """A version of a registered model: its number, and MLflow's id of its run, if it says one."""

    number: int
    run_id: str | None


def version_with(alias: str, *, name: str) -> RegisteredVersion | None:
    """Return the version of a registered model that has an alias; None without one."""
    return _version_or_none(lambda client: client.get_model_version_by_alias(name, alias))


def version_numbered(number: int, *, name: str) -> RegisteredVersion | None:
    """Return a version of a registered model by its number; None if there is none."""
    return _version_or_none(lambda client: client.get_model_version(name, str(number)))


def _version_or_none(find: Callable[[MlflowClient], ModelVersion]) -> RegisteredVersion | None:
    try:
        found = find(MlflowClient())
    except MlflowException as error:
        if error.get_http_status_code() >= 500:
            raise
        return None
    return RegisteredVersion(number=int(found.version), run_id=found.tags.get(RUN_TAG) or found.run_id or None)


def remove_version(number: int, *, name: str) -> None:
    """Remove a version of a registered model. Its run keeps the model."""
    MlflowClient().delete_model_version(name, str(number))


def move_alias(
    alias: str, *, name: str, to: int, expected: RegisteredVersion | None, tags: Mapping[str, str] | None = None
) -> None:
    """Move an alias to a version, unless somebody else has moved it meanwhile.

    Parameters
    ----------
    alias, name
        The alias of the registered model with this name.
    to
        The number of the version.
    expected
        The version that has the alias as far as the caller knows; None: no version has it.
    tags
        Are set on the version ``to`` before the alias moves.

    Raises
    ------
    UserError
        If another version than ``expected`` has the alias; nothing is changed.
    """
    found = version_with(alias, name=name)
    if found != expected:
        now, before = (f"version {each.number}" if each else "no version" for each in (found, expected))
        raise UserError(
            f"models:/{name}@{alias}: moved during this command, from {before} to {now}, so it stays; run the "
            "command again"
        )
    client = MlflowClient()
    for key, value in (tags or {}).items():
        client.set_model_version_tag(name, str(to), key, value)
    client.set_registered_model_alias(name, alias, str(to))


def require_fit(run: StoredRun, *, setting: str, force: bool) -> None:
    """Check that a run is fit to be served, see `bloodcell.evaluation.evidence`.

    Raises
    ------
    UserError
        If it is not, and ``force`` is not set.
    """
    if not force and (reasons := why_not_registered(run.tags.evidence)):
        raise UserError(
            f"{setting}={run.id}: {' and '.join(reasons)}; give another run, or force=true to serve it all the same"
        )


def log_text(run: StoredRun, text: str, name: str) -> None:
    """Log a text as an artifact of a finished run, replacing one of that name."""
    MlflowClient().log_text(run.id, text, name)


def log_folder(run: StoredRun, folder: Path, name: str) -> None:
    """Log the files of a folder as artifacts of a finished run, in a folder of that name."""
    MlflowClient().log_artifacts(run.id, str(folder), name)


def tag_run(run: StoredRun, tags: Mapping[str, str]) -> None:
    """Set tags of a finished run."""
    MlflowClient().log_batch(run.id, tags=[RunTag(*tag) for tag in tags.items()])


@contextmanager
def _downloaded(address: str, *, setting: str) -> Iterator[Path]:
    """Yield a folder with a model of bloodcell, and turn errors in the block into one line."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=address, dst_path=scratch))
            flavours = mlflow.models.Model.load(folder).flavors
        except (MlflowException, OSError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{setting}: cannot be loaded ({reason}); give the address of a model") from error
        if flavours.get("python_function", {}).get("loader_module") != loader.__name__:
            raise UserError(
                f"{setting}: does not predict from image files; give a model that this version of bloodcell saved"
            )
        try:
            yield folder
        except UserError as error:
            raise UserError(f"{setting}: {str(error).replace(f'{folder}/', '')}") from error
        except Exception as error:  # any error of Keras or NumPy for files of another version
            reason = " ".join(str(error).split())
            raise UserError(
                f"{setting}: cannot be used ({reason}); train it again with this version of bloodcell"
            ) from error
