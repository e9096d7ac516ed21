"""One run in MLflow: how it starts, what it keeps, how it ends."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, RunStatus
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

from bloodcell.config.tracking import TrackingConfig
from bloodcell.errors import StoreLostError, one_line, reason_of, redact
from bloodcell.evaluation.predictions import PROBABILITY_PREFIX
from bloodcell.serving import loader
from bloodcell.serving.answering import Answering
from bloodcell.serving.loader import IMAGE, MAX_ERROR, NO_LIMIT
from bloodcell.tracking.store import Store, open_store

log = logging.getLogger(__name__)

SWEEP_JOB_TAG = "sweep_job"
FOLD_TAG = "fold"
"""What tells the run of a fold, which is a part of a cross-validation, from a run of its own."""
JOB_TAG = "job"
"""Which job a run is of, where it is no training."""
TRIAL_TAG = "trial"
"""Which trial of a search a run is."""
REASON_TAG = "reason"
BASELINE = "baseline: "
"""What the names of runs begin with that a study is compared with."""
ASIDE_TAG = "aside"
"""What a run has that is no entry of its study's leaderboard; its value says why."""


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """A run in MLflow that is under way.

    Attributes
    ----------
    run_id
        MLflow's id.
    experiment_id
        MLflow's experiment that it is in.
    store
        Where it is kept.
    folder
        The run's own folder on this machine, which holds everything even if the store is lost.
    """

    run_id: str
    experiment_id: str
    store: Store
    folder: Path
    _waiting: list[Metric] = field(default_factory=list)

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Keep what the run was asked for as parameters."""
        mlflow.log_params(dict(parameters))

    def log_metrics(self, metrics: Mapping[str, float], *, prefix: str) -> None:
        """Keep final figures as ``prefix/name``; those that are no number are left out."""
        mlflow.log_metrics({f"{prefix}/{name}": value for name, value in metrics.items() if np.isfinite(value)})

    def log_epoch(self, epoch: Any) -> None:
        """Keep an epoch's numbers as ``epoch/name`` at its step; what is no number is left out.

        A store that does not answer costs no epoch: the numbers wait, and go with the next or at the end.
        """
        now = int(time.time() * 1000)
        numbers = {
            name: value for name, value in asdict(epoch).items() if isinstance(value, float) and np.isfinite(value)
        }
        self._waiting.extend(Metric(f"epoch/{name}", value, now, epoch.epoch) for name, value in numbers.items())
        try:
            self._send_waiting()
        except Exception as error:  # whatever the connection raises
            log.warning("%s does not answer (%s); metrics wait", self.store.label, redact(str(error)))

    def log_data(self, manifest: pd.DataFrame, *, name: str, source: str, digest: str) -> None:
        """Keep the manifest as an MLflow dataset."""
        dataset = mlflow.data.from_pandas(manifest, source=source, name=name, digest=digest)
        try:
            mlflow.log_input(dataset, context="training")
        except MlflowException as error:
            # MLflow looks for the dataset before it adds it: another process may have added it in between.
            if not any(word in str(error).lower() for word in ("unique", "duplicate")):
                raise
            mlflow.log_input(dataset, context="training")

    def log_model(
        self, model: Any, *, answering: Answering, example: bytes, requirements: list[str], code: Path
    ) -> str:
        """Keep a Keras model from raw uint8 images (n, height, width, 3) to probabilities (n, classes).

        Parameters
        ----------
        model
            The model.
        answering
            What is known of it.
        example
            An image file's bytes.
        requirements
            What must be installed to load it.
        code
            The package that has the model's own layers and answers for it, kept beside it.

        Returns
        -------
        str
            The address to load it from: the Keras model with ``mlflow.tensorflow.load_model``, what answers with
            ``mlflow.pyfunc.load_model`` (see `bloodcell.serving.loader`).
        """
        from mlflow.models import Model, ModelSignature
        from mlflow.types import Schema, TensorSpec

        signature = ModelSignature(
            inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))]),
            outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, len(answering.classes)))]),
        )
        logged = Model.log(
            artifact_path=None,
            name="model",
            flavor=_Answering,
            flavor_name="mlflow.tensorflow",
            validate_serving_input=False,
            answering=answering,
            model=model,
            signature=signature,
            input_example=pd.DataFrame({IMAGE: [example]}),
            pip_requirements=requirements,
            code_paths=[str(code)],
            metadata={"classes": list(answering.classes)},
        )
        return str(logged.model_uri)

    def log_table(self, table: pd.DataFrame, name: str) -> None:
        """Keep a table so that MLflow's pages show it as one."""
        mlflow.log_table(table, name)

    def log_folder(self, folder: Path) -> None:
        """Keep everything in a folder as artifacts."""
        self._send_waiting()
        mlflow.log_artifacts(str(folder))

    def tag(self, name: str, value: str) -> None:
        """Keep something that became known on the way as a tag."""
        mlflow.set_tag(name, value)

    def describe(self, text: str) -> None:
        """Say in Markdown what came out, on top of the run's page."""
        mlflow.set_tag("mlflow.note.content", text)

    def _send_waiting(self) -> None:
        if self._waiting:
            MlflowClient().log_batch(self.run_id, metrics=self._waiting)
            self._waiting.clear()


