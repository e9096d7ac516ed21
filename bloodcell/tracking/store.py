"""The MLflow store: an embedded one, a database or a server."""

import errno
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bloodcell.config.tracking import TrackingConfig
from bloodcell.errors import HIDDEN, StoreLostError, UserError, one_line, redact
from bloodcell.tracking.database import prepare_database
from bloodcell.tracking.experiment_page import experiment_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

ENVIRONMENT_VARIABLE = "MLFLOW_TRACKING_URI"
FLUENT_VARIABLES = {
    "MLFLOW_RUN_ID": "would log into that run; use tracking.run_id to continue a run",
    "MLFLOW_EXPERIMENT_ID": "is not used; use tracking.experiment_name",
    "MLFLOW_EXPERIMENT_NAME": "is not used; use tracking.experiment_name",
}
"""Variables that MLflow's functions read, and what they would do."""
SQLITE = "sqlite:///"
SERVERS = ("http", "https")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
"""Databases of MLflow, by the scheme of an address; ``+driver`` may follow."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """The store of runs.

    Attributes
    ----------
    uri
        MLflow's tracking URI, with credentials if needed. Never printed or logged: see `label`.
    artifacts
        The folder of artifacts; None for a server.
    named_by
        The setting or environment variable that names it.
    """

    uri: str
    artifacts: Path | None
    named_by: str = "tracking.uri"

    @property
    def label(self) -> str:
        """The address without credentials."""
        return redact(self.uri)

    @property
    def database(self) -> Path | None:
        """The file of an SQLite database; None for other stores, and if SQLite gets an address of its own."""
        path = self.uri.removeprefix(SQLITE)
        return Path(path.partition("?")[0]) if path != self.uri and not path.startswith("file:") else None

    @property
    def is_server(self) -> bool:
        """Whether it is a tracking server rather than a database."""
        return scheme_of(self.uri) in SERVERS


def find_store(tracking: TrackingConfig) -> Store:
    """Return the store of the settings, without opening it.

    An address in ``tracking.uri`` comes first, then the environment variable ``MLFLOW_TRACKING_URI``, then the folder
    ``tracking.dir``. An address with hidden credentials means the environment variable.

    Raises
    ------
    UserError
        If a server is required and none is named, the address is not of a store, or the environment names a run.
    """
    for variable, effect in FLUENT_VARIABLES.items():
        if os.environ.get(variable):
            raise UserError(f"{variable}: is set in the environment, and {effect}; unset {variable}")
    uri = tracking.uri if tracking.uri and HIDDEN not in tracking.uri else os.environ.get(ENVIRONMENT_VARIABLE) or None
    named_by = "tracking.uri" if tracking.uri else ENVIRONMENT_VARIABLE
    folder = Path(tracking.dir).expanduser().resolve()
    if uri is None and tracking.store == "server":
        raise UserError(f"tracking.uri is not set: give the server's address, or set {ENVIRONMENT_VARIABLE}")
    if uri is None:
        return _embedded(folder)
    _require_address(uri, named_by)
    if scheme_of(uri) in (*SERVERS, "databricks"):
        return Store(uri=uri, artifacts=None, named_by=named_by)
    return Store(uri=_absolute(uri), artifacts=folder / "artifacts", named_by=named_by)


def scheme_of(uri: str) -> str:
    """Return the scheme of an address, without the driver of a database; empty for a folder."""
    scheme, colon, _ = uri.partition(":")
    return "databricks" if uri == "databricks" else scheme.partition("+")[0] if colon else ""


def _require_address(uri: str, named_by: str) -> None:
    """Refuse an address that is not of a store that keeps runs."""
    named = f"{named_by}={redact(uri)}"
    advice = "give sqlite:///FILE or http://HOST:PORT"
    match scheme_of(uri):
        case "" | "file":
            raise UserError(
                f"{named}: is a folder, MLflow's earlier store of files; {advice}, or tracking.dir=FOLDER for a new "
                "store; `mlflow migrate-filestore` copies earlier runs"
            )
        case "sqlite":
            path = uri.removeprefix(SQLITE).partition("?")[0]
            if not uri.startswith(SQLITE) or path in ("", ":memory:"):
                raise UserError(f"{named}: names no file; give sqlite:///FILE")
            if Path(path).is_dir():
                raise UserError(f"{named}: is a folder; give sqlite:///FILE")
        case "http" | "https":
            try:
                parts = urlsplit(uri)
                known = bool(parts.hostname) and parts.port != 0  # reading an impossible port raises
            except ValueError:
                known = False
            if not known:
                raise UserError(f"{named}: names no server; give http://HOST:PORT")
        case "databricks":
            pass
        case scheme if scheme not in DATABASES:
            raise UserError(f"{named}: is no address of a store; {advice}")


def _absolute(uri: str) -> str:
    """Make a relative SQLite path absolute, so that it means the same in every process."""
    if not uri.startswith(SQLITE) or uri.removeprefix(SQLITE).startswith(("/", "file:")):
        return uri
    return SQLITE + str(Path.cwd() / uri.removeprefix(SQLITE))


def recorded_store(store: Store, folder: Path) -> dict[str, str | None]:
    """Return what a run's folder records of its store, without credentials, for `store_in_record`.

    The place of an embedded store is relative to the folder, so both can be moved together.
    """
    if store.artifacts is None or store.named_by != "tracking.dir":
        return {"uri": store.label, "dir": None if store.artifacts is None else str(store.artifacts.parent)}
    return {"uri": None, "dir": os.path.relpath(store.artifacts.parent, folder.resolve())}


def store_in_record(record: Mapping[str, str | None], folder: Path) -> Store:
    """Return the store that a run's folder records.

    Raises
    ------
    UserError
        If an embedded store is not there, or the address had credentials and the environment does not have them.
    """
    uri, place = record["uri"], record["dir"]
    if uri is not None and HIDDEN in uri and redact(os.environ.get(ENVIRONMENT_VARIABLE, "")) != uri:
        raise UserError(f"{ENVIRONMENT_VARIABLE}: is not the address of {uri}, which has the run in {folder}; set it")
    settings = TrackingConfig(uri=uri, dir=os.path.normpath(folder.resolve() / (place or ".")))
    store = find_store(settings) if uri is not None else _embedded(Path(settings.dir))
    if store.database is not None and not store.database.parent.is_dir():
        raise UserError(f"{store.database}: does not exist, and belongs to the run in {folder}; give uri=")
    return store


def _embedded(folder: Path) -> Store:
    return Store(uri=f"sqlite:///{folder / 'mlflow.db'}", artifacts=folder / "artifacts", named_by="tracking.dir")


@contextmanager
def named_if_lost(store: Store, folder: Path) -> Iterator[None]:
    """Turn an error of the store in the block into one line with the folder of the results.

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
                f"{store.label}: failed during the run ({one_line(error)}); all results are in {folder}"
            ) from error
        raise


