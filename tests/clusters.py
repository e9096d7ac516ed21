"""Services that a sweep past one machine needs, started for a test: nodes of Ray, an MLflow server, its stores."""

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from commands import REPOSITORY
from documents import commands_of

PASSWORD = "hunter2"


def wait_until(condition: Callable[[], object], *, seconds: float = 120) -> None:
    """Wait until a condition holds, and fail if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def documented(start: str, values: Mapping[str, str]) -> list[str]:
    """Return the words of the command that docs/clusters.md starts so, with its values replaced, for this Python."""
    page = (REPOSITORY / "docs" / "clusters.md").read_text(encoding="utf-8")
    (command,) = [command for command in commands_of(page) if command.startswith(start)]
    for value, replacement in values.items():
        assert value in page
        command = command.replace(value, replacement)
    program, *words = shlex.split(command.removeprefix("uv run "))
    return [str(Path(sys.executable).with_name(program)), *words]


def free_port() -> int:
    """Return a port that nothing uses, outside of those that Ray gives to its workers."""
    for port in range(23000 + os.getpid() % 4000, 32000):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port")


@contextlib.contextmanager
def service(command: Sequence[str], *, cwd: Path, **environment: str) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a command during the block, and kill it and its child processes at the end."""
    with (cwd / "service.log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=cwd, env=os.environ | environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        kill_group(process)


def kill_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill a service and its child processes at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def mlflow_server(
    folder: Path, *, database: str | None = None, artifacts: str | None = None, **environment: str
) -> "Iterator[tuple[str, subprocess.Popen[bytes]]]":
    """Run an MLflow server, by default with a store of its own in the folder; give its address and its process."""
    folder.mkdir()
    port = free_port()
    command = documented(
        "mlflow server",
        {
            "0.0.0.0": "127.0.0.1",
            "server:*": "127.0.0.1:*",
            "postgresql+psycopg://mlflow:PASSWORD@localhost/mlflow": database or f"sqlite:///{folder / 'server.db'}",
            "s3://bucket/runs": artifacts or str(folder / "kept"),
        },
    )
    command += ["--port", str(port), "--workers", "1"]
    with service(command, cwd=folder, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false", **environment) as process:
        address = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(f"{address}/health"))
        yield address, process


def answers(address: str) -> bool:
    """Return whether a server answers at an address."""
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Run PostgreSQL with an empty database, and give its address; skip the test if it is not installed."""
    found = shutil.which("initdb") or next(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), None)
    if found is None:
        pytest.skip("needs PostgreSQL (apt-get install postgresql)")
    binaries, port = Path(found).resolve().parent, str(free_port())
    folder.mkdir()
    password = folder / "password"
    password.write_text(PASSWORD)
    user = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        os.chown(folder, 65534, 65534)
    initialise = [f"{binaries}/initdb", "-D", f"{folder}/data", "-U", "mlflow", "-A", "scram-sha-256"]
    subprocess.run([*user, *initialise, f"--pwfile={password}"], cwd=folder, check=True, capture_output=True)
    password.unlink()
    ready = [f"{binaries}/pg_isready", "-q", "-h", "127.0.0.1", "-p", port]
    with service([*user, f"{binaries}/postgres", "-D", f"{folder}/data", "-p", port, "-k", "", "-F"], cwd=folder):
        wait_until(lambda: subprocess.run(ready, check=False).returncode == 0)
        yield f"postgresql+psycopg://mlflow:{PASSWORD}@127.0.0.1:{port}/postgres"


@contextlib.contextmanager
def object_store(folder: Path) -> Iterator[dict[str, str]]:
    """Run a server that answers as S3, with the bucket ``runs``; give the environment variables of its clients."""
    pytest.importorskip("moto", reason="needs moto (`uv sync --group dev`)")
    import boto3

    folder.mkdir()
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    variables = {
        "AWS_ACCESS_KEY_ID": "runs",
        "AWS_SECRET_ACCESS_KEY": PASSWORD,
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_S3_ENDPOINT_URL": address,
    }
    with service([sys.executable, "-m", "moto.server", "-p", str(port)], cwd=folder):
        wait_until(lambda: answers(f"{address}/moto-api/"))
        s3 = boto3.client(
            "s3",
            endpoint_url=address,
            aws_access_key_id="runs",
            aws_secret_access_key=PASSWORD,
            region_name="us-east-1",
        )
        s3.create_bucket(Bucket="runs")
        yield variables


@contextlib.contextmanager
def ray_node(
    folder: Path, role: str, *options: str, port: int, **environment: str
) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a node of Ray: ``ray start`` with ``--head`` or ``--address``, as on the page, and these options."""
    folder.mkdir()
    command = documented(f"uv run ray start {role}", {"HEAD": "127.0.0.1", "6379": str(port)})
    command += ["--block", *options]
    with service(command, cwd=folder, RAY_USAGE_STATS_ENABLED="0", **environment) as process:
        wait_until(lambda: "Ray runtime started" in (folder / "service.log").read_text())
        yield process


def processes_with(file: Path) -> list[int]:
    """Return the ids of the processes that have a file open."""
    found = []
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if descriptor.readlink() == file:
                found.append(int(descriptor.parts[2]))
    return found


def files_with(text: str, *folders: Path) -> list[Path]:
    """Return the files in folders that have a text in them."""
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_socket()]
    return [path for path in paths if text.encode() in path.read_bytes()]
