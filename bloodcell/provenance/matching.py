"""Cluster images incrementally by their source, the photograph that they were made from.

Every source has a few representative images, whose keypoints are in one index. An image is aligned with the
representatives that most of its keypoints match. If it looks the same as one of them, it joins that source; otherwise
it becomes a new source.

That is right for nearly all images. A refinement at the end compares all images of a source: it splits sources that are
two photographs of one place or of neighbouring places, and merges sources that are parts of one photograph.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from bloodcell.provenance.alignment import Matrix, align, difference, refined
from bloodcell.provenance.descriptor_index import DescriptorIndex, Vote
from bloodcell.provenance.keypoints import Keypoints

MAX_DIFFERENCE = 0.08
"""Largest mean difference between an image and a source that it joins, before refinement."""

SAME_QUANTILE = 0.35
"""Quantile of the differences between two sets of images that decides whether they are one source. It is below the
median because alignments of some copies are inexact, but most copies of another photograph differ."""

SAME = 0.015
"""That quantile up to which two sets are one source: copies have up to 0.007, another focus or field has 0.022."""

MAX_INEXACT = 0.05
"""Largest difference of copies because of an inexact alignment."""

SAME_RATIO = 3.5
"""The same, over the median difference within the sets: rough copies increase both."""

MAX_OVERLAP_DIFFERENCE = 0.4
"""Largest difference of overlapping sources: they have up to 0.3; sources with the same caption have more."""

MIN_OVERLAP_INLIERS = 15
"""Fewest inliers of overlapping sources; unrelated ones have up to 9."""

MAX_REPRESENTATIVES = 6
FEW_INLIERS = 60
"""An image that joins with fewer inliers than this becomes a representative of its source."""

N_COMPARED = 3
"""Images of a source that a new image is compared with."""

N_SAMPLED = 16
"""Images of a source that are compared with each other to decide whether to split it."""

N_ACROSS = 8
"""Images of each of two sources that are compared to decide whether to merge them."""


@dataclass(frozen=True)
class Assignment:
    """An image's source, and the matrix from the image's pixels to the source's, shape (3, 3)."""

    source: int
    matrix: Matrix


@dataclass(frozen=True)
class Fit:
    """The alignment of an image with a representative, and whether both look the same."""

    representative: int
    matrix: Matrix
    inliers: int
    same: bool


