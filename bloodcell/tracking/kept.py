"""Runs and models that were kept: found, loaded, registered. Nothing is changed but the registry and a model's card."""

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from bloodcell.cells.novelty import Novelty
from bloodcell.config.tracking import TrackingConfig
from bloodcell.console.progress import say
from bloodcell.errors import UserError
from bloodcell.serving import loader
from bloodcell.serving.answering import Answering, load_answering
from bloodcell.serving.loader import IMAGE
from bloodcell.tracking.run import FOLD_TAG
from bloodcell.tracking.store import Store, find_store, is_unknown, open_store
from bloodcell.tracking.study import children_of


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A model that was kept, and what is known of its training images.

    Attributes
    ----------
    model
        The Keras model, from raw images to probabilities.
    novelty
        Says how far an image is from those that it was trained on.
    example
        An image file's bytes.
    """

    model: Any
    novelty: Novelty
    example: bytes


def existing_store(tracking: TrackingConfig) -> Store:
    """Open a store that is there; an embedded one is not made for the sake of finding nothing in it.

    Raises
    ------
    UserError
        If it is not there, or cannot be opened.
    """
    store = find_store(tracking)
    if store.named_by == "tracking.dir" and not Path(store.uri.removeprefix("sqlite:///")).is_file():
        raise UserError(f"tracking.dir={tracking.dir}: holds no runs; give the folder that they are in")
    return open_store(tracking)[0]


def find_run(run_id: str, store: Store, *, setting: str) -> Run:
    """Return a run.

    Raises
    ------
    UserError
        If the store has no such run; ``setting`` named it.
    """
    try:
        found = MlflowClient().get_run(run_id)
    except MlflowException as error:
        if not is_unknown(error):
            raise
        found = None
    if found is None or found.info.lifecycle_stage == "deleted":
        raise UserError(f"{setting}={run_id}: {store.label} has no such run; give the id of one")
    return found


def finished_run(run_id: str, store: Store, *, setting: str) -> Run:
    """Return a run that is finished.

    Raises
    ------
    UserError
        If the store has no such run, or it did not finish; ``setting`` named it.
    """
    run = find_run(run_id, store, setting=setting)
    if run.info.status != "FINISHED":
        raise UserError(f"{setting}={run_id}: is not finished ({run.info.status}); give a finished run")
    return run


def whole_run(run_id: str, store: Store) -> Run:
    """Return a finished run that ``runs`` names and that is no fold of a cross-validation.

    Raises
    ------
    UserError
        If the store has no such run, it did not finish, or is a fold.
    """
    run = finished_run(run_id, store, setting="runs")
    if FOLD_TAG in run.data.tags:
        parent = run.data.tags.get(MLFLOW_PARENT_RUN_ID, "")
        raise UserError(f"runs={run_id}: is one fold of a cross-validation; give the whole, {parent}")
    return run


def runs_of_study(study: str, store: Store) -> list[Run]:
    """Return the runs of a study, the oldest first.

    Raises
    ------
    UserError
        If the store has no such run, or it is a cross-validation.
    """
    parent = find_run(study, store, setting="study")
    children = children_of(MlflowClient(), parent.info.experiment_id, study)
    if any(FOLD_TAG in child.data.tags for child in children):
        raise UserError(f"study={study}: is one cross-validation, whose runs are its folds; give a study, or runs=")
    return children


def finished_of(runs: Sequence[Run], *, setting: str, mend: str) -> list[Run]:
    """Return those that finished, and say which did not.

    Raises
    ------
    UserError
        If none did; ``setting`` named them, and ``mend`` says what to do.
    """
    if left := [str(run.info.run_name) for run in runs if run.info.status != "FINISHED"]:
        say(f"left out, not finished: {'; '.join(left)}")
    finished = [run for run in runs if run.info.status == "FINISHED"]
    if not finished:
        raise UserError(f"{setting}: has no finished run; {mend}")
    return finished


def download(run: Run, files: Sequence[str], *, at: Path, mend: str) -> None:
    """Copy files that a run keeps into a folder, which is made.

    Raises
    ------
    UserError
        If it does not have one; ``mend`` says what to do.
    """
    run_id = run.info.run_id
    there = {artifact.path for artifact in MlflowClient().list_artifacts(run_id)}
    if lacking := [file for file in files if file not in there]:
        raise UserError(f"runs={run_id}: has no {lacking[0]}; {mend}")
    at.mkdir(exist_ok=True)  # a run may be given twice, which is for others to refuse
    for file in files:
        mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=file, dst_path=str(at))


def artifact_of(run: Run, name: str, *, at: Path) -> Path | None:
    """Copy a file that a run keeps into a folder, and return it; None where it keeps none of that name."""
    run_id = run.info.run_id
    if name not in {artifact.path for artifact in MlflowClient().list_artifacts(run_id)}:
        return None
    return Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=name, dst_path=str(at)))


def folds_of(run: Run) -> list[Run]:
    """Return the runs of a cross-validation's folds, in order."""
    children = children_of(MlflowClient(), run.info.experiment_id, run.info.run_id)
    folds = [child for child in children if FOLD_TAG in child.data.tags]
    return sorted(folds, key=lambda fold: int(fold.data.tags[FOLD_TAG]))


