"""What the tests share: a place of their own for caches and stores, and a few dozen images."""

import copy
import functools
import gc
import logging
import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import absl.logging
import pytest
from hypothesis import settings
from pictures import DATA, Photographs, real, real_folder, rendered, rendered_folder
from sqlalchemy import Engine, event
from threadpoolctl import threadpool_limits

LONGEST = ("test_pythons", "test_walkthrough", "test_contributing", "test_your_own_images")

# TensorFlow's Python logger keeps the error stream that it first finds, and pytest's would be closed by then.
absl.logging.get_absl_handler().python_handler.setStream(sys.__stderr__)

# The tests start many processes; where Python may keep nothing that it compiles, each would compile TensorFlow again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# There is a worker for each core: more threads would only wait for one another, and OpenBLAS waits at full speed.
for library in ("OPENBLAS", "OMP"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
threadpool_limits(1)  # of what is loaded already
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

# How long an example takes depends on what else the machine does.
settings.register_profile("bloodcell", deadline=None)
settings.load_profile("bloodcell")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to run the tests of real images without real images, rather than to skip them all."""
    if re.search(r"(?<!not )real", config.option.markexpr) and not (DATA and Path(DATA, "TRAIN").is_dir()):
        raise pytest.UsageError(
            f"BLOODCELL_TEST_DATA={DATA or ''}: holds no folder TRAIN; give the real images' folder"
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest, the command line's among them, so that no worker is left alone with them at the end."""
    items.sort(key=lambda item: (item.path.stem not in LONGEST, item.path.parent.name != "tests"))


def pytest_collection_finish() -> None:
    """Keep the garbage collector from visiting, again and again, the million objects of TensorFlow and MLflow."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


@pytest.fixture(scope="session", autouse=True)
def _own_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep caches out of the user's, and the user's tracking server out of the tests."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        environment.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _tables_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have MLflow's tables of an embedded store made once and copied: hundreds of stores are made, each in a second."""
    import mlflow.store.db.utils
    from mlflow import MlflowClient

    made = tmp_path_factory.mktemp("tables") / "mlflow.db"
    MlflowClient(f"sqlite:///{made}").search_experiments()
    migrated = mlflow.store.db.utils._initialize_tables

    # Each commit waits for the disk otherwise, thousands of times.
    event.listen(Engine, "connect", _without_waiting)

    def copied(engine: Engine) -> None:
        if engine.url.get_backend_name() != "sqlite" or engine.url.database in (None, ":memory:"):
            return migrated(engine)
        with closing(sqlite3.connect(made)) as source, closing(sqlite3.connect(engine.url.database)) as target:
            source.backup(target)
        return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow.store.db.utils, "_initialize_tables", copied)
        patch.setattr(mlflow.store.db.utils, "MAX_RETRY_COUNT", 1)  # it waits for a database that is away for 100 s
        yield
    event.remove(Engine, "connect", _without_waiting)


@pytest.fixture(scope="session", autouse=True)
def _composed_once() -> Iterator[None]:
    """Have Hydra compose a command once, and read its own files once: it is half of what a small command takes."""
    from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
    from hydra._internal.hydra import Hydra
    from hydra.core.config_store import ConfigStore

    get_mode, load = Hydra.get_mode, ImportlibResourcesConfigSource.load_config

    def mode(hydra: Hydra, config_name: str, overrides: list[str]) -> object:
        """Compose all for the mode only if a word or a file of the user may set it; bloodcell's files do not."""
        may = any(word.startswith(("hydra.mode", "hydra.searchpath")) for word in overrides)
        own = any(source.provider == "command-line" for source in hydra.config_loader.get_sources())
        return get_mode(hydra, config_name, overrides) if may or own else None

    @functools.cache
    def read(provider: str, package: str, config_path: str) -> object:
        return load(ImportlibResourcesConfigSource(provider, f"pkg://{package}"), config_path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Hydra, "get_mode", mode)
        patch.setattr(
            ImportlibResourcesConfigSource,
            "load_config",
            lambda source, config_path: copy.deepcopy(read(source.provider, source.path, config_path)),
        )
        # It holds the experiments, which nothing changes, and is copied for each composition.
        patch.setattr(ConfigStore, "__deepcopy__", lambda store, _: store, raising=False)
        yield


def _without_waiting(connection: object, _record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture(scope="session")
def bccd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few dozen rendered photographs in the layout of the Kaggle set, in a folder with a space in its name."""
    return rendered_folder(tmp_path_factory.mktemp("bccd with space"))


@pytest.fixture(scope="session", params=["rendered", pytest.param("real", marks=pytest.mark.real)])
def images_kind(request: pytest.FixtureRequest) -> str:
    """Whether a test looks at rendered or at real images; what it claims must hold for both."""
    return request.param


@pytest.fixture(scope="session")
def photographs(images_kind: str) -> Photographs:
    """Different photographs of blood smears."""
    return rendered if images_kind == "rendered" else real


@pytest.fixture(scope="session")
def cells(images_kind: str, bccd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few dozen images in the layout of the Kaggle set."""
    return bccd if images_kind == "rendered" else real_folder(tmp_path_factory.mktemp("real"))


@pytest.fixture(autouse=True)
def _no_address_left():
    """Forget the address of a store with credentials, which a command keeps in the environment of its process."""
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(autouse=True)
def _closed_logs():
    """Close the log files that Hydra opened: left open, they warn in whichever test comes when they are collected."""
    root = logging.getLogger()
    before = list(root.handlers)
    yield
    for handler in set(root.handlers) - set(before):
        if isinstance(handler, logging.FileHandler):
            handler.close()
            root.removeHandler(handler)
