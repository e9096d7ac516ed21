"""Who may ask a server: requests to its own names, from its own pages, with its token."""

import ipaddress
import secrets
import socket
from collections.abc import Collection
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bloodcell.templates import render

LOOPBACK_NAMES = frozenset({"localhost"})
OPEN_PATHS = frozenset({"/health", "/page.css"})
"""What is served without the token: neither has anything of the model."""
MIN_TOKEN = 16
"""Fewest characters of a token that a person chooses."""
MAX_FORM = 4096
"""Most bytes of the form with the token."""
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
"""Of every response. The page loads nothing from elsewhere, and is in no frame."""


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine only."""
    if host in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def own_names(host: str, more: Collection[str]) -> frozenset[str]:
    """Return the names under which a server that listens on ``host`` may be asked, besides addresses of numbers."""
    names = {*LOOPBACK_NAMES, host, *more}
    if not is_loopback(host):
        names |= {socket.gethostname(), socket.getfqdn()}
    return frozenset(name.lower().rstrip(".") for name in names)


class Access:
    """Middleware that refuses requests before their body is read.

    Parameters
    ----------
    app
        What answers the others.
    names
        See `own_names`. A name of another would be one that somebody's page has turned to this machine (DNS
        rebinding); an address of numbers cannot be.
    only_loopback
        Whether addresses of numbers must be of this machine, too.
    token
        The secret that clients send; None: no secret.
    """

    def __init__(self, app: ASGIApp, *, names: Collection[str], only_loopback: bool, token: str | None) -> None:
        self._app, self._names, self._only_loopback, self._token = app, names, only_loopback, token
        # What a browser keeps is no use after this process has ended.
        self._session = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        answer = self._refusal(request) or await self._login(request)
        await (answer or self._app)(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> Response | None:
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            return refusal(421, "the address has a foreign name; use the one that the server printed, or set hosts")
        origin = request.headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc.lower() != hosts[0].lower()
        if request.method != "GET" and (foreign or request.headers.get("sec-fetch-site") == "cross-site"):
            return refusal(403, "the request is from the page of another site")
        return None

    def _is_own(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self._only_loopback

    async def _login(self, request: Request) -> Response | None:
        """Return the answer for a request without the right token, or for one that logs in; None: it has it."""
        path = request.url.path
        if self._token is None or path in OPEN_PATHS:
            return None
        cookie = f"bloodcell_{request.url.port or 0}"
        given: str | None = None
        if path == "/" and request.method == "GET":
            given = request.query_params.get("token")
        elif path == "/login" and request.method == "POST":
            given = await _form_token(request)
        if given is not None and _same(given, self._token):
            found = RedirectResponse("/", 303)
            found.set_cookie(cookie, self._session, httponly=True, samesite="lax", secure=request.url.scheme == "https")
            return found
        scheme, _, sent = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(sent.strip(), self._token):
            return None
        if given is None and _same(request.cookies.get(cookie, ""), self._session):
            return None
        if path in ("/", "/login"):
            page = render("bloodcell.serving", "login.html.jinja", {"wrong": given is not None})
            return Response(page, 401, {"WWW-Authenticate": "Bearer"}, media_type="text/html")
        return refusal(401, "the token is missing or wrong; send the header Authorization: Bearer TOKEN")


def refusal(status: int, message: str) -> Response:
    """Return a response with the keys of MLflow's errors."""
    codes = {400: "BAD_REQUEST", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "ENDPOINT_NOT_FOUND"}
    code = codes.get(status, "INVALID_PARAMETER_VALUE" if status < 500 else "TEMPORARILY_UNAVAILABLE")
    headers = {"Connection": "close"} | ({"Retry-After": "5"} if status == 503 else {})
    return JSONResponse({"error_code": code, "message": message}, status, headers)


def _same(given: str, right: str) -> bool:
    """Compare two secrets in a time that does not depend on what they share."""
    return secrets.compare_digest(given.encode(), right.encode())


async def _form_token(request: Request) -> str:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM:
            return ""
    return parse_qs(body.decode(errors="replace")).get("token", [""])[0].strip()
