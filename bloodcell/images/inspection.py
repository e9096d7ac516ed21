"""Digest and readability of image files, with a cache."""

import hashlib
import logging
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import PIL

from bloodcell.console.progress import track
from bloodcell.files import atomic_write, cache_dir
from bloodcell.images.file_digests import FileDigests, State, state_of
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
    """Read every file that has changed since it was read, and decode those whose content is not in the cache.

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
    digests = FileDigests(_common_folder(files))
    started = time.time_ns()
    batches = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda batch: [_inspect_file(file, digests, known) for file in batch], batches)
        found = list(track(chain.from_iterable(results), "reading images", total=len(files)))
    table = pd.DataFrame([facts for _, facts in found], columns=["sha256", *FACTS])
    _save(known, table)
    digests.keep(files, [state for state, _ in found], table["sha256"].tolist(), read=started)
    return table


def _common_folder(files: Sequence[Path]) -> Path:
    return Path(os.path.commonpath([file.parent.absolute() for file in files])) if files else Path()


def _inspect_file(file: Path, digests: FileDigests, known: Mapping[str, Facts]) -> tuple[State | None, tuple[Any, ...]]:
    """Return the file's state before it was read, and its digest and facts."""
    state = state_of(file)
    sha256 = digests.find(file, state)
    if sha256 is not None and sha256 in known:
        return state, (sha256, *known[sha256])
    try:
        data = read_file(file)
        os.fspath(file).encode()
    except UnreadableImage as error:
        return None, ("", str(error), *ONE_PAGE)
    except UnicodeEncodeError:
        return None, ("", "its name is not valid Unicode; rename it", *ONE_PAGE)
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 in known:
        return state, (sha256, *known[sha256])
    try:
        decode_image(data)
    except UnreadableImage as error:
        return state, (sha256, str(error), *ONE_PAGE)
    return state, (sha256, "", *pages_and_bits(data))


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
