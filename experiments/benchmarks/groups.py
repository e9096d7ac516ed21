"""The cost of recovering sources, by the number of images.

    uv run python experiments/benchmarks/groups.py path/to/blood-cells 3000 6000 12444

Runs `recover_sources` on images of TRAIN and TEST, each number in a new process with an empty cache, and for comparison
64-bit perceptual hashes (pHash) of the same files, comparing every pair. Errors are matches of images with different
labels. It then repeats the search with the cache, and with 100 more images.

Estimate for a million images. An image costs its keypoints, a search of 200 descriptors, and a few alignments,
independent of the set's size. There are 2 sqrt(n) inverted lists for n descriptors, and 8 are read, so a search reads
4 sqrt(n); from 12,444 images to a million this grows ten times and is then about half of the cost. At the measured rate
this is a day on two cores; batches of images are independent except for the search, so machines can share the work.
Memory: the Kaggle set has 440 representatives of 189 descriptors for 12,444 images; a million images have in proportion
6.7 million descriptors of 128 bytes, 0.9 GB in the index and as much outside it, and 19 GB of thumbnails. Only 24 of a
photograph are read again, so they fit a memory-mapped file. Without any copies there would be 24 GB of descriptors:
shard the index by inverted list (FAISS's on-disk lists, or one shard per machine), or store product codes of 32 bytes,
6 GB. Only `DescriptorIndex` and the storage of thumbnails would change.
"""

import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bloodcell.images.reading import read_image
from bloodcell.provenance.recovery import recover_sources

T = TypeVar("T")

HASH_SIDE, HASH_KEPT = 32, 8
HASH_DISTANCE = 6
MORE = 100


def main(root: Path, counts: Sequence[int]) -> None:
    """Measure every count in a new process, and print a table."""
    table = Table(title="Finding the photographs of TRAIN and TEST: images, groups, seconds", title_justify="left")
    columns = ("images", "groups", "s", "per s", "GB", "again", f"+{MORE}", "pHash", "ratio")
    for heading in columns:
        table.add_column(heading, justify="right")
    for count in counts:
        with tempfile.TemporaryDirectory() as cache:
            environment = os.environ | {"XDG_CACHE_HOME": cache}
            command = [sys.executable, __file__, "--one", str(root), str(count)]
            said = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(said.stdout)
        table.add_row(
            f"{found['images']:,}",
            f"{found['photographs']:,}",
            f"{found['seconds']:.0f}",
            f"{found['images'] / found['seconds']:.0f}",
            f"{found['gigabytes']:.2f}",
            f"{found['again']:.1f}",
            f"{found['more']:.1f}",
            f"{found['hash_seconds']:.0f}",
            f"{found['seconds'] / found['hash_seconds']:.1f}",
        )
        print(json.dumps(found), file=sys.stderr)
    Console().print(table)


def one(root: Path, count: int) -> dict[str, float]:
    """Measure one count, with the cache of this process."""
    files = sorted(path for split in ("TRAIN", "TEST") for path in (root / split).glob("*/*"))
    random.Random(0).shuffle(files)
    chosen, rest = files[:count], files[count : count + MORE]
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files[: count + MORE]]
    seconds, groups = _timed(lambda: recover_sources(chosen, digests[:count]))
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    again, _ = _timed(lambda: recover_sources(chosen, digests[:count]))
    more = _timed(lambda: recover_sources([*chosen, *rest], digests))[0] if rest else float("nan")
    hash_seconds, pairs = _timed(lambda: _near(np.array([_perceptual_hash(read_image(file)) for file in chosen])))
    labels = np.array([file.parent.name for file in chosen])
    names = np.array(groups.names)
    together = [np.flatnonzero(names == name) for name in np.unique(names)]
    return {
        "images": len(chosen),
        "photographs": len(together),
        "seconds": seconds,
        "gigabytes": gigabytes,
        "again": again,
        "more": more,
        "pairs": sum(len(members) * (len(members) - 1) // 2 for members in together),
        "groups_with_two_labels": sum(len(set(labels[members])) > 1 for members in together),
        "hash_seconds": hash_seconds,
        "hash_pairs": len(pairs),
        "hash_pairs_with_two_labels": int((labels[pairs[:, 0]] != labels[pairs[:, 1]]).sum()),
        "hash_pairs_of_one_photograph": int((names[pairs[:, 0]] == names[pairs[:, 1]]).sum()),
    }


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def _perceptual_hash(pixels: NDArray[np.uint8]) -> np.uint64:
    """Return pHash: which of the lowest 8 x 8 cosine coefficients of the image at 32 x 32 are above their median."""
    grey = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (HASH_SIDE, HASH_SIDE), interpolation=cv2.INTER_AREA)
    low = cv2.dct(grey.astype(np.float32))[:HASH_KEPT, :HASH_KEPT].ravel()
    return np.packbits(low > np.median(low)).view(np.uint64)[0]


def _near(hashes: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Return pairs of images whose hashes differ in few bits, shape (pairs, 2)."""
    found = []
    for first, value in enumerate(hashes[:-1]):
        close = np.flatnonzero(np.bitwise_count(hashes[first + 1 :] ^ value) <= HASH_DISTANCE)
        found.append(np.column_stack([np.full(len(close), first), first + 1 + close]))
    return np.vstack(found)


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        print(json.dumps(one(Path(sys.argv[2]), int(sys.argv[3]))))
    else:
        main(Path(sys.argv[1]), [int(count) for count in sys.argv[2:]] or [3000, 6000, 12444])
