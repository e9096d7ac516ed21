"""A nearest-neighbour index of keypoint descriptors."""

from collections.abc import Sequence
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from bloodcell.provenance.keypoints import DESCRIPTOR_NORM, MIRRORED, Keypoints

N_QUERIED = 64
"""Number of an image's keypoints that are searched, the strongest first."""

N_NEIGHBOURS = 4
MAX_DISTANCE = 0.36 * DESCRIPTOR_NORM
"""Largest distance of matching descriptors; beyond it, most matches are wrong."""

MIN_VOTES = 5
MAX_CANDIDATES = 3
MIN_SHARE = 0.3
"""Smallest share of the first candidate's votes."""

EXHAUSTIVE = 10_000
"""Number of descriptors up to which the search is exhaustive."""

GROWTH = 4
"""Growth after which the index is trained again."""

N_PROBES = 8


@dataclass(frozen=True)
class Vote:
    """The number of an image's keypoints, perhaps mirrored, that match an owner's."""

    owner: int
    mirrored: bool
    count: int


class DescriptorIndex:
    """Descriptors and their owners: an exhaustive index, or inverted lists (Jégou et al. 2011) if there are many."""

    def __init__(self) -> None:
        self._descriptors: list[NDArray[np.uint8]] = []
        self._owners: list[NDArray[np.int64]] = []
        self._index: faiss.Index = faiss.IndexFlatL2(128)
        self._train_at = EXHAUSTIVE

    def add(self, owner: int, descriptors: NDArray[np.uint8]) -> None:
        """Add an owner's descriptors, shape (n, 128)."""
        self._descriptors.append(descriptors)
        self._owners.append(np.full(len(descriptors), owner))
        self._index.add(descriptors.astype(np.float32))
        if self._index.ntotal > self._train_at:
            self._train()

    def votes(self, images: Sequence[Keypoints], *, thorough: bool = False) -> list[list[Vote]]:
        """Return the owners that match most of each image's keypoints, most votes first.

        A thorough search is for all keypoints, and returns more candidates with fewer votes.
        """
        if not images or not self._index.ntotal:
            return [[] for _ in images]
        queried = [image.descriptors[: None if thorough else N_QUERIED] for image in images]
        both = [np.concatenate([descriptors, descriptors[:, MIRRORED]]) for descriptors in queried]
        queries = np.concatenate(both).astype(np.float32)
        distances, places = self._index.search(queries, N_NEIGHBOURS * (2 if thorough else 1))
        owners = np.concatenate(self._owners)[places]
        near = (distances <= MAX_DISTANCE**2) & (places >= 0)
        ends = np.cumsum([len(descriptors) for descriptors in both])[:-1]
        parts = zip(np.split(owners, ends), np.split(near, ends), strict=True)
        return [_count(*part, thorough=thorough) for part in parts]

    def _train(self) -> None:
        descriptors = np.concatenate(self._descriptors)
        n_lists = int(2 ** np.round(np.log2(2 * len(descriptors) ** 0.5)))
        index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatL2(128), 128, n_lists, faiss.ScalarQuantizer.QT_8bit_direct, faiss.METRIC_L2, False
        )
        sample = np.random.default_rng(0).choice(len(descriptors), min(len(descriptors), 50 * n_lists), replace=False)
        index.train(descriptors[np.sort(sample)].astype(np.float32))
        index.nprobe = N_PROBES
        index.add(descriptors.astype(np.float32))
        self._index, self._train_at = index, GROWTH * len(descriptors)


def _count(owners: NDArray[np.int64], near: NDArray[np.bool_], *, thorough: bool) -> list[Vote]:
    half = len(owners) // 2
    votes = []
    for mirrored, part in enumerate((slice(0, half), slice(half, None))):
        rows, columns = np.nonzero(near[part])
        matched = np.unique(np.column_stack([rows, owners[part][rows, columns]]), axis=0)[:, 1]
        for owner, count in zip(*np.unique(matched, return_counts=True), strict=True):
            votes.append(Vote(int(owner), bool(mirrored), int(count)))
    votes.sort(key=lambda vote: (-vote.count, vote.owner))
    if thorough:
        return votes[: 4 * MAX_CANDIDATES]
    return [vote for vote in votes if vote.count >= max(MIN_VOTES, MIN_SHARE * votes[0].count)][: 3 * MAX_CANDIDATES]
