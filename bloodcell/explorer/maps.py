"""Maps and neighbours, computed in the background when they are first asked for."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from bloodcell.errors import one_line
from bloodcell.explorer.embedding import Space, as_columns, has_umap, novelty_of, umap_points
from bloodcell.explorer.items import SPLITS, Items

Kind = Literal["pca", "umap"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NO_FEATURES = "The images are not on this machine, so they have no features; give images=FOLDER."
NO_UMAP = "UMAP needs pip install 'bloodcell[umap]'; PCA needs nothing."


class Maps:
    """The maps of the images of an explorer.

    Parameters
    ----------
    items
        The images.
    find_space
        Returns the images' points, which can take minutes; None without features.
    """

    def __init__(self, items: Items, find_space: Callable[[], Space | None]) -> None:
        self._items, self._find_space = items, find_space
        self._pool, self._lock = ThreadPoolExecutor(1), Lock()
        self._futures: dict[str, Future[Any]] = {}
        self._sources = pd.factorize(items.table["source"])[0].astype(np.int64)

    def state(self, kind: Kind) -> dict[str, Any]:
        """Return a map, or that it is being computed, or why it is unavailable."""
        if kind == "umap" and not has_umap():
            return {"state": "unavailable", "why": NO_UMAP}
        future = self._started(kind, lambda: self._map(kind))
        if not future.done():
            return {"state": "computing"}
        if (error := future.exception()) is not None:
            return {"state": "unavailable", "why": one_line(error)}
        found: dict[str, Any] | None = future.result()
        return {"state": "unavailable", "why": NO_FEATURES} if found is None else {"state": "ready", **found}

    def neighbours(self, row: int) -> dict[str, Any]:
        """Return the nearest images of other photographs; see `state`."""
        future = self._started("space", self._find_space)
        if not future.done():
            return {"state": "computing"}
        if (error := future.exception()) is not None:
            return {"state": "unavailable", "why": one_line(error)}
        space: Space | None = future.result()
        if space is None:
            return {"state": "unavailable", "why": NO_FEATURES}
        return {"state": "ready", "name": space.name, "rows": space.nearest(row, sources=self._sources)}

    def close(self) -> None:
        """Start nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _started(self, name: str, compute: Callable[[], Any]) -> "Future[Any]":
        with self._lock:
            if name not in self._futures:
                self._futures[name] = self._pool.submit(compute)
            return self._futures[name]

    def _map(self, kind: Kind) -> dict[str, Any] | None:
        # One thread computes all, in order, so what another map needs is there or is computed here.
        space = self._space()
        if space is None:
            return None
        points = space.points[:, :2] if kind == "pca" else umap_points(space)
        if points.shape[1] < 2:
            points = np.column_stack([points, np.where(space.known, 0.0, np.nan)])
        return {"name": space.name, **as_columns(points), "novelty": self._novelty(space)}

    def _space(self) -> Space | None:
        with self._lock:
            future = self._futures.get("space")
            if future is None:
                future = self._futures["space"] = Future()
                own = True
            else:
                own = False
        if own:
            try:
                future.set_result(self._find_space())
            except BaseException as error:
                future.set_exception(error)
        found: Space | None = future.result()
        return found

    def _novelty(self, space: Space) -> list[float | None] | None:
        trained = self._items.runs[0].split != SPLITS.index("test")
        found = novelty_of(space, sources=self._sources, trained=trained)
        if found is None:
            return None
        return [None if np.isnan(value) else round(float(value), 3) for value in found]
