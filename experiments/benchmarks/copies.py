"""How many known copies are found: bloodcell, perceptual hashes and a frozen network.

    uv run python experiments/benchmarks/copies.py path/to/distinct/images --size 120 --kind mixed

Makes ten copies of every image of a folder (or, with ``smears:100``, of rendered smears), all of one size, finds their
sources in an empty cache, and prints one JSON line: precision and recall of pairs of copies, seconds and CPU seconds.
With ``--others`` it adds 64-bit perceptual hashes (pHash, dHash) and the cosine similarity of MobileNetV2's features
(``--weights``), each with the threshold that gives it the best F1 here, which nobody knows in practice.

``--part even`` or ``odd`` takes half of the images, so that one half can be looked at while the other stays unseen.
"""

import argparse
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bloodcell.images.reading import SUFFIXES, read_image
from bloodcell.provenance.recovery import recover_sources
from bloodcell.smears import CLASSES, render_photograph

Pixels = NDArray[np.uint8]
N_COPIES = 10


def _warp(
    pixels: Pixels,
    rng: np.random.Generator,
    *,
    angle: float,
    scale: float = 1.0,
    tilt: float = 0.0,
    shift: float = 0.0,
    lean: float = 0.0,
    black: bool = True,
    flags: int = cv2.INTER_LINEAR,
) -> Pixels:
    """Flip at random, then rotate (degrees), scale, tilt and shift (shares of the width) around the centre."""
    height, width = pixels.shape[:2]
    turn = np.vstack([cv2.getRotationMatrix2D((0, 0), angle, scale), [0, 0, 1]])
    turn[2, :2] = rng.uniform(-tilt, tilt, 2) / width
    skew = np.array([[1, np.tan(lean), 0], [0, 1, 0], [0, 0, 1]])
    centre = np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]])
    move = np.eye(3)
    move[:2, 2] = rng.uniform(-shift, shift, 2) * (width, height)
    matrix = move @ centre @ turn @ skew @ np.diag([*rng.choice([-1, 1], 2), 1]) @ np.linalg.inv(centre)
    border = cv2.BORDER_CONSTANT if black else cv2.BORDER_REFLECT
    return np.asarray(cv2.warpPerspective(pixels, matrix, (width, height), flags=flags, borderMode=border))


def _jpeg(pixels: Pixels, quality: int) -> Pixels:
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


def _resized(pixels: Pixels, width: int, height: int) -> Pixels:
    smaller = width < pixels.shape[1]
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC))


def _crop(pixels: Pixels, rng: np.random.Generator, share: float) -> Pixels:
    """Crop to a share of each side, at a random place."""
    height, width = (round(side * share) for side in pixels.shape[:2])
    top, left = rng.integers(pixels.shape[0] - height + 1), rng.integers(pixels.shape[1] - width + 1)
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def _lit(pixels: Pixels, gain: float, offset: float = 0.0, gamma: float = 1.0) -> Pixels:
    return np.asarray(np.clip(255 * (pixels / 255) ** gamma * gain + offset, 0, 255), np.uint8)


def mixed(pixels: Pixels, rng: np.random.Generator, number: int) -> Pixels:
    """Combine rotation, flips, scale 0.8 to 1.25, perspective, fill, brightness, JPEG 40 to 95, a crop of 75 %."""
    height, width = pixels.shape[:2]
    scale, black = float(np.exp(rng.uniform(np.log(0.8), np.log(1.25)))), bool(rng.integers(2))
    copy = _warp(pixels, rng, angle=rng.uniform(-180, 180), scale=scale, tilt=0.1, black=black)
    if number % 5 == 0:
        copy = _resized(_crop(copy, rng, 0.75**0.5), width, height)
    return _jpeg(_lit(copy, rng.uniform(0.85, 1.15)), int(rng.integers(40, 95)))