class _Answering:
    """``mlflow.tensorflow``, but for what its models are when MLflow asks them.

    It knows no way to leave out trying the example on the model loaded anew. That takes as long as all else, and where
    it fails, nothing but a warning comes of it. (``mlflow.keras`` knows the same models, but fails with an example.)
    """

    @staticmethod
    def save_model(
        *,
        path: str,
        mlflow_model: Any,
        answering: Answering,
        validate_serving_input: bool,  # noqa: ARG004 - for `Model.log`
        **arguments: Any,
    ) -> None:
        """Save a model as ``mlflow.tensorflow`` does, and beside it what is known of it."""
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

        mlflow.tensorflow.save_model(path=path, mlflow_model=mlflow_model, **arguments)
        answering.save(Path(path))
        numbers = ["probability", "novelty", *(PROBABILITY_PREFIX + name for name in answering.classes)]
        # It knows arrays only.
        mlflow_model.signature = ModelSignature(
            inputs=Schema([ColSpec(DataType.binary, IMAGE)]),
            outputs=Schema(
                [ColSpec(DataType.string, name) for name in ("answer", "why", "predicted")]
                + [ColSpec(DataType.double, name) for name in numbers]
            ),
            params=ParamSchema([ParamSpec(MAX_ERROR, DataType.double, NO_LIMIT)]),
        )
        mlflow_model.flavors["python_function"]["loader_module"] = loader.__name__
        del mlflow_model.flavors["python_function"]["data"]  # so that the loader is given the whole folder
        mlflow_model.save(str(Path(path) / "MLmodel"))


@contextmanager
def tracked_run(*, tracking: TrackingConfig, name: str, tags: Mapping[str, str], folder: Path) -> Iterator[TrackedRun]:
    """Start a run and see to it that it ends as what it was.

    FINISHED, or FAILED with the reason as a tag if the block raises, or KILLED if it is interrupted.

    Raises
    ------
    UserError
        If the store cannot be opened.
    StoreLostError
        If the store fails in the middle.
    """
    store, experiment_id = open_store(tracking)
    with (
        named_if_lost(store, folder),
        _under_way(
            experiment_id=experiment_id,
            name=name,
            parent=tracking.parent_run,
            run_id=tracking.run_id,
            tags={**tags, **sweep_mark(tracking)},
            store=store,
            folder=folder,
        ) as run,
    ):
        yield run


@contextmanager
def named_if_lost(store: Store, folder: Path) -> Iterator[None]:
    """Say so in one line if the store fails in the middle, and where everything is that was made.

    Raises
    ------
    StoreLostError
        If it does.
    """
    try:
        yield
    except Exception as error:
        if _is_of_store(error):
            raise StoreLostError(
                f"{store.label}: was lost in the middle of the run ({one_line(error)}); "
                f"everything that the run made is in {folder}"
            ) from error
        raise


def sweep_mark(tracking: TrackingConfig) -> dict[str, str]:
    """Return the tag that tells a run of a sweep from its others; none where it is of no sweep."""
    return {} if tracking.sweep_job is None else {SWEEP_JOB_TAG: str(tracking.sweep_job)}


@contextmanager
def fold_run(
    whole: TrackedRun, *, number: int, n_folds: int, tags: Mapping[str, str], folder: Path
) -> Iterator[TrackedRun]:
    """Start the run of one fold within that of its cross-validation; it ends as `tracked_run` does.

    Parameters
    ----------
    whole
        The cross-validation's run.
    number
        The fold's, from 1.
    n_folds
        How many there are.
    tags
        The fold's own.
    folder
        Where everything of the fold is kept on this machine.
    """
    with _under_way(
        experiment_id=whole.experiment_id,
        name=f"fold {number} of {n_folds}",
        parent=whole.run_id,
        tags={**tags, FOLD_TAG: str(number)},
        store=whole.store,
        folder=folder,
    ) as run:
        yield run


@contextmanager
def _under_way(
    *,
    experiment_id: str,
    name: str,
    parent: str | None,
    run_id: str | None = None,
    tags: Mapping[str, str],
    store: Store,
    folder: Path,
) -> Iterator[TrackedRun]:
    nested = parent is not None
    if run_id is None:
        active = mlflow.start_run(
            experiment_id=experiment_id, run_name=name, parent_run_id=parent, nested=nested, tags=dict(tags)
        )
    else:
        active = mlflow.start_run(run_id=run_id, nested=nested)
        mlflow.set_tags({**tags, MLFLOW_RUN_NAME: name})
    try:
        yield TrackedRun(run_id=active.info.run_id, experiment_id=experiment_id, store=store, folder=folder)
    except BaseException as error:
        interrupted = isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit))
        _end(RunStatus.KILLED if interrupted else RunStatus.FAILED, reason_of(error))
        raise
    else:
        mlflow.end_run()


def _end(status: int, reason: str) -> None:
    with suppress(Exception):  # the store may be what failed
        mlflow.set_tag(REASON_TAG, reason)
    with suppress(Exception):
        mlflow.end_run(RunStatus.to_string(status))


def _is_of_store(error: BaseException) -> bool:
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    return isinstance(error, (MlflowException, RequestException, SQLAlchemyError))
