"""A cache of images' sources, by the images' content."""

import contextlib
import hashlib
import logging
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import faiss
import numpy as np
from numpy.typing import NDArray

from bloodcell.files import atomic_write, cache_dir
from bloodcell.images.reading import DECODER_VERSION
from bloodcell.provenance.keypoints import Keypoints
from bloodcell.provenance.matching import Assignment

METHOD_VERSION = 3
"""Increased when the sources of the same images change."""

MIN_SHARED = 0.5
"""A cached result is extended if it has at least this share of the requested images, or they of it."""

CORRUPT = (zipfile.BadZipFile, ValueError, KeyError, EOFError, IndexError, zlib.error)
"""Errors of NumPy on a damaged file."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CachedSources:
    """The sources of a set of images, as found by `bloodcell.provenance.matching.SourceClusters`.

    The digest, source and thumbnail of each image, the keypoints of the representative images by number, and whether
    the search was completed.
    """

    sha256s: Sequence[str]
    assignments: Sequence[Assignment]
    thumbnails: Sequence[NDArray[np.uint8]]
    representatives: dict[int, Keypoints]
    complete: bool


def load(sha256s: Collection[str]) -> CachedSources | None:
    """Return the cached result that shares most of these images, or None."""
    wanted = set(sha256s)
    best: tuple[int, Path] | None = None
    for path, (digests,) in _cached("sha256s"):
        known = set(digests.astype(str))
        shared = len(wanted & known)
        if shared >= MIN_SHARED * min(len(wanted), len(known)) and shared > 0 and (best is None or shared > best[0]):
            best = shared, path
    return None if best is None else _read(best[1])


def load_sources(sha256s: Collection[str]) -> dict[str, int] | None:
    """Return the number of each image's source, if a complete result has all of these images.

    This is fast; `load` reads twenty kilobytes an image.
    """
    for _, (complete, digests, numbers) in _cached("settled", "sha256s", "photographs"):
        sources = dict(zip(digests.astype(str).tolist(), numbers.tolist(), strict=True))
        if complete and sources.keys() >= set(sha256s):
            return sources
    return None


def save(found: CachedSources, *, replaces: Sequence[str] = ()) -> None:
    """Save a result; ``replaces`` are the digests of the earlier result that it extends, which is removed."""
    path = _path(found.sha256s)
    try:
        with atomic_write(path) as partial:
            np.savez(partial, allow_pickle=False, **_arrays(found))
        if replaces and _path(replaces) != path:
            _path(replaces).unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s cannot be written (%s); the sources will be computed again next time", path, error)


def _folder() -> Path:
    versions = f"{METHOD_VERSION}-{DECODER_VERSION}-opencv-{cv2.__version__}-faiss-{faiss.__version__}"
    return cache_dir() / "photographs" / versions


def _cached(*names: str) -> Iterator[tuple[Path, list[NDArray[Any]]]]:
    """Yield some arrays of every cached result; remove damaged files."""
    for path in sorted(_folder().glob("[!.]*.npz")):  # not files that another process is writing
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                found = [arrays[name] for name in names]
        except CORRUPT as error:
            _discard(path, error)
        except OSError as error:
            log.warning("%s cannot be read (%s)", path, error)
        else:
            yield path, found


def _path(sha256s: Sequence[str]) -> Path:
    return _folder() / f"{hashlib.sha256(' '.join(sorted(sha256s)).encode()).hexdigest()[:16]}.npz"


def _arrays(found: CachedSources) -> dict[str, NDArray[Any]]:
    keypoints = list(found.representatives.values())
    return {
        "settled": np.array(found.complete),
        "sha256s": np.array(found.sha256s, dtype="S64"),
        "photographs": np.array([assignment.source for assignment in found.assignments], np.int64),
        "matrices": np.array([assignment.matrix for assignment in found.assignments]).reshape(-1, 3, 3),
        "thumbnail_shapes": np.array([thumbnail.shape for thumbnail in found.thumbnails]).reshape(-1, 2),
        "thumbnails": _joined([thumbnail.ravel() for thumbnail in found.thumbnails], np.uint8),
        "representatives": np.array(list(found.representatives), np.int64),
        "counts": np.array([len(each) for each in keypoints], np.int64),
        "sizes": np.array([each.size for each in keypoints], np.int64).reshape(-1, 2),
        "positions": _joined([each.positions.ravel() for each in keypoints], np.float32),
        "descriptors": _joined([each.descriptors.ravel() for each in keypoints], np.uint8),
    }


def _joined(parts: Sequence[NDArray[Any]], dtype: type) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *parts])


def _read(path: Path) -> CachedSources | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            shapes = arrays["thumbnail_shapes"]
            flat = np.split(arrays["thumbnails"], np.cumsum(shapes.prod(axis=1))[:-1])
            thumbnails = [pixels.reshape(shape) for pixels, shape in zip(flat, shapes, strict=True)]
            ends = np.cumsum(arrays["counts"])[:-1]
            positions = np.split(arrays["positions"].reshape(-1, 2), ends)
            descriptors = np.split(arrays["descriptors"].reshape(-1, 128), ends)
            images = arrays["representatives"].tolist()
            return CachedSources(
                complete=bool(arrays["settled"]),
                sha256s=arrays["sha256s"].astype(str).tolist(),
                assignments=[
                    Assignment(source, matrix)
                    for source, matrix in zip(arrays["photographs"].tolist(), arrays["matrices"], strict=True)
                ],
                thumbnails=thumbnails,
                representatives={
                    image: Keypoints(
                        positions=position, descriptors=descriptor, thumbnail=thumbnails[image], size=tuple(size)
                    )
                    for image, position, descriptor, size in zip(
                        images, positions, descriptors, arrays["sizes"].tolist(), strict=True
                    )
                },
            )
    except CORRUPT as error:
        _discard(path, error)
        return None


def _discard(path: Path, error: Exception) -> None:
    log.warning("%s cannot be read (%s); it will be computed again", path, error)
    with contextlib.suppress(OSError):
        path.unlink()
