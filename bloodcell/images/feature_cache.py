"""A cache of images' features, by the content of their files."""

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
    """Return features of images; compute those that are not cached.

    Parameters
    ----------
    files
        Readable image files.
    sha256s
        The digest of each file's content.
    measure
        Returns k features of an image, RGB, shape (height, width, 3), uint8; called by several threads.
    name
        Name and version of the features.
    description
        Label of the progress bar.

    Returns
    -------
    ndarray of shape (n, k), float32
        Of shape (0, 0) if there are no files.
    """
    path = cache_dir() / f"{name}-{DECODER_VERSION}-opencv-{cv2.__version__}.npz"
    cached = _load(path)
    new = {sha256: file for sha256, file in zip(sha256s, files, strict=True) if sha256 not in cached}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = track(pool.map(lambda file: measure(read_image(file)), new.values()), description, total=len(new))
        try:
            for sha256, row in zip(new, rows, strict=True):
                cached[sha256] = row
        finally:  # also after an interruption
            if new:
                _save(path, cached)
    return np.stack([cached[sha256] for sha256 in sha256s]) if len(sha256s) else np.zeros((0, 0), np.float32)


def _load(path: Path) -> dict[str, NDArray[np.float32]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(zip(arrays["sha256s"].astype(str).tolist(), arrays["rows"], strict=True))
    except FileNotFoundError:
        return {}
    except Exception as error:  # any error of reading a damaged file
        log.warning("%s cannot be read (%s); features will be computed again", path, error)
        return {}


def _save(path: Path, cached: dict[str, NDArray[np.float32]]) -> None:
    try:
        with atomic_write(path) as partial:
            np.savez(partial, sha256s=np.array(list(cached), dtype="S64"), rows=np.array(list(cached.values())))
    except OSError as error:
        log.warning("%s cannot be written (%s); the features will be computed again next time", path, error)
