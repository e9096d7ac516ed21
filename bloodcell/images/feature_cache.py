"""What is measured in an image once, and then known wherever a file with the same content lies."""

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bloodcell.console.progress import track
from bloodcell.files import atomic_write, cache_dir
from bloodcell.images.reading import DECODER_VERSION, read_image

log = logging.getLogger(__name__)


def cached_features(
    files: Sequence[Path],
    sha256s: Sequence[str],
    *,
    measure: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    name: str,
    description: str,
) -> NDArray[np.float32]:
    """Measure images that were never measured before, and recall the others.

    Parameters
    ----------
    files
        Readable image files.
    sha256s
        The digest of each file's content.
    measure
        Returns k numbers of an image, RGB, shape (height, width, 3), uint8; called by several threads.
    name
        Of what is measured, with the version of how.
    description
        What is shown meanwhile.

    Returns
    -------
    ndarray of shape (n, k), float32
        Of shape (0, 0) where there is no file.
    """
    memory = cache_dir() / f"{name}-{DECODER_VERSION}-opencv-{cv2.__version__}.npz"
    known = _recalled(memory)
    new = {sha256: file for sha256, file in zip(sha256s, files, strict=True) if sha256 not in known}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = track(pool.map(lambda file: measure(read_image(file)), new.values()), description, total=len(new))
        try:
            for sha256, row in zip(new, rows, strict=True):
                known[sha256] = row
        finally:  # what was measured before an interruption need not be measured again
            if new:
                _remember(memory, known)
    return np.stack([known[sha256] for sha256 in sha256s]) if len(sha256s) else np.zeros((0, 0), np.float32)


def _recalled(memory: Path) -> dict[str, NDArray[np.float32]]:
    try:
        with memory.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(zip(arrays["sha256s"].astype(str).tolist(), arrays["rows"], strict=True))
    except FileNotFoundError:
        return {}
    except Exception as error:  # whatever a torn file makes the reader raise
        log.warning("%s cannot be read (%s); made again", memory, error)
        return {}


def _remember(memory: Path, known: dict[str, NDArray[np.float32]]) -> None:
    try:
        with atomic_write(memory) as partial:
            np.savez(partial, sha256s=np.array(list(known), dtype="S64"), rows=np.array(list(known.values())))
    except OSError as error:
        log.warning("%s cannot be written (%s); the images will be measured again next time", memory, error)
