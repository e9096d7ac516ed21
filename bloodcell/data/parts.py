"""The parts of files that are images: their pages, and the bits of their channels that are used."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import pandas as pd

from bloodcell.data.manifest import BITS
from bloodcell.errors import UserError
from bloodcell.images.address import Address
from bloodcell.images.reading import UnreadableImage, read_image
from bloodcell.wording import counted

Pages = Literal["first", "all"]

FULL_BITS = 16
"""Bits a channel of the files that have more than 8."""


def with_pages(table: pd.DataFrame, pages: Pages) -> pd.DataFrame:
    """Return a table with a row for each page that is an image.

    Parameters
    ----------
    table
        One row for each file: ``file``, ``path``, ``sha256``, ``reason``, ``pages``, and further columns.
    pages
        ``first``: the table as it is. ``all``: pages after the first have the path ``FILE/NUMBER``.
    """
    if pages == "first" or not (table["pages"] > 1).any():
        return table
    every = table.loc[table.index.repeat(table["pages"])]
    numbers = every.groupby(level=0).cumcount() + 1
    rows = list(zip(every["file"], every["path"], every["sha256"], numbers, strict=True))
    every = every.assign(
        file=pd.Series([Path(str(Address(str(file), page))) for file, _, _, page in rows], every.index, object),
        path=[str(Address(path, page)) for _, path, _, page in rows],
        sha256=[Address("", page).digest(sha256) for _, _, sha256, page in rows],
    )
    further = (numbers > 1).to_numpy()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        every.loc[further, "reason"] = list(pool.map(_reason, every.loc[further, "file"]))
    return every.reset_index(drop=True)


def with_depth(table: pd.DataFrame, bit_depth: int | None, *, setting: str) -> pd.DataFrame:
    """Set `BITS` of the images with more than 8 bits a channel to the depth of the set, and change their digests.

    Parameters
    ----------
    table
        One row for each image: ``path``, ``sha256``, ``reason``, and ``bits`` as
        `bloodcell.images.reading.pages_and_bits`.
    bit_depth
        Bits a channel that are used; None: the most that an image uses.
    setting
        Of the images, for messages.

    Raises
    ------
    UserError
        If an image uses more bits.
    """
    deep = table["bits"] > 0
    if not deep.any():
        return table.drop(columns="bits")
    most = int(table["bits"].max())
    if bit_depth is not None and most > bit_depth:
        path = table["path"].iloc[int(table["bits"].argmax())]
        raise UserError(
            f"{setting}: {path} has values of more than {bit_depth} bits; use data.bit_depth={most}, or auto"
        )
    bits = bit_depth or most
    digests = table.loc[deep, "sha256"].map(lambda sha256: Address("", bits=bits).digest(sha256))
    return table.assign(**{BITS: deep * bits, "sha256": digests.reindex(table.index).fillna(table["sha256"])})


def notes_of(table: pd.DataFrame, *, pages: Pages, bit_depth: int | None) -> Iterator[str]:
    """Yield what a user should know of the pages and bits of readable images."""
    several = table[table["pages"] > 1]
    if len(several) and pages == "first":
        first = several.iloc[0]
        verb = "has" if len(several) == 1 else "have"
        yield (
            f"{counted(len(several), 'image')} {verb} several pages or frames, of which the first is used, such as "
            f"{first['path']} with {first['pages']} (data.pages=all uses every one)"
        )
    deep = table[table["bits"] > 0]
    if len(deep) and bit_depth is None and (most := deep["bits"].max()) < FULL_BITS:
        uses = "uses" if len(deep) == 1 else "use"
        yield (
            f"{counted(len(deep), 'image')} of {FULL_BITS} bits {uses} {most} of them, so white is {2**most - 1:,}, "
            f"such as in {deep['path'].iloc[0]} (data.bit_depth={most} says so if other images may be brighter)"
        )


def _reason(file: Path) -> str:
    try:
        read_image(file)
    except UnreadableImage as error:
        return str(error)
    return ""
