"""keras-tuner's own chief and workers, as processes on this machine or as environment variables say."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from bloodcell.errors import SearchFailedError

ENVIRONMENT = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")
"""What keras-tuner reads: who this process is (``chief``, or any other name for a worker), and where the chief is."""


def is_worker() -> bool:
    """Say whether this process is told to be a worker."""
    return "KERASTUNER_ORACLE_IP" in os.environ and "chief" not in os.environ.get("KERASTUNER_TUNER_ID", "")


def distributed(search: Callable[[], None], *, n_workers: int) -> None:
    """Search in this process, or be the chief of so many workers that run the same command.

    A worker that ends early takes no other down; its trial is repeated when the search goes on.

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
    command = [sys.executable, "-m", "bloodcell", *_arguments()]
    workers = [
        subprocess.Popen(command, env=os.environ | {"KERASTUNER_TUNER_ID": f"worker-{number}"})
        for number in range(1, n_workers + 1)
    ]
    try:
        # The chief serves for as long as a worker lives; by itself it would wait for one that died.
        threading.Thread(target=search, daemon=True).start()
        while any(worker.poll() is None for worker in workers):
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
            f"tuner.workers={n_workers}: {early} of them ended early, see above; start again, which goes on"
        )


def _arguments() -> list[str]:
    job = sys.argv[0].split()[-1]
    return [job, *sys.argv[1:]]
