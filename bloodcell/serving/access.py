"""Who may ask for predictions: clients with the token, and browsers that logged in with it."""

import secrets
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from bloodcell.local_server import refusal
from bloodcell.templates import render

OPEN_PATHS = frozenset({"/health", "/page.css"})
"""What is served without the token: neither has anything of the model."""
MIN_TOKEN = 16
"""Fewest characters of a token that a person chooses."""
MAX_FORM = 4096
"""Most bytes of the form with the token."""


class Access:
    """Middleware that refuses requests without the token before their body is read.

    Parameters
    ----------
    app
        What answers the others.
    token
        The secret that clients send.
    """

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app, self._token = app, token
        # What a browser keeps is no use after this process has ended.
        self._session = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        await (await self._login(Request(scope, receive)) or self._app)(scope, receive, send)

    async def _login(self, request: Request) -> Response | None:
        """Return the answer for a request without the right token, or for one that logs in; None: it has it."""
        path = request.url.path
        if path in OPEN_PATHS:
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
