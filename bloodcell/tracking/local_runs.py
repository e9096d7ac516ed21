"""The folders of runs on this machine, and runs whose process ended without recording it."""

from pathlib import Path

from filelock import FileLock, Timeout

from bloodcell.errors import UserError
from bloodcell.experiment.recorder import REASON_TAG, RUN_FILE, RUNNING, now, read_run, write_run

LOCK_FILE = ".lock"
"""The file in a run's folder that is locked while a process writes the run."""
LOST = "its process ended without an error message"


def lock_run(folder: Path, *, seconds: float = 1.0) -> FileLock:
    """Lock the folder of a run until this process releases it or ends; return the lock.

    ``seconds`` is how long to wait for another process, which may only look whether the run is written.

    Raises
    ------
    UserError
        If another process has the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=seconds)
    except Timeout as error:
        raise UserError(f"{folder}: another process writes this run; wait for it, or give another folder") from error
    return lock


def run_folders(root: Path) -> list[Path]:
    """Return the folders of tracked runs in a folder, and itself, each before those that it contains."""
    found = sorted(path.parent for path in root.glob(f"**/{RUN_FILE}"))
    return [folder for folder in found if "store" in (read_run(folder) or {})]


def is_written(folder: Path) -> bool:
    """Return whether a process, also on another machine with the same file system, writes the run in a folder."""
    try:
        lock_run(folder, seconds=0).release()
    except UserError:
        return True
    return False


def is_abandoned(folder: Path) -> bool:
    """Return whether the run in a folder has not ended, but no process writes it."""
    run = read_run(folder)
    return run is not None and run["status"] == RUNNING and not is_written(folder)


def close_abandoned(folder: Path, *, status: str, reason: str = LOST) -> bool:
    """End the run in a folder if it is abandoned, with ``status``; return whether it was."""
    if not is_abandoned(folder):
        return False
    run = read_run(folder) or {}
    run["tags"][REASON_TAG] = reason
    write_run(folder, run | {"status": status, "ended": now()})
    return True
