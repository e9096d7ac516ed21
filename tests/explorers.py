"""An explorer of the rendered images, and its server as a browser would ask it."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from servers import serving_app

from bloodcell.explorer.cached import thumbnails_dir
from bloodcell.explorer.features import measured_space
from bloodcell.explorer.items import ExploredRun, Items, make_items
from bloodcell.explorer.maps import Maps
from bloodcell.explorer.marks import Marks
from bloodcell.explorer.originals import Originals
from bloodcell.explorer.reading import Readings
from bloodcell.explorer.server import Explorer, make_app
from bloodcell.explorer.thumbnails import Thumbnails

TOKEN = "a-secret-of-the-tests"


def predictions(root: Path, *, wrong: float = 0.3, seed: int = 0) -> pd.DataFrame:
    """Return a table of predictions of all images in a folder in the layout of the Kaggle set."""
    files = sorted(root.glob("T*/*/*.jpeg"))
    table = pd.DataFrame(
        {
            "path": [file.relative_to(root).as_posix() for file in files],
            "label": [file.parent.name for file in files],
            "split": ["val" if file.parts[-3] == "TRAIN" else "test" for file in files],
        }
    )
    table["group"] = table["path"]
    generator = np.random.default_rng(seed)
    classes = sorted(table["label"].unique())
    chosen = np.array([classes.index(label) for label in table["label"]])
    chosen = np.where(generator.random(len(table)) < wrong, (chosen + 1) % len(classes), chosen)
    top = generator.uniform(0.5, 0.99, len(table))
    for index, name in enumerate(classes):
        table[f"p_{name}"] = np.where(chosen == index, top, (1 - top) / (len(classes) - 1))
    return table


def explored(root: Path) -> Items:
    """Return the images of two runs that differ."""
    tables = {
        name: predictions(root, wrong=wrong, seed=seed) for name, wrong, seed in (("old", 0.4, 0), ("new", 0.2, 1))
    }
    return make_items([ExploredRun(name=name, predictions=table) for name, table in tables.items()])


@dataclass(frozen=True)
class Asking:
    """A server that can be asked."""

    port: int
    items: Items

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.port}/{TOKEN}/"

    def ask(
        self, path: str, *, method: str = "GET", body: Any = None, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        """Return the status, the body and the headers of an answer; ``path`` is the whole path."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        content = None if body is None else json.dumps(body)
        connection.request(method, path, body=content, headers=headers)
        answer = connection.getresponse()
        found = answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
        connection.close()
        return found

    def json(self, path: str, body: Any = None) -> Any:
        """Return the JSON of an answer to a request of the page."""
        status, content, _ = self.ask(f"/{TOKEN}/{path}", method="GET" if body is None else "POST", body=body)
        assert status == 200, content
        return json.loads(content)


@contextmanager
def serving(root: Path, folder: Path, *, items: Items | None = None) -> Iterator[Asking]:
    """Serve an explorer of the images in a folder, with its marks in another."""
    items = items or explored(root)
    originals = Originals(
        folders=[root],
        paths=items.table["path"].tolist(),
        sha256s=items.table["sha256"].tolist(),
        need_digest=False,
    )
    maps = Maps(items, lambda: measured_space(originals.files(), sets=[]))
    explorer = Explorer(
        items=items,
        title="a test",
        read=originals.pixels,
        thumbnails=Thumbnails(read=originals.pixels, sha256s=tuple(items.table["sha256"]), folder=thumbnails_dir()),
        marks=Marks(items, folder),
        maps=maps,
        readings=Readings(items, folder),
        heat=lambda run, row, index: originals.pixels(row),
    )
    try:
        with serving_app(make_app(explorer, token=TOKEN)) as port:
            yield Asking(port, items)
    finally:
        maps.close()
