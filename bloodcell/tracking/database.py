"""The embedded store's database: created and upgraded once, never half, and at home where its folder is."""

import errno
import functools
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from bloodcell.errors import UserError, one_line
from bloodcell.files import atomic_write

PLACES = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
"""The columns with places of artifacts, by table."""


def prepare_database(path: Path) -> None:
    """Create MLflow's SQLite database, or upgrade it and correct its places of artifacts.

    MLflow creates its tables in 60 steps. Two processes at once, or an interruption, would leave a database that it
    refuses from then on. So the file is created next to its place under a lock, and renamed when it is complete. The
    same holds for an upgrade, which keeps the earlier database. MLflow stores absolute places of artifacts; if the
    folder of the database was moved or copied, they are corrected.

    Parameters
    ----------
    path
        The file; an empty file is replaced. Artifacts are in ``artifacts`` next to it.

    Raises
    ------
    OSError
        If the folder cannot be written, or the disk is full.
    UserError
        If the file is not a complete database of MLflow, or is of a newer MLflow.
    """
    if _exists(path) and _revision(path) == _latest_revision() and not _moved(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not _exists(path):
            _create(path)
        elif _revision(path) != _latest_revision():
            _upgrade(path)
        for before in _moved(path):
            _move(path, before)


def _exists(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _create(path: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    try:
        with atomic_write(path) as partial:
            SqlAlchemyStore(f"sqlite:///{partial}", (path.parent / "artifacts").as_uri()).engine.dispose()
    except Exception as error:  # any error of the database driver, of SQLAlchemy or MLflow
        if "disk is full" not in str(error):
            raise
        raise OSError(errno.ENOSPC, "No space left on device", str(path)) from error


def _upgrade(path: Path) -> None:
    """Upgrade a copy, which takes the place of the database; the database before stays next to it."""
    from mlflow.store.db.utils import _upgrade_db
    from sqlalchemy import create_engine

    backup = path.with_name(f"{path.stem}.before-{time.strftime('%Y%m%d-%H%M%S')}{path.suffix}")
    with atomic_write(path) as partial:
        for copy in (backup, partial):
            with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
                source.backup(target)
        engine = create_engine(f"sqlite:///{partial}")
        try:
            _upgrade_db(engine)
        except Exception as error:  # any error of Alembic: it has never seen this version
            backup.unlink()
            reason = one_line(error)
            raise UserError(
                f"{path}: is of another version of MLflow ({reason}); install that version, or move it away"
            ) from error
        finally:
            engine.dispose()


def _revision(path: Path) -> str:
    """Return the version of a database's tables.

    Raises
    ------
    UserError
        If the file is no database, or its tables were not all created; MLflow would try for minutes to open it.
    """
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            names = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            found = database.execute("SELECT version_num FROM alembic_version").fetchone() if names else None
    except sqlite3.DatabaseError as error:
        reason = str(error)
    else:
        complete = {"experiments", "runs"} <= names and not any(name.startswith("_alembic_tmp") for name in names)
        if found is not None and complete:
            return str(found[0])
        reason = "its tables were not all created"
    raise UserError(f"{path}: is not a database of MLflow ({reason}); move it away, or give another tracking.dir")


@functools.cache
def _latest_revision() -> str:
    from mlflow.store.db.utils import _get_latest_schema_revision

    return str(_get_latest_schema_revision())


def _moved(path: Path) -> list[str]:
    """Return earlier places of the folder of artifacts, whose files are now next to the database."""
    here = path.parent / "artifacts"
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        places = [place for (place,) in database.execute("SELECT DISTINCT artifact_location FROM experiments")]
        runs = [run for (run,) in database.execute("SELECT run_uuid FROM runs LIMIT 1000")]
    found = []
    for place in dict.fromkeys(str(place).removesuffix("/0") for place in places):
        before = Path(unquote(urlsplit(place).path))
        if not place.startswith("file:") or place == here.as_uri() or before.name != "artifacts":
            continue
        copied = here.exists() and before.exists() and not before.samefile(here)
        if not before.exists() or (copied and any((here / run).exists() for run in runs)):
            found.append(place)
    return found


def _move(path: Path, before: str) -> None:
    """Replace the start of all places of artifacts, in one transaction."""
    now = (path.parent / "artifacts").as_uri()
    with closing(sqlite3.connect(path)) as database, database:
        for table, columns in PLACES.items():
            for column in columns:
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (now, len(before) + 1, before, len(before) + 1, f"{before}/"),
                )
