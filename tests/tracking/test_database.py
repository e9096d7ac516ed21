"""The embedded store is created once, whatever happens meanwhile."""

import shutil
import sqlite3
import threading
import time
from contextlib import closing

import mlflow
import mlflow.store.db.utils
import pytest
from alembic.script import ScriptDirectory
from mlflow import MlflowClient

from bloodcell.config.tracking import TrackingConfig
from bloodcell.errors import UserError
from bloodcell.tracking.database import prepare_database
from bloodcell.tracking.run import tracked_run
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


@pytest.fixture
def kept(tmp_path) -> TrackingConfig:
    """A store with a run that has a file, in a folder that is then moved."""
    tracking = TrackingConfig(dir=str(tmp_path / "before" / "mlruns"))
    with tracked_run(tracking=tracking, name="a run", tags={}, folder=tmp_path / "run") as run:
        run.artifacts.mkdir()
        (run.artifacts / "note.txt").write_text("first")
        run.log_artifacts()
    return tracking


def note_of(store, run_id) -> str:
    return mlflow.artifacts.load_text(MlflowClient(store.uri).get_run(run_id).info.artifact_uri + "/note.txt")


@pytest.mark.parametrize("copied", [False, True])
def test_artifacts_are_found_and_written_where_the_folder_is_now(tmp_path, kept, copied):
    before, after = tmp_path / "before", tmp_path / "after"
    if copied:
        shutil.copytree(before, after)
        (note,) = before.rglob("note.txt")
        note.write_text("of the original")
    else:
        before.rename(after)
    tracking = TrackingConfig(dir=str(after / "mlruns"))
    store, experiment = open_store(tracking)
    (run,) = MlflowClient(store.uri).search_runs([experiment])
    assert note_of(store, run.info.run_id) == "first"
    with tracked_run(tracking=tracking, name="another", tags={}, folder=tmp_path / "another") as run:
        run.artifacts.mkdir()
        (run.artifacts / "note.txt").write_text("second")
        run.log_artifacts()
    assert note_of(store, run.run_id) == "second"
    assert len(list(after.rglob("note.txt"))) == 2
    assert len(list(before.rglob("note.txt"))) == copied


def test_a_store_that_is_reached_by_another_name_stays_as_it_is(tmp_path, kept):
    (tmp_path / "link").symlink_to(tmp_path / "before")
    open_store(TrackingConfig(dir=str(tmp_path / "link" / "mlruns")))
    with closing(sqlite3.connect(tmp_path / "before" / "mlruns" / "mlflow.db")) as database:
        query = "SELECT artifact_location FROM experiments WHERE name = 'bloodcell'"
        places = {place for (place,) in database.execute(query)}
    assert all(place.startswith((tmp_path / "before" / "mlruns" / "artifacts").as_uri()) for place in places)


def test_a_database_of_an_earlier_mlflow_is_upgraded_and_kept(tmp_path):
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config
    from sqlalchemy import create_engine

    path = tmp_path / "mlruns" / "mlflow.db"
    prepare_database(path)
    engine = create_engine(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as database:
        newest = database.execute("SELECT version_num FROM alembic_version").fetchone()
    script = ScriptDirectory.from_config(_get_alembic_config(str(engine.url)))
    earlier = script.get_revision(newest[0]).down_revision
    with engine.begin() as connection:
        config = _get_alembic_config(str(engine.url))
        config.attributes["connection"] = connection
        try:
            command.downgrade(config, earlier)
        except Exception:
            command.stamp(config, earlier)
    engine.dispose()
    prepare_database(path)
    (backup,) = path.parent.glob("mlflow.before-*.db")
    versions = []
    for file in (backup, path):
        with closing(sqlite3.connect(file)) as database:
            versions.append(database.execute("SELECT version_num FROM alembic_version").fetchone()[0])
    assert versions == [earlier, newest[0]]


def test_a_database_of_a_newer_mlflow_is_refused_and_stays(tmp_path):
    path = tmp_path / "mlruns" / "mlflow.db"
    prepare_database(path)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    before = path.read_bytes()
    with pytest.raises(UserError, match="another version of MLflow"):
        prepare_database(path)
    assert path.read_bytes() == before
    assert [each.name for each in sorted(path.parent.iterdir())] == ["mlflow.db", "mlflow.lock"]