def models_in(run: Run) -> tuple[str, ...]:
    """Return the addresses of the models that a run keeps itself, the newest last."""
    # A run that was searched for, not asked for by its id, does not say which models it has.
    outputs = MlflowClient().get_run(run.info.run_id).outputs
    return () if outputs is None else tuple(f"models:/{output.model_id}" for output in outputs.model_outputs)


def model_of(run: Run, *, setting: str) -> str:
    """Return the address of the model that a run keeps.

    Raises
    ------
    UserError
        If it keeps none of its own; ``setting`` named it.
    """
    if models := models_in(run):
        return models[-1]
    run_id = run.info.run_id
    if folds := folds_of(run):
        raise UserError(
            f"{setting}={run_id}: is a cross-validation, which has a model for each fold and none of its own; train "
            f"with split.refit=true, or give the run of a fold, such as {folds[0].info.run_id}"
        )
    raise UserError(f"{setting}={run_id}: keeps no model; train with log_model=true")


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
        If there is no such model, or it is no model of bloodcell's, or of a version that this one cannot read.
    """
    with _downloaded(address, setting=setting) as folder, _same_path():
        return mlflow.pyfunc.load_model(str(folder))


def load_kept(address: str, *, setting: str) -> Kept:
    """Load what was kept, its Keras model as it was, to predict; arguments and errors are those of `load_served`."""
    with _downloaded(address, setting=setting) as folder, _same_path():
        example = mlflow.models.Model.load(folder).load_input_example(str(folder))
        return Kept(
            model=mlflow.tensorflow.load_model(str(folder), keras_model_kwargs={"compile": False}),
            novelty=load_answering(folder).novelty,
            example=example[IMAGE].iloc[0],
        )


def answering_of(address: str, *, setting: str) -> Answering:
    """Load what is known of a model that `load_served` would not refuse; it is not loaded itself."""
    with _downloaded(address, setting=setting) as folder:
        return load_answering(folder)


def register(address: str, *, name: str, alias: str, description: str, tags: Mapping[str, str]) -> int:
    """Make a model the newest version of a registered one, give it an alias, and return the version's number.

    Raises
    ------
    UserError
        If MLflow refuses the name or the alias.
    """
    client = MlflowClient()
    try:
        with redirect_stderr(StringIO()):  # where MLflow says what the job says, too
            version = mlflow.register_model(address, name, tags=dict(tags)).version
        client.update_model_version(name, version, description=description)
        client.set_registered_model_alias(name, alias, version)
    except MlflowException as error:
        if error.get_http_status_code() >= 500:
            raise
        raise UserError(f"name={name}, alias={alias}: MLflow refuses it ({' '.join(str(error).split())})") from error
    return int(version)


def keep_text(run: Run, text: str, name: str) -> None:
    """Keep a text as an artifact of a run that has ended, in place of one of that name."""
    MlflowClient().log_text(run.info.run_id, text, name)


@contextmanager
def _downloaded(address: str, *, setting: str) -> Iterator[Path]:
    """Yield a folder with a kept model that answers for images; what it cannot be used for is the model's fault."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=address, dst_path=scratch))
            flavours = mlflow.models.Model.load(folder).flavors
        except (MlflowException, OSError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{setting}: cannot be loaded ({reason}); give one that is there") from error
        if flavours.get("python_function", {}).get("loader_module") != loader.__name__:
            raise UserError(
                f"{setting}: does not answer for images; give a model that this version of bloodcell has kept"
            )
        try:
            yield folder
        except UserError as error:
            raise UserError(f"{setting}: {str(error).replace(f'{folder}/', '')}") from error
        except Exception as error:  # whatever Keras or NumPy make of what another version wrote
            reason = " ".join(str(error).split())
            raise UserError(
                f"{setting}: cannot be used ({reason}); train it again with this version of bloodcell"
            ) from error


@contextmanager
def _same_path() -> Iterator[None]:
    """Undo that MLflow puts the code that a model carries before all else that Python finds.

    The bloodcell that runs is the one to go on with.
    """
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before
