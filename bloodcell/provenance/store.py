"""A cache of images' sources, by the images' content.

A result is a file ``*.npz``. The thumbnails, which are most of it, are in files of their own, one for each time that it
was saved, so that saving again writes only new ones.
"""

import contextlib
import hashlib
import logging
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import faiss
import numpy as np
from numpy.typing import NDArray

from bloodcell.files import atomic_write, cache_dir
from bloodcell.images.reading import DECODER_VERSION
from bloodcell.provenance.keypoints import Keypoints
from bloodcell.provenance.matching import Assignment

METHOD_VERSION = 4
"""Increased when the sources of the same images change."""

MIN_SHARED = 0.5
"""A cached result is extended if it has at least this share of the requested images, or they of it."""

THUMBNAILS = ".thumbnails"
"""Suffix of files of thumbnails: 8-bit pixels, one image after the other."""

CORRUPT = (zipfile.BadZipFile, ValueError, KeyError, EOFError, IndexError, zlib.error)
"""Errors of NumPy on a damaged file."""

log = logging.getLogger(__name__)


class Known(NamedTuple):
    """The number of an image's source, and the number of its keypoints."""

    source: int
    n_keypoints: int


@dataclass(frozen=True)
class Saved:
    """The file of a saved result, the names of its files of thumbnails, and the number of thumbnails in them."""

    path: Path
    parts: tuple[str, ...]
    n_thumbnails: int


@dataclass(frozen=True)
class CachedSources:
    """The sources of a set of images, as found by `bloodcell.provenance.matching.SourceClusters`.

    The digest, source, thumbnail and number of keypoints of each image, the keypoints of the representative images by
    number, whether the search was completed, and where the result was read.
    """

    sha256s: Sequence[str]
    assignments: Sequence[Assignment]
    thumbnails: Sequence[NDArray[np.uint8]]
    n_keypoints: Sequence[int]
    representatives: dict[int, Keypoints]
    complete: bool
    saved: Saved | None = None


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


def load_sources(sha256s: Collection[str]) -> dict[str, Known] | None:
    """Return what is known of each image, if a complete result has all of these images.

    This is fast; `load` reads twenty kilobytes an image.
    """
    for _, (complete, digests, *numbers) in _cached("settled", "sha256s", "photographs", "n_keypoints"):
        known = map(Known, *(each.tolist() for each in numbers))
        of_digests = dict(zip(digests.astype(str).tolist(), known, strict=True))
        if complete and of_digests.keys() >= set(sha256s):
            return of_digests
    return None


def save(found: CachedSources, *, extends: Saved | None = None) -> Saved | None:
    """Save a result, and return where; remove the file of the result that it extends, whose thumbnails it uses."""
    path = _path(found.sha256s)
    parts, first = ((), 0) if extends is None else (extends.parts, extends.n_thumbnails)
    try:
        if first < len(found.thumbnails):
            part = _path(found.sha256s[first:]).with_suffix(THUMBNAILS)
            with atomic_write(part) as partial:
                _joined([thumbnail.ravel() for thumbnail in found.thumbnails[first:]], np.uint8).tofile(partial)
            parts = *parts, part.name
        with atomic_write(path) as partial:
            np.savez(partial, allow_pickle=False, parts=np.array(parts, dtype=str), **_arrays(found))
        if extends is not None and extends.path != path:
            extends.path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s cannot be written (%s); the sources will be computed again next time", path, error)
        return extends
    return Saved(path, parts, len(found.thumbnails))


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
        "n_keypoints": np.array(found.n_keypoints, np.int64),
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
            parts = tuple(arrays["parts"].tolist())
            pixels = _joined([np.fromfile(path.with_name(part), np.uint8) for part in parts], np.uint8)
            flat = np.split(pixels, np.cumsum(shapes.prod(axis=1))[:-1])
            thumbnails = [each.reshape(shape) for each, shape in zip(flat, shapes, strict=True)]
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
                n_keypoints=arrays["n_keypoints"].tolist(),
                saved=Saved(path, parts, len(thumbnails)),
                representatives={
                    image: Keypoints(
                        positions=position, descriptors=descriptor, thumbnail=thumbnails[image], size=tuple(size)
                    )
                    for image, position, descriptor, size in zip(
                        images, positions, descriptors, arrays["sizes"].tolist(), strict=True
                    )
                },
            )
    except (*CORRUPT, FileNotFoundError) as error:
        _discard(path, error)
        return None


def _discard(path: Path, error: Exception) -> None:
    log.warning("%s cannot be read (%s); it will be computed again", path, error)
    with contextlib.suppress(OSError):
        path.unlink()