def _is_of_store(error: BaseException) -> bool:
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    return isinstance(error, (MlflowException, RequestException, SQLAlchemyError))


def hide_credentials(uri: str | None) -> str | None:
    """Move an address with credentials into the environment; return it without credentials.

    Processes that a sweep starts on this machine inherit the environment variable.
    """
    if uri is None or redact(uri) == uri or HIDDEN in uri:
        return uri
    os.environ[ENVIRONMENT_VARIABLE] = uri
    return redact(uri)


def open_store(tracking: TrackingConfig) -> tuple[Store, str]:
    """Open the store; return it with the id of its MLflow experiment.

    Raises
    ------
    UserError
        If it cannot be written or reached.
    """
    store = find_store(tracking)
    quiet_mlflow()
    prepare_store(store)
    import mlflow
    from mlflow import MlflowClient

    with _unchanged(ENVIRONMENT_VARIABLE):  # MLflow leaves the address there for child processes
        mlflow.set_tracking_uri(store.uri)
    try:
        experiment_id = experiment_of(tracking.experiment_name, store, MlflowClient())
        if tracking.parent_run is not None:
            _require_run(tracking.parent_run, store)
    except UserError:
        raise
    except Exception as error:  # any error of the database driver or the connection
        way_out = f"unset {ENVIRONMENT_VARIABLE}" if store.named_by == ENVIRONMENT_VARIABLE else "use tracking=local"
        advice = f"start it, or {way_out}"
        if store.database is not None:
            advice = f"move {store.database} away to start a new store, or give another tracking.dir"
        raise UserError(
            f"{store.named_by}={store.label}: cannot be opened ({reason_in_store(error)}); {advice}"
        ) from error
    return store, experiment_id


def existing_store(tracking: TrackingConfig) -> Store:
    """Open a store for reading; an embedded one must exist.

    Raises
    ------
    UserError
        If it does not exist, or cannot be opened.
    """
    store = find_store(tracking)
    if store.named_by == "tracking.dir" and store.database is not None and not store.database.is_file():
        raise UserError(f"tracking.dir={tracking.dir}: has no runs; give the folder of the runs")
    return open_store(tracking)[0]


def reason_in_store(error: BaseException) -> str:
    """Return the message of an error's innermost cause, which is the shortest, without credentials."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return redact(" ".join(str(error).split()))[:300] or type(error).__name__


@contextmanager
def _unchanged(variable: str) -> Iterator[None]:
    before = os.environ.get(variable)
    try:
        yield
    finally:
        os.environ.pop(variable, None)
        if before is not None:
            os.environ[variable] = before


def experiment_of(name: str, store: Store, client: "MlflowClient") -> str:
    """Return the id of the experiment of a name in a store; create it if there is none.

    Raises
    ------
    UserError
        If the experiment was deleted.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            location = store.artifacts and store.artifacts.as_uri()
            return str(client.create_experiment(name, artifact_location=location, tags=experiment_tags()))
        except MlflowException:
            found = client.get_experiment_by_name(name)  # another process created it
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        raise UserError(f"tracking.experiment_name={name}: was deleted in MLflow; restore it there or use another name")
    return str(found.experiment_id)


def _require_run(run_id: str, store: Store) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        MlflowClient().get_run(run_id)
    except MlflowException as error:
        if not is_unknown(error):
            raise
        raise UserError(f"tracking.parent_run={run_id}: {store.label} has no such run; give the id of one") from error


def is_unknown(error: "MlflowException") -> bool:
    """Return whether the store answered that it has no such run."""
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode

    return error.error_code in (ErrorCode.Name(INVALID_PARAMETER_VALUE), ErrorCode.Name(RESOURCE_DOES_NOT_EXIST))


def prepare_store(store: Store) -> None:
    """Create, upgrade and correct the database of an embedded store, see `prepare_database`.

    Raises
    ------
    UserError
        If its folder or its file cannot be written, or it is no database of this MLflow.
    """
    if store.database is None:
        return
    try:
        prepare_database(store.database)
        with store.database.open("ab"):
            pass
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        place = f"tracking.dir={store.database.parent}"
        if store.named_by != "tracking.dir":
            place = f"{store.named_by}={store.label}"
        raise UserError(f"{place}: cannot be written ({error.strerror}); give another folder") from error


def quiet_mlflow() -> None:
    """Silence the log messages of MLflow and its libraries."""
    for name in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="The specified dataset source can be interpreted in multiple ways")
