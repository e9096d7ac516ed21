"""Show the disk space of cached features, rendered smears, thumbnails and maps, and remove them.

Show everything; remove one cache; remove what was not used for 30 days:

  bloodcell cache
  bloodcell cache remove=[3f2a9c0d1b7e4a56]
  bloodcell cache unused_days=30

`bloodcell cache remove=[smears]` removes the rendered smears, `[thumbnails,maps]` those of `bloodcell explore`, `[all]`
all of these. What is removed is computed again when needed. `unused_days` is for features.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bloodcell.config.schemas import CacheConfig
from bloodcell.console.json_output import set_json_result
from bloodcell.data.smears import remove_smears, smears_dir
from bloodcell.errors import UserError
from bloodcell.explorer.cached import maps_dir, thumbnails_dir
from bloodcell.files import remove_unused
from bloodcell.training.feature_store import FeatureStore, TableUse, features_dir

DAY = 86400.0
SMEARS, THUMBNAILS, MAPS = "smears", "thumbnails", "maps"
FOLDERS = {SMEARS: smears_dir, THUMBNAILS: thumbnails_dir, MAPS: maps_dir}
"""What can be removed besides features, and its folder."""
LABELS = {SMEARS: "Rendered smears", THUMBNAILS: "Thumbnails", MAPS: "Maps"}


def run(config: CacheConfig, *, output_dir: Path) -> None:  # noqa: ARG001 - nothing is written
    """Remove what the configuration names and show the rest.

    Raises
    ------
    UserError
        If a name is unknown, or something cannot be removed.
    """
    folder = features_dir(config.dir)
    store = FeatureStore(folder)
    uses = store.usage()
    chosen = _chosen(uses, config)
    try:
        kept = [use.name for use in chosen if not store.remove(use.name)]
        for name, place in FOLDERS.items():
            if {"all", name} & set(config.remove):
                kept += remove_smears() if name == SMEARS else [] if remove_unused(place()) else [name]
    except OSError as error:
        raise UserError(f"remove: {error.filename} cannot be removed ({error.strerror})") from error
    console = Console(highlight=False, soft_wrap=True)
    remaining = store.usage()
    console.print(_table(remaining) if remaining else f"No features in {folder}", markup=bool(remaining))
    sizes = {
        name: sum(file.stat().st_size for file in place().rglob("*") if file.is_file())
        for name, place in FOLDERS.items()
    }
    for name, n_bytes in sizes.items():
        if n_bytes:
            console.print(f"{LABELS[name]}: {_gigabytes(n_bytes)} in {FOLDERS[name]()}", markup=False)
    removed = [use for use in chosen if use.name not in kept]
    set_json_result(
        folder=folder.absolute(),
        **{name: {"folder": FOLDERS[name]().absolute(), "bytes": n_bytes} for name, n_bytes in sizes.items()},
        features=[_data(use) for use in remaining],
        removed=[_data(use) for use in removed],
        in_use=kept,
    )
    if chosen:
        console.print(f"Removed {len(removed)}, {_gigabytes(sum(use.n_bytes for use in removed))}")
    if kept:
        console.print(f"In use, not removed: {', '.join(kept)}")


def _data(use: TableUse) -> dict[str, Any]:
    used = datetime.fromtimestamp(use.last_used, tz=UTC).isoformat(timespec="seconds")
    return {"name": use.name, "recipe": use.recipe, "rows": use.rows, "bytes": use.n_bytes, "used": used}


def _chosen(uses: Sequence[TableUse], config: CacheConfig) -> list[TableUse]:
    names = {use.name for use in uses}
    if unknown := [name for name in config.remove if name not in {*names, *FOLDERS, "all"}]:
        raise UserError(f"remove={unknown[0]}: there are no features of this name; `bloodcell cache` lists the names")
    before = None if config.unused_days is None else time.time() - config.unused_days * DAY
    return [
        use
        for use in uses
        if use.name in config.remove or "all" in config.remove or (before is not None and use.last_used < before)
    ]


def _table(uses: Sequence[TableUse]) -> Table:
    total = _gigabytes(sum(use.n_bytes for use in uses))
    table = Table(title=f"Stored features: {total}", title_justify="left")
    table.add_column("name", no_wrap=True)
    table.add_column("features", ratio=1)
    for heading in ("rows", "size", "last used"):
        table.add_column(heading, justify="right", no_wrap=True)
    for use in uses:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(use.last_used))
        table.add_row(use.name, _described(use.recipe), f"{use.rows:,}", _gigabytes(use.n_bytes), used)
    return table


def _described(recipe: Mapping[str, Any]) -> str:
    if not recipe:
        return "unknown: its recipe cannot be read"
    kind = "augmented images" if recipe.get("augmentation") else "images"
    layers = "all layers, pooled" if recipe.get("boundary") == "pooled" else f"layers below {recipe.get('boundary')}"
    size, engine = recipe.get("input_size"), recipe.get("engine")
    return f"{recipe.get('backbone')}, weights {recipe.get('weights')}: {layers}; {kind} at {size} pixels; by {engine}"


def _gigabytes(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.2f} GB"