def single(pixels: Pixels, rng: np.random.Generator, number: int) -> Pixels:
    """Change one thing in each of the ten copies, strongly."""
    height, width = pixels.shape[:2]
    changes: tuple[Callable[[], Pixels], ...] = (
        lambda: pixels,
        lambda: _warp(pixels, rng, angle=90),
        lambda: _warp(pixels, rng, angle=33, black=False),
        lambda: _warp(pixels, rng, angle=0, scale=1.25),
        lambda: _warp(pixels, rng, angle=0, scale=0.8),
        lambda: _warp(pixels, rng, angle=10, scale=0.8, black=False),
        lambda: _warp(pixels, rng, angle=0, tilt=0.25),
        lambda: _lit(pixels, 1.2),
        lambda: _jpeg(pixels, 40),
        lambda: _resized(_crop(pixels, rng, 0.75), width, height),
    )
    return changes[number]()


def kaggle(pixels: Pixels, rng: np.random.Generator, _number: int) -> Pixels:
    """Augment as the Kaggle set: rotation 20 degrees, shift 10 %, shear 0.2, flips, nearest pixels, black fill."""
    angle, lean = rng.uniform(-20, 20), rng.uniform(-0.2, 0.2)
    return _jpeg(_warp(pixels, rng, angle=angle, shift=0.1, lean=lean, flags=cv2.INTER_NEAREST), 90)


def camera(pixels: Pixels, rng: np.random.Generator, _number: int) -> Pixels:
    """Photograph a print: another resolution, crop and shape of the frame, blur, noise, gamma, colour cast, JPEG."""
    copy = _warp(pixels, rng, angle=float(rng.choice([0, 90, 180, 270])) + rng.uniform(-5, 5), black=False)
    copy = _crop(copy, rng, rng.uniform(0.75, 1))
    factor = rng.uniform(0.5, 1.5)
    copy = _resized(copy, round(copy.shape[1] * factor), round(copy.shape[0] * factor * rng.uniform(0.9, 1.1)))
    copy = cv2.GaussianBlur(copy, (0, 0), rng.uniform(0.3, 1.0))
    cast = rng.uniform(0.9, 1.1, 3)
    noisy = _lit(copy, cast, rng.uniform(-10, 10), rng.uniform(0.8, 1.25)) + rng.normal(0, 2, copy.shape)
    return _jpeg(np.asarray(np.clip(noisy, 0, 255), np.uint8), int(rng.integers(50, 90)))


KINDS = {each.__name__: each for each in (mixed, single, kaggle, camera)}


def distinct(source: str, part: str) -> Iterator[Pixels]:
    """Yield the images of a folder, RGB, or of ``smears:COUNT``; all, or every second one."""
    if source.startswith("smears:"):
        numbers = range(int(source.removeprefix("smears:")))
        for number in _part(numbers, part):
            yield render_photograph(CLASSES[number % len(CLASSES)], slide=number % 4, seed=number).image
    else:
        files = sorted(path for path in Path(source).rglob("*") if path.suffix.lower() in SUFFIXES)
        for path in _part(files, part):
            yield read_image(path)


def _part(all_: Sequence, part: str) -> Sequence:
    return all_[{"all": slice(None), "even": slice(0, None, 2), "odd": slice(1, None, 2)}[part]]


def fitted(pixels: Pixels, size: int, *, cropped: bool) -> Pixels:
    """Resize an image to a square, or crop the square from its centre."""
    height, width = pixels.shape[:2]
    side = size if cropped else min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = np.ascontiguousarray(pixels[top : top + side, left : left + side])
    return square if side == size else _resized(square, size, size)


