"""Sorts images by the photograph that they were made from, as they come.

Every photograph has a few representatives, whose keypoints are in one index. An image is compared with the
representatives that most of its keypoints resemble; where it can be laid on one of them and looks the same there, it is
a copy of that photograph, and where it fits none, it is the first of a photograph of its own.

That is right for nearly all. The rest is settled at the end, with all images of a photograph as evidence: some are two
photographs of one place, or of neighbouring places, and are parted; some are parts of one, and are joined.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from bloodcell.provenance.alignment import Matrix, align, difference
from bloodcell.provenance.descriptor_index import DescriptorIndex, Vote
from bloodcell.provenance.keypoints import Keypoints

MAX_DIFFERENCE = 0.08
"""How much an image may differ from a photograph's others to be laid beside them for now."""

SAME = 0.025
"""Mean difference that two parts of one photograph may always have: copies come to 0.01, another focus to 0.033."""

SAME_RATIO = 3.5
"""Mean difference between two parts of one photograph, over that within them; where copies are rougher, both grow."""

MAX_OVERLAP_DIFFERENCE = 0.4
"""Difference of photographs that show one place in part: 0.3 at the most; more where only a caption is alike."""

MAX_REPRESENTATIVES = 6
FEW_INLIERS = 60
"""An image that fits with fewer keypoints than this becomes one more representative of its photograph."""

N_WITNESSES = 3
"""Images of a photograph that a new one is compared with."""

N_SAMPLED = 24
"""Images of a photograph that are compared each with each to see whether they are of one photograph."""

N_ACROSS = 8
"""Images of each of two photographs that are compared to see whether they are one."""


@dataclass(frozen=True)
class Member:
    """An image's place: its photograph, and the matrix from its pixels to that photograph's, shape (3, 3)."""

    photograph: int
    matrix: Matrix


@dataclass(frozen=True)
class Fit:
    """How an image can be laid on a representative, and whether it looks the same there."""

    representative: int
    matrix: Matrix
    inliers: int
    same: bool