class SourceClusters:
    """The sources found so far; images are numbered in the order in which they were added.

    ``assignments``, ``thumbnails`` and ``n_keypoints`` have an entry for each image; ``representatives`` has the
    keypoints of the representative images by number.
    """

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.assignments: list[Assignment] = []
        self.thumbnails: list[NDArray[np.uint8]] = []
        self.n_keypoints: list[int] = []
        self.representatives: dict[int, Keypoints] = {}
        self._images: dict[int, list[int]] = defaultdict(list)
        self._links: dict[tuple[int, int], Matrix] = {}
        self._unrefined: set[int] = set()
        self._index = DescriptorIndex()
        self._next = 0
        self._pool = pool

    def restore(
        self,
        assignments: Iterable[Assignment],
        thumbnails: Iterable[NDArray[np.uint8]],
        n_keypoints: Iterable[int],
        representatives: Mapping[int, Keypoints],
        *,
        refined: bool,
    ) -> None:
        """Continue from an earlier search."""
        self.assignments = list(assignments)
        self.thumbnails = list(thumbnails)
        self.n_keypoints = list(n_keypoints)
        for image, own in enumerate(self.assignments):
            self._images[own.source].append(image)
        self._next = max(self._images, default=-1) + 1
        if not refined:
            self._unrefined = set(self._images)
        for image, keypoints in representatives.items():
            self._represent(image, keypoints)

    def add(self, batch: Sequence[Keypoints]) -> None:
        """Assign each image of a batch to a source."""
        known = list(self._pool.map(self._fits, batch, self._index.votes(batch)))
        unmatched = [place for place, fits in enumerate(known) if not any(fit.same for fit in fits)]
        index = DescriptorIndex()
        for place in unmatched:
            index.add(place, batch[place].descriptors)
        votes = index.votes([batch[place] for place in unmatched])
        fits_earlier = self._pool.map(lambda place, found: _fits_earlier(place, batch, found), unmatched, votes)
        within_batch = dict(zip(unmatched, fits_earlier, strict=True))
        first = len(self.assignments)
        for place, keypoints in enumerate(batch):
            earlier = [replace(fit, representative=first + fit.representative) for fit in within_batch.get(place, [])]
            self._place(keypoints, known[place] + earlier)

    @property
    def n_unrefined(self) -> int:
        """Number of sources that `refine` checks."""
        return len(self._unrefined)

    def refine(self) -> Iterator[None]:
        """Split and merge sources, and match single images again.

        Yields after each source; the iterator must be exhausted.
        """
        self._retry_single()
        for source in sorted(self._unrefined):
            self._split(source)
            yield
        self._merge()
        self._unrefined.clear()

    def overlapping(self) -> list[tuple[int, int]]:
        """Return pairs of sources that show overlapping places: neighbouring fields, or another focus."""
        images = sorted(self.representatives)
        batch = [self.representatives[image] for image in images]
        votes = self._index.votes(batch, thorough=True)
        own = [self.assignments[image].source for image in images]
        others = [
            [vote for vote in found if self.assignments[vote.owner].source != source]
            for source, found in zip(own, votes, strict=True)
        ]
        pairs = {
            (source, self.assignments[fit.representative].source)
            for image, source, fits in zip(images, own, self._pool.map(self._fits, batch, others), strict=True)
            for fit in fits
            if fit.inliers >= MIN_OVERLAP_INLIERS
            and difference(self.thumbnails[image], self.thumbnails[fit.representative], fit.matrix)
            <= MAX_OVERLAP_DIFFERENCE
        }
        return sorted({(min(pair), max(pair)) for pair in pairs})

    def _fits(self, keypoints: Keypoints, votes: Sequence[Vote]) -> list[Fit]:
        best: dict[int, Vote] = {}
        for vote in votes:  # most votes first
            best.setdefault(self.assignments[vote.owner].source, vote)
        fits = []
        for vote in best.values():
            alignment = align(keypoints, self.representatives[vote.owner], mirrored=vote.mirrored)
            if alignment is not None:
                there = self.assignments[vote.owner]
                compared = _equally_spaced(self._images[there.source], N_COMPARED)
                own, _ = refined(keypoints.thumbnail, self.thumbnails[vote.owner], alignment.matrix)
                matrix = there.matrix @ own
                differences = [
                    difference(keypoints.thumbnail, self.thumbnails[image], self._into(image) @ matrix)
                    for image in compared
                ]
                same = _mean(differences) <= MAX_DIFFERENCE
                fits.append(Fit(vote.owner, own, alignment.inliers, same))
        return fits

    def _place(self, keypoints: Keypoints, fits: Sequence[Fit]) -> None:
        image = len(self.assignments)
        best_first = sorted(fits, key=lambda fit: (not fit.same, -fit.inliers))
        places = [self._assignment(fit) for fit in best_first]
        if best_first and best_first[0].same:
            own = places[0]
        else:
            own = Assignment(self._next, np.eye(3))
            self._next += 1
        self.assignments.append(own)
        self.thumbnails.append(keypoints.thumbnail)
        self.n_keypoints.append(len(keypoints))
        self._images[own.source].append(image)
        self._unrefined.add(own.source)
        for other in places:
            self._link(own, other)
        n_representatives = sum(other in self.representatives for other in self._images[own.source])
        is_weak = bool(fits) and best_first[0].inliers < FEW_INLIERS
        if not n_representatives or (is_weak and n_representatives < MAX_REPRESENTATIVES):
            self._represent(image, keypoints)

    def _assignment(self, fit: Fit) -> Assignment:
        there = self.assignments[fit.representative]
        return Assignment(there.source, there.matrix @ fit.matrix)

    def _represent(self, image: int, keypoints: Keypoints) -> None:
        self.representatives[image] = keypoints
        self._index.add(image, keypoints.descriptors)

    def _link(self, here: Assignment, there: Assignment) -> None:
        """Store the alignment of two sources that one image fits."""
        if here.source != there.source:
            self._links[here.source, there.source] = there.matrix @ np.linalg.inv(here.matrix)

    def _into(self, image: int) -> Matrix:
        """Return the matrix from a source's pixels to those of one of its images."""
        return np.asarray(np.linalg.inv(self.assignments[image].matrix), np.float64)

    def _differences(
        self,
        pairs: Iterable[tuple[int, int]],
        across: Matrix | None = None,
        *,
        reflected: bool = False,
        refine: bool = False,
    ) -> NDArray[np.float64]:
        """Compare pairs of images; ``across`` is the matrix between their sources, if these differ."""
        between = np.eye(3) if across is None else across

        def of(pair: tuple[int, int]) -> float:
            moving, fixed = pair
            matrix = self._into(fixed) @ between @ self.assignments[moving].matrix
            images = self.thumbnails[moving], self.thumbnails[fixed]
            if refine:
                return refined(*images, matrix, reflected=reflected)[1]
            return difference(*images, matrix, reflected=reflected)

        return np.array(list(self._pool.map(of, pairs)))

    def _retry_single(self) -> None:
        """Match images without copies again, thoroughly and with all representatives."""
        single = [
            images[0] for source, images in self._images.items() if len(images) == 1 and source in self._unrefined
        ]
        batch = [self.representatives[image] for image in single]
        votes = self._index.votes(batch, thorough=True)
        others = [[vote for vote in found if vote.owner != image] for image, found in zip(single, votes, strict=True)]
        for image, fits in zip(single, list(self._pool.map(self._fits, batch, others)), strict=True):
            for fit in fits:
                self._link(self.assignments[image], self._assignment(fit))

    def _split(self, source: int) -> None:
        images = self._images[source]
        if len(images) < 4:
            return
        sampled = _equally_spaced(images, N_SAMPLED)
        distances = self._differences(combinations(sampled, 2))
        if np.isnan(distances).all():
            return
        distances = np.where(np.isnan(distances), np.nanmean(distances), distances)
        clusters = fcluster(linkage(distances, "average"), 2, "maxclust")
        here, there = ([image for image, of in zip(sampled, clusters, strict=True) if of == part] for part in (1, 2))
        if min(len(here), len(there)) < 2 or self._same_source(here, there, np.eye(3)):
            return
        for image in sorted(set(images) - set(sampled)):
            to_here, to_there = (
                _mean(self._differences(product([image], _equally_spaced(part, N_ACROSS)))) for part in (here, there)
            )
            (here if to_here <= to_there else there).append(image)
        smaller = min(here, there, key=len)
        new, self._next = self._next, self._next + 1
        self._move(smaller, source, new, np.eye(3))
        for (one, other), matrix in list(self._links.items()):
            if source in (one, other):
                self._links[new if one == source else one, new if other == source else other] = matrix
        self._unrefined.add(new)
        self._split(source)
        self._split(new)

    def _merge(self) -> None:
        """Merge linked sources that look the same, until none is left."""
        waiting = sorted(self._links.items(), key=lambda link: link[0])
        moved: dict[int, tuple[int, Matrix]] = {}
        refused: set[tuple[int, int, int, int]] = set()
        merged = True
        while merged:
            merged = False
            for (first, second), matrix in waiting:
                here, to_here = _merged_into(moved, first)
                there, to_there = _merged_into(moved, second)
                across = to_there @ matrix @ np.linalg.inv(to_here)
                state = first, second, len(self._images[here]), len(self._images[there])
                if here == there or state in refused:
                    continue
                if not self._same_source(self._images[here], self._images[there], across):
                    refused.add(state)
                    continue
                self._move(list(self._images[here]), here, there, across)
                moved[here] = there, across
                merged = True
        for (first, second), matrix in waiting:
            here, to_here = _merged_into(moved, first)
            there, to_there = _merged_into(moved, second)
            if here != there:
                across = to_there @ matrix @ np.linalg.inv(to_here)
                self._exchange(here, there, across)
                self._exchange(there, here, np.asarray(np.linalg.inv(across)))
        self._links.clear()

    def _exchange(self, here: int, there: int, across: Matrix) -> None:
        """Move the images of a source that are copies of another one: they joined before that was found."""
        for image in list(self._images[here]):
            others = _equally_spaced([other for other in self._images[here] if other != image], N_COMPARED)
            own = _mean(self._differences(product([image], others)))
            if others and own > SAME:
                compared = _equally_spaced(self._images[there], N_ACROSS)
                if _mean(self._differences(product([image], compared), across)) * SAME_RATIO < own:
                    self._move([image], here, there, across)

    def _same_source(self, here: Sequence[int], there: Sequence[int], across: Matrix) -> bool:
        """Return whether two sets of images differ no more from each other than within themselves."""
        here, there = _equally_spaced(here, N_ACROSS), _equally_spaced(there, N_ACROSS)
        within = np.concatenate([self._differences(combinations(part, 2), reflected=True) for part in (here, there)])
        limit = max(SAME, SAME_RATIO * float(np.nanmedian(within)) if np.isfinite(within).any() else 0)
        pairs = list(product(here, there))
        between = self._differences(pairs, across, reflected=True)
        needed = 1 + int(SAME_QUANTILE * (np.isfinite(between).sum() - 1))
        same = between <= limit
        if same.sum() < needed <= (between <= MAX_INEXACT).sum():
            close = [pairs[place] for place in np.argsort(between)[:needed]]
            same = self._differences(close, across, reflected=True, refine=True) <= limit
        return bool(same.sum() >= needed)

    def _move(self, images: Iterable[int], old: int, new: int, matrix: Matrix) -> None:
        for image in sorted(images):
            self._images[old].remove(image)
            self._images[new].append(image)
            self.assignments[image] = Assignment(new, matrix @ self.assignments[image].matrix)


