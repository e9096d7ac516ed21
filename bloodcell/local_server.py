"""Servers of this machine: the port that they open, who may ask, and the headers of every response."""

import ipaddress
import socket
from collections.abc import Collection
from contextlib import suppress
from urllib.parse import urlsplit

import uvicorn
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bloodcell.errors import UserError

CONNECTIONS = 64
"""Most connections at a time; further ones get the status 503."""
ENDING_S = 5
"""Seconds for the requests that are answered when the server ends."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
"""Of every response without its own. The page loads nothing from elsewhere, and is in no frame."""


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine only."""
    address = _numbers(host)
    return host == "localhost" if address is None else address.is_loopback


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that has the address, which nobody else can take from now on.

    Raises
    ------
    UserError
        If the host is not of this machine, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UserError(f"host={host}: is no address of this machine ({error.strerror}); give another host") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise UserError(f"port={port}: cannot be opened on {host} ({error.strerror}); give another port") from error
    return listener


def page_address(host: str, port: int) -> str:
    """Return the address that a browser opens, with a slash at its end."""
    address = _numbers(host)
    if address is not None and address.is_unspecified:
        host = socket.gethostname()
    elif address is not None and address.version == 6:
        host = f"[{host}]"
    return f"http://{host}:{port}/"


def serve(app: ASGIApp, listener: socket.socket) -> None:
    """Answer requests until Ctrl-C, and close the socket."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=ENDING_S,
    )
    with listener, suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


class Guard:
    """Middleware that refuses requests of other sites before their body is read.

    Parameters
    ----------
    app
        What answers the others.
    host
        The address that the server listens on.
    names
        Further names under which it is asked, such as that of a proxy. A name of another would be one that somebody's
        page has turned to this machine (DNS rebinding); an address of numbers cannot be.
    """

    def __init__(self, app: ASGIApp, *, host: str, names: Collection[str] = ()) -> None:
        self._app, self._only_loopback = app, is_loopback(host)
        known = {"localhost", host, *names}
        if not self._only_loopback:
            known |= {socket.gethostname(), socket.getfqdn()}
        self._names = {name.lower().rstrip(".") for name in known}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await (self._refusal(scope) or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            return refusal(421, "the address has a foreign name; use the one that the server printed, or set hosts")
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc.lower() != hosts[0].lower()
        if scope["method"] != "GET" and (foreign or headers.get("sec-fetch-site") == "cross-site"):
            return refusal(403, "the request is from the page of another site")
        return None

    def _is_own(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        address = _numbers(name)
        return name in self._names or (address is not None and (address.is_loopback or not self._only_loopback))


def refusal(status: int, message: str) -> Response:
    """Return a response with the keys of MLflow's errors."""
    codes = {400: "BAD_REQUEST", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "ENDPOINT_NOT_FOUND"}
    code = codes.get(status, "INVALID_PARAMETER_VALUE" if status < 500 else "TEMPORARILY_UNAVAILABLE")
    headers = {"Connection": "close"} | ({"Retry-After": "5"} if status == 503 else {})
    return JSONResponse({"error_code": code, "message": message}, status, headers)


def _numbers(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return a host that is an address of numbers; None if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
