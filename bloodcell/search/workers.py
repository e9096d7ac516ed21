"""keras-tuner's own chief and workers, as processes on this machine or as environment variables say."""

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
"""The number of the process that has started a worker."""
ENVIRONMENT = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")
"""What keras-tuner reads: who this process is (``chief``, or any other name for a worker), and where the chief is."""


def is_worker() -> bool:
    """Return whether the environment makes this process a worker."""
    return "KERASTUNER_ORACLE_IP" in os.environ and "chief" not in os.environ.get("KERASTUNER_TUNER_ID", "")


def check_environment() -> None:
    """Raise a `UserError` if some of keras-tuner's variables are in the environment, but not all."""
    given = [name for name in ENVIRONMENT if name in os.environ]
    if given and len(given) < len(ENVIRONMENT):
        (missing, *_) = [name for name in ENVIRONMENT if name not in os.environ]
        raise UserError(f"{given[0]}: is in the environment, but {missing} is not; set all three, or none")
    if given and not os.environ["KERASTUNER_ORACLE_PORT"].isdecimal():
        raise UserError(f"KERASTUNER_ORACLE_PORT={os.environ['KERASTUNER_ORACLE_PORT']}: must be a number")


def stay_with_chief() -> None:
    """End this worker when the chief that started it is gone; one on another machine has nobody to stay with."""
    if CHIEF in os.environ:
        exit_with_parent(int(os.environ[CHIEF]))


def distributed(search: Callable[[], None], *, n_workers: int, lost: Callable[[str], None]) -> None:
    """Search in this process, or be the chief of so many workers that run the same command.

    A worker that ends early does not stop the others; its trial is repeated when the search is resumed.

    Parameters
    ----------
    search
        Searches, or serves the workers if this process is their chief.
    lost
        Gets the name of a worker that ended early; then a `SearchFailedError` is raised.
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
        # The chief serves for as long as a worker lives; by itself it would wait for one that died.
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
