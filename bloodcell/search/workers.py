"""keras-tuner's chief and workers, on this machine, or as environment variables define."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from bloodcell.errors import SearchFailedError, UserError
from bloodcell.processes import exit_with_parent

CHIEF = "BLOODCELL_CHIEF"
"""Id of the process that started a worker."""
ENVIRONMENT = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")
"""keras-tuner's variables: the name of this process (``chief``, or any other for a worker), the chief's address."""


def is_worker() -> bool:
    """Return whether the environment makes this process a worker."""
    return "KERASTUNER_ORACLE_IP" in os.environ and "chief" not in os.environ.get("KERASTUNER_TUNER_ID", "")


def check_environment() -> None:
    """Check keras-tuner's variables for a search on several machines.

    Raises
    ------
    UserError
        If only some of the variables are set, or the port is not a number.
    """
    given = [name for name in ENVIRONMENT if name in os.environ]
    if given and len(given) < len(ENVIRONMENT):
        (missing, *_) = [name for name in ENVIRONMENT if name not in os.environ]
        raise UserError(f"{given[0]}: is set, but {missing} is not; set all three environment variables, or none")
    if given and not os.environ["KERASTUNER_ORACLE_PORT"].isdecimal():
        raise UserError(f"KERASTUNER_ORACLE_PORT={os.environ['KERASTUNER_ORACLE_PORT']}: must be a number")


def stay_with_chief() -> None:
    """End this worker when the chief that started it ends; a worker that no chief started continues."""
    if CHIEF in os.environ:
        exit_with_parent(int(os.environ[CHIEF]))


def distributed(search: Callable[[], None], *, n_workers: int, lost: Callable[[str], None]) -> None:
    """Search in this process, or as the chief of workers that run the same command.

    A worker that ends early does not stop the others; its trial is repeated when the search is resumed.

    Parameters
    ----------
    search
        Searches, or serves the workers if this process is their chief.
    n_workers
        Number of workers.
    lost
        Called with the name of a worker that ended early.

    Raises
    ------
    SearchFailedError
        If a worker ended early.
    """
    if n_workers == 1 or "KERASTUNER_ORACLE_IP" in os.environ:
        search()
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port}
    os.environ.update(shared, KERASTUNER_TUNER_ID="chief")
    command = [sys.executable, "-m", "bloodcell", sys.argv[0].split()[-1], *sys.argv[1:]]  # the same job
    names = [f"worker-{number}" for number in range(1, n_workers + 1)]
    workers = [
        subprocess.Popen(command, env=os.environ | {"KERASTUNER_TUNER_ID": name, CHIEF: str(os.getpid())})
        for name in names
    ]
    try:
        # A daemon thread, because the chief would wait forever for a worker that died.
        threading.Thread(target=search, daemon=True).start()
        while any(worker.poll() is None for worker in workers):
            for name, worker in zip(names, workers, strict=True):
                if worker.returncode:
                    lost(name)
            time.sleep(0.2)
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.terminate()
        for worker in workers:
            worker.wait()
        for name in ENVIRONMENT:
            os.environ.pop(name, None)
    if early := sum(worker.returncode != 0 for worker in workers):
        raise SearchFailedError(
            f"tuner.workers={n_workers}: {early} of them ended early, see above; the same command resumes the search"
        )
