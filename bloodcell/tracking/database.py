"""The embedded store's database: created once, and never half."""

import errno
import sqlite3
from contextlib import closing
from pathlib import Path

from filelock import FileLock

from bloodcell.errors import UserError
from bloodcell.files import atomic_write


def create_database(path: Path) -> None:
    """Create MLflow's SQLite database, unless the file is there.

    MLflow creates its tables in 60 steps. Two processes at once, or an interruption, would leave a database that it
    refuses from then on. So the file is created next to its place under a lock, and renamed when it is complete.

    Parameters
    ----------
    path
        The file; an empty file is replaced.

    Raises
    ------
    OSError
        If the folder cannot be written, or the disk is full.
    UserError
        If the file is not a complete database of MLflow.
    """
    if _exists(path):
        _require_complete(path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if _exists(path):  # another process was faster
            return
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        try:
            with atomic_write(path) as partial:
                SqlAlchemyStore(f"sqlite:///{partial}", (path.parent / "artifacts").as_uri()).engine.dispose()
        except Exception as error:  # any error of the database driver, of SQLAlchemy or MLflow
            if "disk is full" not in str(error):
                raise
            raise OSError(errno.ENOSPC, "No space left on device", str(path)) from error


def _exists(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _require_complete(path: Path) -> None:
    """Refuse a file that is no database, or whose tables were not all created; MLflow tries for minutes to open it."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            names = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        reason = str(error)
    else:
        if "alembic_version" in names and not any(name.startswith("_alembic_tmp") for name in names):
            return
        reason = "its tables were not all created"
    raise UserError(f"{path}: is not a database of MLflow ({reason}); move it away, or give another tracking.dir")
