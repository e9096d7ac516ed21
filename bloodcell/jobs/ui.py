"""Open the MLflow UI of the configured store."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.metadata import entry_points
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from rich.console import Console

from bloodcell.config.schemas import UiConfig
from bloodcell.errors import UserError
from bloodcell.local_server import listening
from bloodcell.tracking.experiment_page import page_of, update_page
from bloodcell.tracking.store import Store, open_store

STARTING_S = 120.0
APP = "bloodcell"
"""The name of `bloodcell.tracking.mlflow_app` among MLflow's apps."""


def run(config: UiConfig, *, output_dir: Path) -> None:  # noqa: ARG001 - nothing is written
    """Serve the MLflow UI until interrupted; a tracking server has its own.

    Raises
    ------
    UserError
        If the store cannot be opened or the port is taken.
    """
    console = Console(highlight=False, soft_wrap=True)
    store, experiment_id = open_store(config.tracking)
    page = page_of(experiment_id)
    update_page(experiment_id)
    if store.is_server:
        console.print(f"The store is a server with its own MLflow UI: {store.label.rstrip('/')}/{page}")
        return
    listening(config.host, config.port).close()  # MLflow's own message has many lines
    address = f"http://{config.host}:{config.port}/"
    with TemporaryFile() as messages:
        server = _serve(store, config, messages)
        try:
            _wait_until_up(server, address, messages)
            console.print(f"MLflow shows {store.label} at {address}{page}")
            console.print("Ctrl-C ends it.")
            server.wait()
        except KeyboardInterrupt:
            console.print("Ended.")
        finally:
            server.terminate()
            server.wait()


def _serve(store: Store, config: UiConfig, messages: IO[bytes]) -> "subprocess.Popen[bytes]":
    # By environment, not by argument: every user of the machine sees arguments, and a URI may hold a password.
    settings = {"MLFLOW_BACKEND_STORE_URI": store.uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = ["mlflow", "server", "--host", config.host, "--port", str(config.port), "--workers", "1"]
    if entry_points(group="mlflow.app", name=APP):  # missing in an installation of an earlier version
        command += ["--app-name", APP]
    if store.artifacts is not None:
        command += ["--default-artifact-root", store.artifacts.as_uri()]
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        env=os.environ | settings,
        stdout=subprocess.DEVNULL,
        stderr=messages,
    )


def _wait_until_up(server: "subprocess.Popen[bytes]", address: str, messages: IO[bytes]) -> None:
    until = time.monotonic() + STARTING_S
    while time.monotonic() < until:
        if server.poll() is not None:
            messages.seek(0)
            lines = messages.read().decode(errors="replace").split("\n")
            raise UserError(f"MLflow's server ended: {' '.join(lines[-3:]).strip() or 'no error message'}")
        try:
            with urllib.request.urlopen(f"{address}health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise UserError(f"MLflow's server did not answer at {address} within {STARTING_S:.0f} s")