class Photographs:
    """The photographs found so far; images are numbered in the order in which they were added.

    Attributes
    ----------
    members
        Each image's place.
    thumbnails
        Each image's thumbnail.
    representatives
        The keypoints of those images that stand for their photographs.
    """

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.members: list[Member] = []
        self.thumbnails: list[NDArray[np.uint8]] = []
        self.representatives: dict[int, Keypoints] = {}
        self._images: dict[int, list[int]] = defaultdict(list)
        self._bridges: dict[tuple[int, int], Matrix] = {}
        self._unsettled: set[int] = set()
        self._index = DescriptorIndex()
        self._next = 0
        self._pool = pool

    def restore(
        self,
        members: Iterable[Member],
        thumbnails: Iterable[NDArray[np.uint8]],
        representatives: Mapping[int, Keypoints],
        *,
        settled: bool,
    ) -> None:
        """Go on from what was found before."""
        self.members = list(members)
        self.thumbnails = list(thumbnails)
        for image, member in enumerate(self.members):
            self._images[member.photograph].append(image)
        self._next = max(self._images, default=-1) + 1
        if not settled:
            self._unsettled = set(self._images)
        for image, keypoints in representatives.items():
            self._represent(image, keypoints)

    def add(self, batch: Sequence[Keypoints]) -> None:
        """Find the photograph of each image of a batch."""
        known = list(self._pool.map(self._fits, batch, self._index.votes(batch)))
        strangers = [place for place, fits in enumerate(known) if not any(fit.same for fit in fits)]
        among = DescriptorIndex()
        for place in strangers:
            among.add(place, batch[place].descriptors)
        votes = among.votes([batch[place] for place in strangers])
        newcomers = dict(
            zip(
                strangers,
                self._pool.map(lambda place, found: _fits_earlier(place, batch, found), strangers, votes),
                strict=True,
            )
        )
        first = len(self.members)
        for place, keypoints in enumerate(batch):
            among_batch = [
                Fit(first + fit.representative, fit.matrix, fit.inliers, fit.same) for fit in newcomers.get(place, [])
            ]
            self._place(keypoints, known[place] + among_batch)

    @property
    def n_unsettled(self) -> int:
        """How many photographs `settle` has to look at."""
        return len(self._unsettled)

    def settle(self) -> Iterator[None]:
        """Part what is two photographs, join what is one, and try lone images once more.

        Yields
        ------
        None
            Whenever one more photograph was looked at; all has to be drawn.
        """
        self._retry_lone()
        for photograph in sorted(self._unsettled):
            self._part(photograph)
            yield
        self._join()
        self._unsettled.clear()

    def overlapping(self) -> list[tuple[int, int]]:
        """Return pairs of photographs that show the same place in part: neighbouring fields, or another focus."""
        images = sorted(self.representatives)
        batch = [self.representatives[image] for image in images]
        votes = self._index.votes(batch, thorough=True)
        own = [self.members[image].photograph for image in images]
        others = [
            [vote for vote in found if self.members[vote.owner].photograph != photograph]
            for photograph, found in zip(own, votes, strict=True)
        ]
        pairs = {
            (photograph, self.members[fit.representative].photograph)
            for image, photograph, fits in zip(images, own, self._pool.map(self._fits, batch, others), strict=True)
            for fit in fits
            if difference(self.thumbnails[image], self.thumbnails[fit.representative], fit.matrix)
            <= MAX_OVERLAP_DIFFERENCE
        }
        return sorted({(min(pair), max(pair)) for pair in pairs})

    def _fits(self, keypoints: Keypoints, votes: Sequence[Vote]) -> list[Fit]:
        best: dict[int, Vote] = {}
        for vote in votes:  # the most first
            best.setdefault(self.members[vote.owner].photograph, vote)
        fits = []
        for vote in best.values():
            alignment = align(keypoints, self.representatives[vote.owner], mirrored=vote.mirrored)
            if alignment is not None:
                there = self.members[vote.owner]
                witnesses = _spread(self._images[there.photograph], N_WITNESSES)
                matrix = there.matrix @ alignment.matrix
                differences = [
                    difference(keypoints.thumbnail, self.thumbnails[image], self._into(image) @ matrix)
                    for image in witnesses
                ]
                same = _mean(differences) <= MAX_DIFFERENCE
                fits.append(Fit(vote.owner, alignment.matrix, alignment.inliers, same))
        return fits

    def _place(self, keypoints: Keypoints, fits: Sequence[Fit]) -> None:
        image = len(self.members)
        best_first = sorted(fits, key=lambda fit: (not fit.same, -fit.inliers))
        places = [self._laid(fit) for fit in best_first]
        if best_first and best_first[0].same:
            member = places[0]
        else:
            member = Member(self._next, np.eye(3))
            self._next += 1
        self.members.append(member)
        self.thumbnails.append(keypoints.thumbnail)
        self._images[member.photograph].append(image)
        self._unsettled.add(member.photograph)
        for other in places:
            self._bridge(member, other)
        of_photograph = [of for of in self._images[member.photograph] if of in self.representatives]
        new = not of_photograph
        if new or (best_first[0].inliers < FEW_INLIERS and len(of_photograph) < MAX_REPRESENTATIVES):
            self._represent(image, keypoints)

    def _laid(self, fit: Fit) -> Member:
        there = self.members[fit.representative]
        return Member(there.photograph, there.matrix @ fit.matrix)

    def _represent(self, image: int, keypoints: Keypoints) -> None:
        self.representatives[image] = keypoints
        self._index.add(image, keypoints.descriptors)

    def _bridge(self, here: Member, there: Member) -> None:
        """Note how two photographs that show one place lie on each other, known from an image that fits both."""
        if here.photograph != there.photograph:
            self._bridges[here.photograph, there.photograph] = there.matrix @ np.linalg.inv(here.matrix)

    def _into(self, image: int) -> Matrix:
        """Return the matrix from a photograph's pixels to those of an image of it."""
        return np.asarray(np.linalg.inv(self.members[image].matrix), np.float64)

    def _differences(self, pairs: Iterable[tuple[int, int]], across: Matrix | None = None) -> NDArray[np.float64]:
        """Compare images; ``across`` leads from the first ones' photograph to the second ones', if they differ."""
        between = np.eye(3) if across is None else across

        def of(pair: tuple[int, int]) -> float:
            moving, fixed = pair
            matrix = self._into(fixed) @ between @ self.members[moving].matrix
            return difference(self.thumbnails[moving], self.thumbnails[fixed], matrix)

        return np.array(list(self._pool.map(of, pairs)))

    def _retry_lone(self) -> None:
        """Look up images that are alone so far more thoroughly, among all representatives there are now."""
        lone = [
            images[0]
            for photograph, images in self._images.items()
            if len(images) == 1 and photograph in self._unsettled
        ]
        batch = [self.representatives[image] for image in lone]
        votes = self._index.votes(batch, thorough=True)
        others = [[vote for vote in found if vote.owner != image] for image, found in zip(lone, votes, strict=True)]
        for image, fits in zip(lone, list(self._pool.map(self._fits, batch, others)), strict=True):
            for fit in fits:
                self._bridge(self.members[image], self._laid(fit))

    def _part(self, photograph: int) -> None:
        images = self._images[photograph]
        if len(images) < 4:
            return
        sampled = _spread(images, N_SAMPLED)
        distances = self._differences(combinations(sampled, 2))
        if np.isnan(distances).all():
            return
        distances = np.where(np.isnan(distances), np.nanmean(distances), distances)
        clusters = fcluster(linkage(distances, "average"), 2, "maxclust")
        here, there = ([image for image, of in zip(sampled, clusters, strict=True) if of == part] for part in (1, 2))
        if min(len(here), len(there)) < 2 or self._one_photograph(here, there, np.eye(3)):
            return
        for image in sorted(set(images) - set(sampled)):
            to_here, to_there = (
                _mean(self._differences(product([image], _spread(part, N_ACROSS)))) for part in (here, there)
            )
            (here if to_here <= to_there else there).append(image)
        smaller = min(here, there, key=len)
        new, self._next = self._next, self._next + 1
        self._move(smaller, photograph, new, np.eye(3))
        for (one, other), matrix in list(self._bridges.items()):
            if photograph in (one, other):
                self._bridges[new if one == photograph else one, new if other == photograph else other] = matrix
        self._unsettled.add(new)
        self._part(photograph)
        self._part(new)

    def _join(self) -> None:
        """Join photographs that fit each other, the closest first."""
        waiting = sorted(self._bridges.items(), key=lambda bridge: bridge[0])
        moved: dict[int, tuple[int, Matrix]] = {}
        joined = True
        while joined:
            joined = False
            for (first, second), matrix in waiting:
                here, to_here = _follow(moved, first)
                there, to_there = _follow(moved, second)
                across = to_there @ matrix @ np.linalg.inv(to_here)
                if here == there or not self._one_photograph(self._images[here], self._images[there], across):
                    continue
                self._move(list(self._images[here]), here, there, across)
                moved[here] = there, across
                joined = True
        self._bridges.clear()

    def _one_photograph(self, here: Sequence[int], there: Sequence[int], across: Matrix) -> bool:
        """Whether two sets of images differ no more from each other than each within itself."""
        here, there = _spread(here, N_ACROSS), _spread(there, N_ACROSS)
        between = _mean(self._differences(product(here, there), across))
        within = [self._differences(combinations(part, 2)) for part in (here, there)]
        inside = _mean(np.concatenate(within))
        return between <= max(SAME, SAME_RATIO * inside if np.isfinite(inside) else 0)

    def _move(self, images: Iterable[int], old: int, new: int, matrix: Matrix) -> None:
        for image in sorted(images):
            self._images[old].remove(image)
            self._images[new].append(image)
            self.members[image] = Member(new, matrix @ self.members[image].matrix)


