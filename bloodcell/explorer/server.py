"""The server of the explorer: images by their row, what the page loads, and marks."""

import gzip
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from bloodcell.cells.crop import CROPS
from bloodcell.console.json_output import plain
from bloodcell.errors import UserError
from bloodcell.explorer.address import SecretAddress
from bloodcell.explorer.items import EVIDENCE, SPLITS, Items, as_json
from bloodcell.explorer.maps import KINDS, Maps
from bloodcell.explorer.marks import Marks
from bloodcell.explorer.reading import Readings
from bloodcell.explorer.thumbnails import SHOWN, Pixels, ReadPixels, Thumbnails, as_jpeg, reduced
from bloodcell.images.reading import UnreadableImage
from bloodcell.local_server import Guard
from bloodcell.templates import render

HOST = "127.0.0.1"
SCRIPTS = (
    *("main.js", "data.js", "filters.js", "grid.js", "confusion.js", "reliability.js", "agreement.js"),
    *("map.js", "detail.js", "marks.js", "reader.js", "dom.js"),
)
STYLES = ("page.css",)
TYPES = {"js": "text/javascript", "css": "text/css"}
MAX_COPIES = 60
MAX_BODY = 2_000_000
"""Bytes of a request, at most: the rows of 100,000 images."""

Heat = Callable[[int, int, int], Pixels]
"""From a run, the row of an image and a class to the image with a heat map; a `UserError` without a model."""


@dataclass(frozen=True, kw_only=True)
class Explorer:
    """What the server shows.

    Attributes
    ----------
    items
        The images.
    title
        Of the page.
    read
        See `ReadPixels`.
    thumbnails, marks, maps, readings
        See their modules.
    heat
        See `Heat`.
    """

    items: Items
    title: str
    read: ReadPixels
    thumbnails: Thumbnails
    marks: Marks
    maps: Maps
    readings: Readings
    heat: Heat


def make_app(explorer: Explorer, *, token: str) -> Guard:
    """Return the application, whose address has the token."""
    items = gzip.compress(as_json(explorer.items), compresslevel=5)
    page = render("bloodcell.explorer", "page.html.jinja", {"title": explorer.title, "scripts": SCRIPTS})
    app = Starlette(
        routes=[
            Route("/", _file(page.encode(), "text/html")),
            *(
                Route(f"/{name}", _file(_resource(name), TYPES[name.rpartition(".")[2]]))
                for name in (*SCRIPTS, *STYLES)
            ),
            Route("/items.json", _file(items, "application/json", encoding="gzip")),
            Route("/thumbnail/{row:int}", _picture(explorer, explorer.thumbnails.jpeg)),
            Route("/image/{row:int}", _picture(explorer, lambda row: _whole(explorer, row))),
            Route("/crop/{row:int}", _picture(explorer, lambda row: _crop(explorer, row))),
            Route("/heat/{run:int}/{row:int}/{index:int}", partial(_heat, explorer)),
            Route("/image/{row:int}/facts", partial(_facts, explorer)),
            Route("/image/{row:int}/neighbours", partial(_neighbours, explorer)),
            Route("/map/{kind}", partial(_map, explorer)),
            Route("/marks", partial(_marks, explorer), methods=["GET", "POST"]),
            Route("/export", partial(_export, explorer), methods=["POST"]),
            Route("/reader", partial(_reader, explorer), methods=["POST"]),
            Route("/reader/{id}/{number:int}", partial(_reader_image, explorer)),
        ],
    )
    return Guard(SecretAddress(app, token=token), host=HOST)


def _resource(name: str) -> bytes:
    return files("bloodcell.explorer").joinpath("page", name).read_bytes()


def _file(content: bytes, kind: str, *, encoding: str | None = None) -> Callable[[Request], Awaitable[Response]]:
    headers = {"cache-control": "no-cache", **({} if encoding is None else {"content-encoding": encoding})}

    async def answer(request: Request) -> Response:  # noqa: ARG001
        return Response(content, media_type=kind, headers=headers)

    return answer


