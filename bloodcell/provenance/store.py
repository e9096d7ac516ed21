"""What was found out about images' photographs, kept by the images' content."""

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
from bloodcell.provenance.matching import Member

METHOD_VERSION = 2
"""Counted up when the same images would be sorted otherwise."""

MIN_SHARED = 0.5
"""What is remembered is built upon if it has at least this share of the images asked for, or they of it."""

TORN = (zipfile.BadZipFile, ValueError, KeyError, EOFError, IndexError, zlib.error)
"""What a damaged file makes NumPy raise."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """The photographs of a set of images.

    Attributes
    ----------
    sha256s
        Each image's digest.
    members
        Each image's place.
    thumbnails
        Each image's thumbnail.
    representatives
        Keypoints of the images, by their numbers, that stand for their photographs.
    settled
        Whether the search came to its end.
    """

    sha256s: Sequence[str]
    members: Sequence[Member]
    thumbnails: Sequence[NDArray[np.uint8]]
    representatives: dict[int, Keypoints]
    settled: bool


def recall(sha256s: Collection[str]) -> Found | None:
    """Return what is remembered of most of these images, if anything is."""
    wanted = set(sha256s)
    best: tuple[int, Path] | None = None
    for path, (digests,) in _remembered("sha256s"):
        known = set(digests.astype(str))
        shared = len(wanted & known)
        if shared >= MIN_SHARED * min(len(wanted), len(known)) and shared > 0 and (best is None or shared > best[0]):
            best = shared, path
    return None if best is None else _read(best[1])


def recall_photographs(sha256s: Collection[str]) -> dict[str, int] | None:
    """Return the number of each image's photograph, if a search that came to its end had all of these images.

    They are read at once, where what `recall` returns, to go on searching, is twenty kilobytes an image.
    """
    for _, (settled, digests, numbers) in _remembered("settled", "sha256s", "photographs"):
        photographs = dict(zip(digests.astype(str).tolist(), numbers.tolist(), strict=True))
        if settled and photographs.keys() >= set(sha256s):
            return photographs
    return None


def remember(found: Found, *, instead_of: Sequence[str] = ()) -> None:
    """Keep what was found; ``instead_of`` names the images of what it was built upon, which is then not needed."""
    path = _path(found.sha256s)
    try:
        with atomic_write(path) as partial:
            np.savez(partial, allow_pickle=False, **_arrays(found))
        if instead_of and _path(instead_of) != path:
            _path(instead_of).unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s cannot be written (%s); photographs will be looked for again next time", path, error)


def _folder() -> Path:
    versions = f"{METHOD_VERSION}-{DECODER_VERSION}-opencv-{cv2.__version__}-faiss-{faiss.__version__}"
    return cache_dir() / "photographs" / versions


def _remembered(*names: str) -> Iterator[tuple[Path, list[NDArray[Any]]]]:
    """Yield some arrays of everything that is remembered; what is torn is thrown away."""
    for path in sorted(_folder().glob("[!.]*.npz")):  # not what another process is writing
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                found = [arrays[name] for name in names]
        except TORN as error:
            _discard(path, error)
        except OSError as error:
            log.warning("%s cannot be read (%s)", path, error)
        else:
            yield path, found


def _path(sha256s: Sequence[str]) -> Path:
    return _folder() / f"{hashlib.sha256(' '.join(sorted(sha256s)).encode()).hexdigest()[:16]}.npz"


def _arrays(found: Found) -> dict[str, NDArray[Any]]:
    keypoints = list(found.representatives.values())
    return {
        "settled": np.array(found.settled),
        "sha256s": np.array(found.sha256s, dtype="S64"),
        "photographs": np.array([member.photograph for member in found.members], np.int64),
        "matrices": np.array([member.matrix for member in found.members]).reshape(-1, 3, 3),
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


def _read(path: Path) -> Found | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            shapes = arrays["thumbnail_shapes"]
            flat = np.split(arrays["thumbnails"], np.cumsum(shapes.prod(axis=1))[:-1])
            thumbnails = [pixels.reshape(shape) for pixels, shape in zip(flat, shapes, strict=True)]
            ends = np.cumsum(arrays["counts"])[:-1]
            positions = np.split(arrays["positions"].reshape(-1, 2), ends)
            descriptors = np.split(arrays["descriptors"].reshape(-1, 128), ends)
            images = arrays["representatives"].tolist()
            return Found(
                settled=bool(arrays["settled"]),
                sha256s=arrays["sha256s"].astype(str).tolist(),
                members=[
                    Member(photograph, matrix)
                    for photograph, matrix in zip(arrays["photographs"].tolist(), arrays["matrices"], strict=True)
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
    except TORN as error:
        _discard(path, error)
        return None


def _discard(path: Path, error: Exception) -> None:
    log.warning("%s cannot be read (%s); made again", path, error)
    with contextlib.suppress(OSError):
        path.unlink()
