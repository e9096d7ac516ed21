"""The embedded store is created once, whatever happens meanwhile."""

import sqlite3
import threading
import time
from contextlib import closing

import mlflow.store.db.utils
import pytest

from bloodcell.config.tracking import TrackingConfig
from bloodcell.errors import UserError
from bloodcell.tracking.database import prepare_database
from bloodcell.tracking.store import open_store


@pytest.fixture
def created(monkeypatch):
    """Return the list of the databases whose tables are created, slowly."""
    initialize, engines = mlflow.store.db.utils._initialize_tables, []

    def slowly(engine):
        engines.append(engine)
        time.sleep(0.3)
        initialize(engine)

    monkeypatch.setattr(mlflow.store.db.utils, "_initialize_tables", slowly)
    return engines


def test_at_once_only_one_creates_it(tmp_path, created):
    path = tmp_path / "mlruns" / "mlflow.db"
    threads = [threading.Thread(target=prepare_database, args=(path,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(created) == 1
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM experiments").fetchone() == (1,)


def test_an_interruption_leaves_nothing_and_the_next_run_creates_it(tmp_path, monkeypatch):
    def interrupted(engine):
        with closing(sqlite3.connect(engine.url.database)) as database:
            database.execute("CREATE TABLE experiments (id INTEGER)")
        raise KeyboardInterrupt

    tracking = TrackingConfig(dir=str(tmp_path / "mlruns"))
    with monkeypatch.context() as patch:
        patch.setattr(mlflow.store.db.utils, "_initialize_tables", interrupted)
        with pytest.raises(KeyboardInterrupt):
            open_store(tracking)
    assert [path.name for path in (tmp_path / "mlruns").iterdir()] == ["mlflow.lock"]
    store, _ = open_store(tracking)
    assert store.database == tmp_path / "mlruns" / "mlflow.db"


@pytest.mark.parametrize("tables", [None, ["experiments"], ["alembic_version", "_alembic_tmp_experiments"]])
def test_a_broken_database_is_refused_and_stays(tmp_path, tables):
    path = tmp_path / "mlflow.db"
    if tables is None:
        path.write_text("this is no database")
    else:
        with closing(sqlite3.connect(path)) as database:
            for name in tables:
                database.execute(f"CREATE TABLE {name} (id INTEGER)")
            database.commit()
    before = path.read_bytes()
    with pytest.raises(UserError, match=f"^{path}: .*move it away"):
        open_store(TrackingConfig(dir=str(tmp_path)))
    assert path.read_bytes() == before
