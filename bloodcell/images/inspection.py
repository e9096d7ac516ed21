"""Digest and readability of image files, with a cache."""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import PIL

from bloodcell.console.progress import track
from bloodcell.files import atomic_write, cache_dir
from bloodcell.images.reading import DECODER_VERSION, UnreadableImage, decode_image, pages_and_bits, read_file

log = logging.getLogger(__name__)

Facts = tuple[Any, ...]
FACTS = ("reason", "pages", "bits")
"""What is known of an image's content."""
INSPECTION_VERSION = 2
"""Increased when the facts of the same file change."""
ONE_PAGE = (1, 0)
"""Pages and bits of a file that cannot be read."""
BATCH = 16
"""Files per task of a thread: single files take longer to schedule than to read."""


def inspect(files: Sequence[Path]) -> pd.DataFrame:
    """Read every file, and decode those whose content is not in the cache.

    Parameters
    ----------
    files
        Image files.

    Returns
    -------
    DataFrame
        One row for each file, in order: ``sha256`` of its content, ``reason`` why it cannot be read (empty if it can),
        ``pages`` and ``bits`` as `bloodcell.images.reading.pages_and_bits`.
    """
    known = _load()
    batches = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda batch: [_inspect_file(file, known) for file in batch], batches)
        found = list(track(chain.from_iterable(results), "reading images", total=len(files)))
    table = pd.DataFrame(found, columns=["sha256", *FACTS])
    _save(known, table)
    return table


def _inspect_file(file: Path, known: Mapping[str, Facts]) -> tuple[Any, ...]:
    try:
        data = read_file(file)
        os.fspath(file).encode()
    except UnreadableImage as error:
        return "", str(error), *ONE_PAGE
    except UnicodeEncodeError:
        return "", "its name is not valid Unicode; rename it", *ONE_PAGE
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 in known:
        return sha256, *known[sha256]
    try:
        decode_image(data)
    except UnreadableImage as error:
        return sha256, str(error), *ONE_PAGE
    return sha256, "", *pages_and_bits(data)


def _cache_file() -> Path:
    # A new version of Pillow, of our decoder or of the table inspects all files again.
    return cache_dir() / f"inspected-{DECODER_VERSION}-{INSPECTION_VERSION}-pillow-{PIL.__version__}.parquet"


def _load() -> dict[str, Facts]:
    try:
        table = pd.read_parquet(_cache_file())
        return dict(zip(table["sha256"], table[list(FACTS)].itertuples(index=False, name=None), strict=True))
    except FileNotFoundError:
        return {}
    except Exception as error:  # any error of reading a damaged file
        log.warning("%s cannot be read (%s); images will be inspected again", _cache_file(), error)
        return {}


def _save(known: dict[str, Facts], table: pd.DataFrame) -> None:
    found = {sha256: tuple(facts) for sha256, *facts in table.itertuples(index=False, name=None) if sha256}
    if found.keys() <= known.keys():
        return
    try:
        with atomic_write(_cache_file()) as partial:
            rows = [(sha256, *facts) for sha256, facts in (known | found).items()]
            pd.DataFrame(rows, columns=["sha256", *FACTS]).to_parquet(partial, index=False)
    except OSError as error:
        log.warning("%s cannot be written (%s); images will be inspected again next time", _cache_file(), error)
