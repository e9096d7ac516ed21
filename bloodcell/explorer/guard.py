"""Who may ask the explorer: only a page that it served itself, to a person who knows its address."""

import secrets
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_BYTES = 24
HEADERS = {
    # Nothing is loaded from, or sent to, another address; no other page frames or reads this one.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def new_token() -> str:
    """Return a secret for the address of a page."""
    return secrets.token_urlsafe(TOKEN_BYTES)


class Guard:
    """Answers only requests whose path begins with the token and whose host is this machine.

    The token is a part of the path, so no cookie is needed, which other servers of this machine would receive. The host
    is checked because a page of another site can give its own name the address 127.0.0.1 (DNS rebinding).

    Parameters
    ----------
    app
        The application behind it, which sees paths without the token.
    token
        The secret.
    port
        On which it listens.
    """

    def __init__(self, app: ASGIApp, *, token: str, port: int) -> None:
        self._app, self._token = app, token.encode()
        self._hosts = {f"{name}:{port}".encode() for name in ("127.0.0.1", "localhost")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        if (refused := self._refused(scope)) is not None:
            await PlainTextResponse(refused, status_code=403, headers=HEADERS)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            await send(message)

        token = self._token.decode()
        inner = {**scope, "path": scope["path"].removeprefix(f"/{token}") or "/", "raw_path": None}
        await self._app(inner, receive, send_with_headers)

    def _refused(self, scope: Scope) -> str | None:
        """Return why a request is refused; None if it is not."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        host: Any = headers.get(b"host", b"")
        if host not in self._hosts:
            return "This page is only for the address that bloodcell explore printed.\n"
        origin = headers.get(b"origin")
        if origin is not None and origin != b"http://" + host:
            return "Another page asked; it may not.\n"
        given = scope["path"].split("/")[1] if scope["path"].startswith("/") else ""
        if not secrets.compare_digest(given.encode(), self._token):
            return "The address has no valid token; use the address that bloodcell explore printed.\n"
        return None