def _fits_earlier(place: int, batch: Sequence[Keypoints], votes: Sequence[Vote]) -> list[Fit]:
    """Lay an image of a batch on earlier ones of it."""
    fits = []
    for vote in votes:
        if vote.owner < place:
            alignment = align(batch[place], batch[vote.owner], mirrored=vote.mirrored)
            if alignment is not None:
                apart = difference(batch[place].thumbnail, batch[vote.owner].thumbnail, alignment.matrix)
                fits.append(Fit(vote.owner, alignment.matrix, alignment.inliers, apart <= MAX_DIFFERENCE))
    return fits


def _mean(differences: Sequence[float] | NDArray[np.float64]) -> float:
    """Return the mean of what is known, infinity where nothing is."""
    values = np.asarray(differences)
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("inf")


def _spread(images: Sequence[int], count: int) -> list[int]:
    """Return up to ``count`` images from all over a list."""
    if len(images) <= count:
        return list(images)
    return [images[place] for place in np.linspace(0, len(images) - 1, count).astype(int)]


def _follow(moved: Mapping[int, tuple[int, Matrix]], photograph: int) -> tuple[int, Matrix]:
    """Return the photograph that one was joined to, and the matrix to its pixels."""
    matrix = np.eye(3)
    while photograph in moved:
        photograph, step = moved[photograph]
        matrix = step @ matrix
    return photograph, matrix
