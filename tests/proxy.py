"""A proxy that makes the way to a server fail."""

import contextlib
import http.client
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


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
