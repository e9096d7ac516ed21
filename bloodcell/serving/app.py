"""The web application of one model: a page, and answers over HTTP."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import Any, TypeVar

from mlflow.pyfunc import PyFuncModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bloodcell.local_server import Guard, refusal
from bloodcell.serving.access import Access
from bloodcell.serving.answers import answered, as_csv, as_json
from bloodcell.serving.heat import heat_pictures
from bloodcell.serving.limits import Deadline, Limits, RefusedRequest, Worker
from bloodcell.serving.page import ModelFacts, page_html
from bloodcell.serving.prediction import ServingParameters

JSON_TYPE = "application/json"
"""The only type of the bodies of `/predict`. Another site's page cannot send it without asking first."""
BYTES_TYPE = "application/octet-stream"
FILES = {"page.css": "text/css", "page.js": "text/javascript"}

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ServedFacts:
    """What is served.

    Attributes
    ----------
    model
        Predicts with MLflow's interface.
    network
        The Keras model in it, for heat maps.
    serving
        Its classes, calibration and novelty.
    facts
        What the page says of it.
    """

    model: PyFuncModel
    network: Any
    serving: ServingParameters
    facts: ModelFacts


def make_app(served: ServedFacts, *, host: str, hosts: Collection[str], token: str | None, limits: Limits) -> Guard:
    """Return the application.

    Parameters
    ----------
    served
        The model.
    host
        The address that the server listens on.
    hosts
        Further names under which it is asked, such as that of a proxy.
    token
        What clients must send; None: nothing.
    limits
        See `Limits`.
    """
    worker = Worker(limits)
    page = page_html(served.facts, served.serving, limits=limits)

    async def work(request: Request, function: Callable[[bytes, Deadline], T], *, content_type: str) -> T:
        given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if given != content_type:
            raise RefusedRequest(415, f"Content-Type is {given or 'missing'}; send {content_type}")
        length = request.headers.get("content-length", "")
        if length.isdecimal():
            limits.require_bytes(int(length))
        return await worker.serve(request.stream(), function)

    async def predict(request: Request) -> Response:
        ask = partial(_asked, served.model, limits)
        table, names = await work(request, ask, content_type=JSON_TYPE)
        if "text/csv" in request.headers.get("accept", ""):
            return Response(as_csv(table, names), media_type="text/csv")
        return Response(as_json(table), media_type=JSON_TYPE)

    async def explain(request: Request) -> Response:
        def explained(body: bytes, _: Deadline) -> dict[str, str]:
            return heat_pictures(served.network, served.serving, body).as_dict()

        return JSONResponse(await work(request, explained, content_type=BYTES_TYPE))

    async def show_page(_: Request) -> Response:
        return Response(page, media_type="text/html")

    async def health(_: Request) -> Response:
        return JSONResponse({})

    routes = [
        Route("/", show_page, methods=["GET"]),
        Route("/predict", predict, methods=["POST"]),
        Route("/explain", explain, methods=["POST"]),
        Route("/health", health, methods=["GET"]),
        *(Route(f"/{name}", _file(name, kind), methods=["GET"]) for name, kind in FILES.items()),
    ]
    app = Starlette(routes=routes, exception_handlers={RefusedRequest: _refused, HTTPException: _not_found})
    return Guard(app if token is None else Access(app, token=token), host=host, names=hosts)


def _asked(model: PyFuncModel, limits: Limits, body: bytes, deadline: Deadline) -> Any:
    return answered(model, body, limits=limits, deadline=deadline)


def _file(name: str, kind: str) -> Callable[[Request], Any]:
    content = (resources.files("bloodcell.serving") / name).read_bytes()

    async def send(_: Request) -> Response:
        return Response(content, media_type=kind)

    return send


async def _refused(_: Request, error: Exception) -> Response:
    return refusal(error.status if isinstance(error, RefusedRequest) else 500, str(error))


async def _not_found(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return refusal(status, "there is GET /, GET /health, POST /predict and POST /explain")
