"""Serve a model: a page to drop images on, and POST /predict.

  bloodcell serve run=ID
  bloodcell serve model=models:/bloodcell@best port=8080

The page shows the class, calibrated probabilities and a heat map of each image, and what the model is for, from its
card. POST /predict takes and gives what `mlflow models serve` does. With another host than 127.0.0.1 clients need a
token, which is printed, or that of the environment variable BLOODCELL_TOKEN.
"""

import os
import secrets
from pathlib import Path
from urllib.parse import quote

from rich.console import Console

from bloodcell.config.schemas import ServeConfig
from bloodcell.console.json_output import set_json_result
from bloodcell.errors import UserError
from bloodcell.local_server import is_loopback, listening, page_address, serve
from bloodcell.serving.access import MIN_TOKEN
from bloodcell.serving.app import ServedFacts, make_app
from bloodcell.serving.heat import heat_pictures
from bloodcell.serving.limits import Limits
from bloodcell.serving.page import ModelFacts
from bloodcell.serving.prediction import predict_images
from bloodcell.tracking.served import choose_model
from bloodcell.tracking.store import existing_store

TOKEN = "BLOODCELL_TOKEN"
"""The environment variable with the token: every user of a machine sees the arguments of a command."""


def run(config: ServeConfig, *, output_dir: Path) -> None:  # noqa: ARG001 - nothing is written
    """Serve a model until interrupted.

    Raises
    ------
    UserError
        If the model cannot be used, the port is taken, or the token is too short.
    """
    token = _token(config.host)
    with listening(config.host, config.port) as listener:
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
        address = page_address(config.host, listener.getsockname()[1])
        _show(chosen.name, address, token)
        set_json_result(address=address, model=chosen.name, needs_token=token is not None)
        serve(app, listener)
        Console(highlight=False).print("Ended.")


def _token(host: str) -> str | None:
    """Return the token that clients must send; None for this machine only, unless one is set."""
    token = os.environ.get(TOKEN)
    if token is None or not token:
        return None if is_loopback(host) else secrets.token_urlsafe(32)
    if len(token) < MIN_TOKEN:
        raise UserError(f"{TOKEN}: has fewer than {MIN_TOKEN} characters; set a longer one, or unset it to get one")
    return token


def _show(name: str, address: str, token: str | None) -> None:
    console = Console(highlight=False, soft_wrap=True)
    page = address
    # A token that a person set is a secret that the log need not have.
    if token is not None and token != os.environ.get(TOKEN):
        page = f"{address}?token={quote(token)}"
    console.print(f"{name} is served at {page}", markup=False)
    console.print(f"Predict: POST {address}predict, as for mlflow models serve", markup=False)
    console.print("For research only. Not for diagnosis. Ctrl-C ends it.")