def of_pairs(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> dict[str, float]:
    """Return precision and recall of pairs, from two matrices of shape (n, n)."""
    upper = np.triu_indices(len(true), 1)
    both = int((found & true)[upper].sum())
    n_found, n_true = int(found[upper].sum()), int(true[upper].sum())
    return {"precision": round(both / max(n_found, 1), 5), "recall": round(both / max(n_true, 1), 5)}


def of_best_threshold(distances: NDArray[np.floating], true: NDArray[np.bool_]) -> dict[str, float]:
    """Return precision and recall at the threshold of a distance that has the best F1."""
    upper = np.triu_indices(len(true), 1)
    values, hits = distances[upper], true[upper]
    order = np.argsort(values, kind="stable")
    values, correct = values[order], np.cumsum(hits[order])
    last = np.flatnonzero(np.append(np.diff(values) > 0, True))  # equal distances are all found or none
    f1 = 2 * correct[last] / (last + 1 + hits.sum())
    return of_pairs(distances <= values[last[f1.argmax()]], true)


def hash_distances(images: Sequence[Pixels], hashed: Callable[[Pixels], NDArray[np.bool_]]) -> NDArray[np.float32]:
    """Return the number of bits in which hashes differ, shape (n, n)."""
    signs = np.array([np.where(hashed(cv2.cvtColor(each, cv2.COLOR_RGB2GRAY)), 1, -1) for each in images], np.float32)
    return np.asarray((signs.shape[1] - signs @ signs.T) / 2)


def phash(grey: Pixels) -> NDArray[np.bool_]:
    """Return which of the lowest 8 x 8 cosine coefficients of the image at 32 x 32 are above their median."""
    low = cv2.dct(cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32))[:8, :8].ravel()
    return np.asarray(low > np.median(low))


def dhash(grey: Pixels) -> NDArray[np.bool_]:
    """Return which pixels of the image at 9 x 8 are darker than their neighbours."""
    small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA).astype(int)
    return np.asarray((np.diff(small, axis=1) > 0).ravel())


def network_distances(images: Sequence[Pixels], weights: str) -> NDArray[np.float32]:
    """Return cosine distances of MobileNetV2's pooled features, shape (n, n)."""
    import keras

    model = keras.applications.MobileNetV2(include_top=False, pooling="avg", weights=None)
    model.load_weights(weights)
    square = np.array([cv2.resize(each, (224, 224), interpolation=cv2.INTER_AREA) for each in images])
    features = model.predict(square / np.float32(127.5) - 1, verbose=0)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(1 - features @ features.T)


def main() -> None:
    """Make the copies, find them, and print precision and recall."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images")
    parser.add_argument("--size", type=int, default=300, help="side of the images, in pixels")
    parser.add_argument("--crop", action="store_true", help="crop to the size instead of resizing")
    parser.add_argument("--kind", choices=KINDS, default="mixed")
    parser.add_argument("--part", choices=("all", "even", "odd"), default="all")
    parser.add_argument("--copies", type=int, default=N_COPIES, help="1: how many distinct images are joined")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--others", action="store_true")
    parser.add_argument("--weights", help="of MobileNetV2 without its top, for --others")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        files, truth = [], []
        for number, pixels in enumerate(distinct(given.images, given.part)):
            square = fitted(pixels, given.size, cropped=given.crop)
            for index in range(given.copies):
                rng = np.random.default_rng([given.seed, number, index])
                path = Path(folder, f"{number}-{index}.png")
                cv2.imwrite(str(path), KINDS[given.kind](square, rng, index)[..., ::-1])
                files.append(path)
                truth.append(number)
        true = np.equal.outer(truth, truth)
        digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
        wall, cpu = time.perf_counter(), time.process_time()
        found = recover_sources(files, digests)
        names = np.array(found.names)
        row = {"kind": given.kind, "size": given.size, "crop": given.crop, "part": given.part, "images": len(files)}
        row |= of_pairs(np.equal.outer(names, names), true)
        row |= {"seconds": round(time.perf_counter() - wall, 1), "cpu": round(time.process_time() - cpu, 1)}
        row["unmatched"] = int((np.unique(names, return_counts=True)[1] == 1).sum())
        row["too_little_texture"] = sum(found.untextured)
        if given.others:
            images = [read_image(file) for file in files]
            row["phash"] = of_best_threshold(hash_distances(images, phash), true)
            row["dhash"] = of_best_threshold(hash_distances(images, dhash), true)
            if given.weights:
                row["mobilenetv2"] = of_best_threshold(network_distances(images, given.weights), true)
    print(json.dumps(row))


if __name__ == "__main__":
    main()
