"""Looks at every file once: its digest, and whether it can be read as an image."""

import hashlib
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import pandas as pd
import PIL

from bloodcell.console.progress import track
from bloodcell.files import atomic_write, cache_dir
from bloodcell.images.reading import DECODER_VERSION, UnreadableImage, decode_image, read_file

log = logging.getLogger(__name__)

BATCH = 16
"""How many files a thread takes at a time: to hand over each by itself takes longer than to read it."""


def inspect(files: Sequence[Path]) -> pd.DataFrame:
    """Read every file, and decode those whose content was never decoded before.

    Parameters
    ----------
    files
        Image files.

    Returns
    -------
    DataFrame
        One row for each file, in order: ``sha256`` of its content, ``reason`` why it cannot be read (empty where it
        can).
    """
    known = _known()
    batches = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        looked = pool.map(lambda batch: [_look(file, known) for file in batch], batches)
        found = list(track(chain.from_iterable(looked), "reading images", total=len(files)))
    table = pd.DataFrame(found, columns=["sha256", "reason"])
    _remember(known, table)
    return table


def _look(file: Path, known: dict[str, str]) -> tuple[str, str]:
    try:
        data = read_file(file)
        os.fspath(file).encode()
    except UnreadableImage as error:
        return "", str(error)
    except UnicodeEncodeError:
        return "", "its name is not valid Unicode; rename it"
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 in known:
        return sha256, known[sha256]
    try:
        decode_image(data)
    except UnreadableImage as error:
        return sha256, str(error)
    return sha256, ""


def _memory() -> Path:
    # A new Pillow, or a new way of ours to read files, looks at everything again.
    return cache_dir() / f"inspected-{DECODER_VERSION}-pillow-{PIL.__version__}.parquet"


def _known() -> dict[str, str]:
    try:
        table = pd.read_parquet(_memory())
        return dict(zip(table["sha256"], table["reason"], strict=True))
    except FileNotFoundError:
        return {}
    except Exception as error:  # whatever a torn file makes the reader raise
        log.warning("%s cannot be read (%s); made again", _memory(), error)
        return {}


def _remember(known: dict[str, str], table: pd.DataFrame) -> None:
    found = {sha256: reason for sha256, reason in zip(table["sha256"], table["reason"], strict=True) if sha256}
    if found.keys() <= known.keys():
        return
    try:
        with atomic_write(_memory()) as partial:
            pd.DataFrame(list((known | found).items()), columns=["sha256", "reason"]).to_parquet(partial, index=False)
    except OSError as error:
        log.warning("%s cannot be written (%s); the images will be looked at again next time", _memory(), error)