def _fits_earlier(place: int, batch: Sequence[Keypoints], votes: Sequence[Vote]) -> list[Fit]:
    """Align an image of a batch with earlier ones."""
    fits = []
    for vote in votes:
        if vote.owner < place:
            alignment = align(batch[place], batch[vote.owner], mirrored=vote.mirrored)
            if alignment is not None:
                matrix, distance = refined(batch[place].thumbnail, batch[vote.owner].thumbnail, alignment.matrix)
                fits.append(Fit(vote.owner, matrix, alignment.inliers, distance <= MAX_DIFFERENCE))
    return fits


def _mean(differences: Sequence[float] | NDArray[np.float64]) -> float:
    """Return the mean without NaN, or infinity if all are NaN."""
    values = np.asarray(differences)
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("inf")


def _equally_spaced(images: Sequence[int], count: int) -> list[int]:
    """Return up to ``count`` equally spaced images of a list."""
    if len(images) <= count:
        return list(images)
    return [images[place] for place in np.linspace(0, len(images) - 1, count).astype(int)]


def _merged_into(moved: Mapping[int, tuple[int, Matrix]], source: int) -> tuple[int, Matrix]:
    """Return the source into which one was merged, and the matrix to its pixels."""
    matrix = np.eye(3)
    while source in moved:
        source, step = moved[source]
        matrix = step @ matrix
    return source, matrix
