"""Real MLflow servers, and a proxy that makes the way to them fail."""

import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple


class Server(NamedTuple):
    """A running server: its address, and its process group."""

    address: str
    process: "subprocess.Popen[bytes]"

    def kill(self) -> None:
        """Kill it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def mlflow_server(
    folder: Path, *, database: str | None = None, artifacts: str | None = None, **environment: str
) -> Iterator[Server]:
    """Run an MLflow server with a store in a folder, or with another database and another place of artifacts."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", database or f"sqlite:///{folder / 'server.db'}"),
            *("--artifacts-destination", artifacts or str(folder / "kept")),
        ],
        cwd=folder,
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    server = Server(f"http://127.0.0.1:{port}", process)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{server.address}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield server
    finally:
        server.kill()


class Proxy:
    """A proxy of a server that can be away, be slow, and lose requests and answers.

    Attributes
    ----------
    away
        Whether connections are closed without an answer.
    errors
        The fraction of requests that fail: half of them do not reach the server, of the others the answer is lost.
    delay
        Seconds before an answer.
    requests
        The number of requests until now.
    """

    def __init__(self, target: str, *, seed: int = 0) -> None:
        self.away, self.errors, self.delay, self.requests = False, 0.0, 0.0, 0
        self._random = random.Random(seed)
        self._target = target.removeprefix("http://")
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def _forward(self) -> None:
                body = self._body()
                headers = {name: value for name, value in self.headers.items() if name != "Transfer-Encoding"}
                proxy.requests += 1
                if proxy.away:
                    self.connection.close()
                    return
                time.sleep(proxy.delay)
                fails = proxy._random.random() < proxy.errors
                reaches = not fails or proxy._random.random() < 0.5
                answer = None
                if reaches:
                    with contextlib.closing(http.client.HTTPConnection(proxy._target, timeout=60)) as connection:
                        connection.request(self.command, self.path, body, headers)
                        answer = connection.getresponse()
                        content = answer.read()
                if fails or answer is None:
                    self.send_error(proxy._random.choice([500, 502, 503]))
                    return
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":  # as it is for an empty file
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _forward

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
