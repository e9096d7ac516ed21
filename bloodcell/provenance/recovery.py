"""Recover the source of each image from its pixels, with a cache.

Labels, folders and file names are not used. Images are processed in the order of their digests, so the result does not
depend on their paths.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bloodcell.console.progress import track
from bloodcell.images.reading import read_image
from bloodcell.provenance.keypoints import MIN_KEYPOINTS, find_keypoints
from bloodcell.provenance.matching import SourceClusters
from bloodcell.provenance.store import CachedSources, Known, load, load_sources, save

BATCH = 64
SAVE_EVERY_S = 60.0
"""Interval at which intermediate results are saved."""

DIGITS = 16
"""Length of a source's name: the first digits of the digest of one of its images."""


@dataclass(frozen=True, kw_only=True)
class RecoveredSources:
    """The sources of images.

    Attributes
    ----------
    names
        The name of each image's source: 16 hexadecimal digits.
    untextured
        Whether an image has no match and too little texture for one: copies of it may be among the other images.
    """

    names: list[str]
    untextured: list[bool]


def recover_sources(files: Sequence[Path], sha256s: Sequence[str]) -> RecoveredSources:
    """Find the source of each image.

    Copies are recognised after rotation, shift, shear, scale, perspective, flips, black or reflected fill, JPEG, and
    mild changes of brightness and contrast. An image without a match is a separate source. Cached results of
    this set, or of one that shares most of it, are used.

    Files are readable images, with the digest of each one's content; exact copies always have one source.
    """
    known = load_sources(sha256s)
    if known is None:
        known = _known(_find(files, sha256s))
    names = _named(known, sha256s)
    found = [known[sha256] for sha256 in sha256s]
    sizes = Counter(known[sha256].source for sha256 in set(sha256s))
    return RecoveredSources(
        names=[names[each.source] for each in found],
        untextured=[each.n_keypoints < MIN_KEYPOINTS and sizes[each.source] == 1 for each in found],
    )


def overlapping_sources(files: Sequence[Path], sha256s: Sequence[str]) -> list[tuple[str, str]]:
    """Return pairs of sources that show overlapping places, and perhaps the same cell.

    Parameters
    ----------
    files, sha256s
        As for `recover_sources`.

    Returns
    -------
    list of (str, str)
        Names of sources.
    """
    found = _find(files, sha256s)
    names = _named(_known(found), sha256s)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        clusters = SourceClusters(pool)
        _restore(clusters, found, refined=True)
        pairs = clusters.overlapping()
    both = [(names[one], names[other]) for one, other in pairs if one in names and other in names]
    return sorted((min(pair), max(pair)) for pair in both)


def _find(files: Sequence[Path], sha256s: Sequence[str]) -> CachedSources:
    content = dict(zip(sha256s, files, strict=True))
    known = load(content)
    if known is None or not known.complete or not content.keys() <= set(known.sha256s):
        known = _cluster_rest(content, known)
    return known


def _known(found: CachedSources) -> dict[str, Known]:
    rows = zip(found.sha256s, found.assignments, found.n_keypoints, strict=True)
    return {sha256: Known(assignment.source, n_keypoints) for sha256, assignment, n_keypoints in rows}


def _restore(clusters: SourceClusters, found: CachedSources, *, refined: bool) -> None:
    clusters.restore(found.assignments, found.thumbnails, found.n_keypoints, found.representatives, refined=refined)


def _named(known: Mapping[str, Known], sha256s: Sequence[str]) -> dict[int, str]:
    """Return the names of sources by number: the smallest digest of their images among ``sha256s``."""
    names: dict[int, str] = {}
    for sha256 in sorted(sha256s):
        names.setdefault(known[sha256].source, sha256[:DIGITS])
    return names


def _cluster_rest(content: dict[str, Path], known: CachedSources | None) -> CachedSources:
    """Cluster the images that are not in the cache, and save intermediate results."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        clusters = SourceClusters(pool)
        sha256s: list[str] = []
        if known is not None:
            _restore(clusters, known, refined=known.complete)
            sha256s = list(known.sha256s)
        rest = sorted(content.keys() - set(sha256s))
        saved, saved_at = None if known is None else known.saved, time.monotonic()
        for sha256 in track(_cluster(rest, content, clusters, pool), "finding photographs", total=len(rest)):
            sha256s.append(sha256)
            if len(sha256s) == len(clusters.assignments) and time.monotonic() - saved_at > SAVE_EVERY_S:
                saved = save(_result(sha256s, clusters, complete=False), extends=saved)
                saved_at = time.monotonic()
        for _ in track(clusters.refine(), "refining photographs", total=clusters.n_unrefined):
            pass
        result = _result(sha256s, clusters, complete=True)
    save(result, extends=saved)
    return result


def _cluster(
    sha256s: Sequence[str], content: dict[str, Path], clusters: SourceClusters, pool: ThreadPoolExecutor
) -> Iterator[str]:
    """Add images to the clusters in batches; yield each image after its batch."""
    for start in range(0, len(sha256s), BATCH):
        batch = sha256s[start : start + BATCH]
        clusters.add(list(pool.map(lambda sha256: find_keypoints(read_image(content[sha256])), batch)))
        yield from batch


def _result(sha256s: Sequence[str], clusters: SourceClusters, *, complete: bool) -> CachedSources:
    return CachedSources(
        sha256s=list(sha256s),
        assignments=list(clusters.assignments),
        thumbnails=list(clusters.thumbnails),
        n_keypoints=list(clusters.n_keypoints),
        representatives=dict(clusters.representatives),
        complete=complete,
    )
