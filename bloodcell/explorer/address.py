"""A secret in the address of the explorer."""

import secrets

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class SecretAddress:
    """Middleware that answers only requests whose path begins with the token.

    The token is a part of the path, so no cookie is needed, which other servers of this machine would receive.

    Parameters
    ----------
    app
        What answers the others; it sees paths without the token.
    token
        The secret.
    """

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        given, _, path = scope["path"].removeprefix("/").partition("/")
        if secrets.compare_digest(given.encode(), self._token.encode()):
            await self._app({**scope, "path": f"/{path}", "raw_path": None}, receive, send)
        else:
            text = "The address has no valid token; use the address that bloodcell explore printed.\n"
            await PlainTextResponse(text, 403)(scope, receive, send)