def _picture(explorer: Explorer, make: Callable[[int], bytes]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        row = int(request.path_params["row"])
        if row >= len(explorer.items):
            return _error("there is no such image", 404)
        return await _jpeg(lambda: make(row))

    return answer


async def _jpeg(make: Callable[[], bytes]) -> Response:
    try:
        content = await run_in_threadpool(make)
    except UnreadableImage as error:
        return _error(f"the image cannot be shown: {error}", 404)
    except (UserError, ValueError) as error:
        return _error(str(error), 400)
    # The address has a token of its own in every session.
    return Response(content, media_type="image/jpeg", headers={"cache-control": "private, max-age=86400, immutable"})


def _whole(explorer: Explorer, row: int) -> bytes:
    return as_jpeg(reduced(explorer.read(row), SHOWN), quality=90)


def _crop(explorer: Explorer, row: int) -> bytes:
    found = CROPS["nucleus"].function(explorer.read(row))
    if not found.found:
        raise UnreadableImage("no nucleus is found in it")
    return as_jpeg(found.pixels, quality=90)


async def _heat(explorer: Explorer, request: Request) -> Response:
    run, row, index = (int(request.path_params[name]) for name in ("run", "row", "index"))
    items = explorer.items
    if row >= len(items) or run >= len(items.runs) or index >= len(items.classes):
        return _error("there is no such image, run or class", 404)
    return await _jpeg(lambda: as_jpeg(explorer.heat(run, row, index), quality=90))


async def _facts(explorer: Explorer, request: Request) -> Response:
    row = int(request.path_params["row"])
    items = explorer.items
    if row >= len(items):
        return _error("there is no such image", 404)
    image = items.table.iloc[row]
    copies = np.flatnonzero((items.table["source"] == image["source"]).to_numpy())
    return JSONResponse(
        plain(
            {
                "path": image["path"],
                "label": image["label"],
                "photograph": image["source"],
                "group": image["group"],
                "copies": [int(each) for each in copies if each != row][:MAX_COPIES],
                "n_copies": len(copies) - 1,
                "runs": [
                    {
                        "name": run.name,
                        "split": SPLITS[run.split[row]],
                        "fold": int(run.fold[row]) if run.fold[row] >= 0 else None,
                        "evidence": EVIDENCE[run.evidence[row]],
                        "probabilities": None
                        if np.isnan(run.probabilities[row, 0])
                        else np.round(run.probabilities[row], 5).tolist(),
                    }
                    for run in items.runs
                ],
            }
        )
    )


async def _neighbours(explorer: Explorer, request: Request) -> Response:
    row = int(request.path_params["row"])
    if row >= len(explorer.items):
        return _error("there is no such image", 404)
    return JSONResponse(await run_in_threadpool(explorer.maps.neighbours, row))


async def _map(explorer: Explorer, request: Request) -> Response:
    kind = next((kind for kind in KINDS if kind == request.path_params["kind"]), None)
    if kind is None:
        return _error("there is no such map", 404)
    return JSONResponse(await run_in_threadpool(explorer.maps.state, kind))


async def _marks(explorer: Explorer, request: Request) -> Response:
    if request.method == "POST":
        try:
            body = await _body(request)
            await run_in_threadpool(
                explorer.marks.add, str(body.get("kind")), list(body.get("rows") or []), str(body.get("label") or "")
            )
        except (TypeError, ValueError) as error:
            return _error(str(error), 400)
        except OSError as error:
            return _error(f"the mark cannot be written ({error.strerror})", 500)
    return JSONResponse(explorer.marks.as_json())


async def _export(explorer: Explorer, request: Request) -> Response:  # noqa: ARG001
    try:
        written = await run_in_threadpool(explorer.marks.export)
    except OSError as error:
        return _error(f"the files cannot be written ({error.strerror})", 500)
    return JSONResponse({name: str(path.absolute()) for name, path in written.items()})


async def _reader(explorer: Explorer, request: Request) -> Response:
    """Begin a reading, record an answer, or return the result."""
    try:
        body = await _body(request)
        reading = str(body.get("id"))
        match body.get("do"):
            case "start":
                return JSONResponse(await run_in_threadpool(explorer.readings.start))
            case "answer":
                number = body.get("number")
                explorer.readings.answer(reading, number if isinstance(number, int) else -1, body.get("answer"))
                return JSONResponse({})
            case "result":
                return JSONResponse(explorer.readings.result(reading))
            case _:
                return _error("unknown request", 400)
    except (UserError, ValueError) as error:
        return _error(str(error), 400)
    except OSError as error:
        return _error(f"the answer cannot be written ({error.strerror})", 500)


async def _reader_image(explorer: Explorer, request: Request) -> Response:
    try:
        row = explorer.readings.row(request.path_params["id"], int(request.path_params["number"]))
    except ValueError as error:
        return _error(str(error), 404)
    return await _jpeg(lambda: _whole(explorer, row))


async def _body(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request; a ValueError if it is none."""
    if int(request.headers.get("content-length") or 0) > MAX_BODY:
        raise ValueError("the request is too large")
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > MAX_BODY:
            raise ValueError("the request is too large")
    found = json.loads(content)
    if not isinstance(found, dict):
        raise ValueError("the request is no JSON object")  # noqa: TRY004 - of what a page sent
    return found


def _error(text: str, status: int) -> Response:
    return PlainTextResponse(text, status_code=status)
