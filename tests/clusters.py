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
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from commands import REPOSITORY
from documents import commands_of

T = TypeVar("T")

PASSWORD = "hunter2"


def wait_until(condition: Callable[[], T], *, seconds: float = 120) -> T:
    """Wait until a condition holds, and return what it returned; fail if it does not in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return value


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


@dataclass(frozen=True)
class RayCluster:
    """A cluster of Ray on this machine.

    Attributes
    ----------
    folder
        The folder in which each node has a folder of its name.
    address
        Its address, without a scheme.
    variables
        Environment variables of those who use it.
    nodes
        The processes of the nodes that run something, by name; each has one CPU core.
    """

    folder: Path
    address: str
    variables: Mapping[str, str]
    nodes: "Mapping[str, subprocess.Popen[bytes]]"

    def kill_node_of(self, process: int) -> None:
        """Kill the node that runs a process."""
        environment = Path(f"/proc/{process}/environ").read_text().split("\0")
        (name,) = [name for name in self.nodes if f"HOME={self.folder / name}" in environment]
        kill_group(self.nodes[name])


@contextlib.contextmanager
def ray_cluster(folder: Path, *, work: Path | None = None, nodes: Sequence[str] = ("a", "b")) -> Iterator[RayCluster]:
    """Run a head and nodes of Ray, each node with its own home and caches.

    With ``work``, a folder, each node has a copy of it in its place, as on machines without a shared file system.
    """
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
    port = free_port()
    with contextlib.ExitStack() as stack:
        head = ["--num-cpus=0", "--include-dashboard=false", f"--temp-dir={folder}/ray"]
        stack.enter_context(_ray_node(folder / "head", "--head", *head, port=port, **token))
        started = {
            name: stack.enter_context(
                _ray_node(folder / name, "--address", "--num-cpus=1", port=port, work=work, **token)
            )
            for name in nodes
        }
        yield RayCluster(folder, f"127.0.0.1:{port}", token, started)


@contextlib.contextmanager
def _ray_node(
    folder: Path, role: str, *options: str, port: int, work: Path | None = None, **environment: str
) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a node of Ray: ``ray start`` with ``--head`` or ``--address``, as on the page, and these options."""
    folder.mkdir()
    command = documented(f"uv run ray start {role}", {"HEAD": "127.0.0.1", "6379": str(port)})
    command += ["--block", *options]
    if work is not None:
        shutil.copytree(work, folder / "work")
        command = [*_separately(folder / "work", work), *command]
    own = {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache"), "RAY_USAGE_STATS_ENABLED": "0"}
    with service(command, cwd=folder, **own, **environment) as process:
        wait_until(lambda: "Ray runtime started" in (folder / "service.log").read_text())
        yield process


def _separately(own: Path, place: Path) -> list[str]:
    """Return the words before a command that sees one folder in the place of another; skip the test without them."""
    words = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    words += ["sh", "-c", 'mount --bind "$0" "$1" && shift && exec "$@"', str(own), str(place)]
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount in a namespace")
    return words


def files_with(text: str, *folders: Path) -> list[Path]:
    """Return the files in folders that have a text in them."""
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_socket()]
    return [path for path in paths if text.encode() in path.read_bytes()]
