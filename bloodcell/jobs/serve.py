"""Serve a model: a page to drop images on, and POST /predict.

  bloodcell serve run=ID
  bloodcell serve model=models:/bloodcell@best port=8080

The page shows the class, calibrated probabilities and a heat map of each image, and what the model is for, from its
card. POST /predict takes and gives what `mlflow models serve` does. With another host than 127.0.0.1 clients need a
token, which is printed, or that of the environment variable BLOODCELL_TOKEN.
"""

import ipaddress
import os
import secrets
import socket
from pathlib import Path
from urllib.parse import quote

import uvicorn
from rich.console import Console

from bloodcell.config.schemas import ServeConfig
from bloodcell.console.json_output import set_json_result
from bloodcell.errors import UserError
from bloodcell.serving.access import MIN_TOKEN, is_loopback
from bloodcell.serving.app import ServedFacts, make_app
from bloodcell.serving.heat import heat_pictures
from bloodcell.serving.limits import Limits
from bloodcell.serving.page import ModelFacts
from bloodcell.serving.prediction import predict_images
from bloodcell.tracking.served import choose_model
from bloodcell.tracking.store import existing_store

TOKEN = "BLOODCELL_TOKEN"
"""The environment variable with the token: every user of a machine sees the arguments of a command."""
CONNECTIONS = 64
"""Most connections at a time; further ones get the status 503."""
ENDING_S = 5
"""Seconds for the requests that are answered when the server ends."""


def run(config: ServeConfig, *, output_dir: Path) -> None:  # noqa: ARG001 - nothing is written
    """Serve a model until interrupted.

    Raises
    ------
    UserError
        If the model cannot be used, the port is taken, or the token is too short.
    """
    token = _token(config.host)
    with _listening(config.host, config.port) as listener:
        chosen = choose_model(existing_store(config.tracking), run=config.run, model=config.model)
        stored = chosen.stored
        # The first prediction takes seconds, so it is not that of a user.
        predict_images(stored.model, stored.serving, [stored.example])
        heat_pictures(stored.model, stored.serving, stored.example)
        app = make_app(
            ServedFacts(
                model=stored.interface,
                network=stored.model,
                serving=stored.serving,
                facts=ModelFacts(name=chosen.name, card=chosen.card),
            ),
            host=config.host,
            hosts=config.hosts,
            token=token,
            limits=Limits(**vars(config.limits)),
        )
        listener.listen()  # from now on clients can connect
        address = _address(config.host, listener.getsockname()[1])
        _show(chosen.name, address, token)
        set_json_result(address=address, model=chosen.name, needs_token=token is not None)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                ws="none",
                limit_concurrency=CONNECTIONS,
                timeout_graceful_shutdown=ENDING_S,
            )
        )
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:
            Console(highlight=False).print("Ended.")


def _token(host: str) -> str | None:
    """Return the token that clients must send; None for this machine only, unless one is set."""
    token = os.environ.get(TOKEN)
    if token is None or not token:
        return None if is_loopback(host) else secrets.token_urlsafe(32)
    if len(token) < MIN_TOKEN:
        raise UserError(f"{TOKEN}: has fewer than {MIN_TOKEN} characters; set a longer one, or unset it to get one")
    return token


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that has the address, which nobody can take while the model is loaded."""
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
        raise UserError(
            f"port={port}: cannot be opened on {host} ({error.strerror}); give another port or host"
        ) from error
    return listener


def _address(host: str, port: int) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"http://{host}:{port}/"
    if address.is_unspecified:
        return f"http://{socket.gethostname()}:{port}/"
    return f"http://[{host}]:{port}/" if address.version == 6 else f"http://{host}:{port}/"


def _show(name: str, address: str, token: str | None) -> None:
    console = Console(highlight=False, soft_wrap=True)
    page = address
    # A token that a person set is a secret that the log need not have.
    if token is not None and token != os.environ.get(TOKEN):
        page = f"{address}?token={quote(token)}"
    console.print(f"{name} is served at {page}", markup=False)
    console.print(f"Predict: POST {address}predict, as for mlflow models serve", markup=False)
    console.print("For research only. Not for diagnosis. Ctrl-C ends it.")
