"""Finds out from the pixels alone which images were made from one photograph, and remembers it.

Labels, folders and file names play no part. Images are taken in the order of their digests, so the answer does not
depend on how they lie on the disk.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bloodcell.console.progress import track
from bloodcell.images.reading import read_image
from bloodcell.provenance.keypoints import find_keypoints
from bloodcell.provenance.matching import Photographs
from bloodcell.provenance.store import Found, recall, recall_photographs, remember

BATCH = 64
SAVE_EVERY_S = 60.0
"""How often what was found is kept, so that little is lost if the search is cut off."""

DIGITS = 16
"""A group is named after the digest of one of its images."""


def recover_sources(files: Sequence[Path], sha256s: Sequence[str]) -> list[str]:
    """Find the group of every image: images of one group were made from one photograph.

    Seen through rotation, shift, shear, scale, perspective, either flip, black or reflected fill, JPEG, and mild
    changes of brightness and contrast. An image that matches no other is a group of its own. Images that were looked at
    before, in this set or in one that had most of it, are not looked at again.

    Parameters
    ----------
    files
        Readable image files.
    sha256s
        The digest of each file's content; exact copies are always of one group.

    Returns
    -------
    list of str
        The name of each image's group: 16 hexadecimal digits.
    """
    photographs = recall_photographs(sha256s)
    if photographs is None:
        photographs = _numbers(_find(files, sha256s))
    names = _named(photographs, sha256s)
    return [names[photographs[sha256]] for sha256 in sha256s]


def overlapping_sources(files: Sequence[Path], sha256s: Sequence[str]) -> list[tuple[str, str]]:
    """Find pairs of photographs that show the same place in part: they may show the same cell.

    Parameters
    ----------
    files, sha256s
        As for `recover_sources`.

    Returns
    -------
    list of (str, str)
        Names of groups.
    """
    found = _find(files, sha256s)
    names = _named(_numbers(found), sha256s)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        photographs = Photographs(pool)
        photographs.restore(found.members, found.thumbnails, found.representatives, settled=True)
        pairs = photographs.overlapping()
    both = [(names[one], names[other]) for one, other in pairs if one in names and other in names]
    return sorted((min(pair), max(pair)) for pair in both)


def _find(files: Sequence[Path], sha256s: Sequence[str]) -> Found:
    content = dict(zip(sha256s, files, strict=True))
    known = recall(content)
    if known is None or not known.settled or not content.keys() <= set(known.sha256s):
        known = _look_at_rest(content, known)
    return known


def _numbers(found: Found) -> dict[str, int]:
    """Return the number of each image's photograph."""
    return {sha256: member.photograph for sha256, member in zip(found.sha256s, found.members, strict=True)}


def _named(photographs: Mapping[str, int], sha256s: Sequence[str]) -> dict[int, str]:
    """Return the names of the photographs of some images.

    A photograph is named after the smallest digest of the images asked for, so that what else was looked at before does
    not show.
    """
    names: dict[int, str] = {}
    for sha256 in sorted(sha256s):
        names.setdefault(photographs[sha256], sha256[:DIGITS])
    return names


def _look_at_rest(content: dict[str, Path], known: Found | None) -> Found:
    """Sort the images that are not known yet, keeping now and then what was found."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        photographs = Photographs(pool)
        sha256s: list[str] = []
        if known is not None:
            photographs.restore(known.members, known.thumbnails, known.representatives, settled=known.settled)
            sha256s = list(known.sha256s)
        rest = sorted(content.keys() - set(sha256s))
        kept, saved = list(sha256s), time.monotonic()
        for sha256 in track(_sorted(rest, content, photographs, pool), "finding photographs", total=len(rest)):
            sha256s.append(sha256)
            if len(sha256s) == len(photographs.members) and time.monotonic() - saved > SAVE_EVERY_S:
                remember(_found(sha256s, photographs, settled=False), instead_of=kept)
                kept, saved = list(sha256s), time.monotonic()
        for _ in track(photographs.settle(), "telling photographs apart", total=photographs.n_unsettled):
            pass
        result = _found(sha256s, photographs, settled=True)
    remember(result, instead_of=kept)
    return result


def _sorted(
    sha256s: Sequence[str], content: dict[str, Path], photographs: Photographs, pool: ThreadPoolExecutor
) -> Iterator[str]:
    """Add images to the photographs, batch by batch; yield each when its batch is done."""
    for start in range(0, len(sha256s), BATCH):
        batch = sha256s[start : start + BATCH]
        photographs.add(list(pool.map(lambda sha256: find_keypoints(read_image(content[sha256])), batch)))
        yield from batch


def _found(sha256s: Sequence[str], photographs: Photographs, *, settled: bool) -> Found:
    return Found(
        sha256s=list(sha256s),
        members=list(photographs.members),
        thumbnails=list(photographs.thumbnails),
        representatives=dict(photographs.representatives),
        settled=settled,
    )
