"""The computation of features: images per second and the share of the machine's peak, by TensorFlow and by OpenVINO.

    uv run python experiments/benchmarks/features.py path/to/blood-cells

For MobileNetV2, Xception and ResNet50 at 224 pixels (random weights), with the whole backbone frozen, measures each
engine with the feature store's pipeline, from files on disk; Keras's `predict` on the same images in memory, in batches
of 32; and decoding and resizing without a network. The peak is the speed of NumPy's product of two large float32
matrices on all cores; a multiplication and an addition count as two operations. One JSON line has all numbers.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from numpy.typing import NDArray

from bloodcell.data.augmentation import Augmentation
from bloodcell.data.pipeline import Samples, view_batches
from bloodcell.models.backbones import build_backbone
from bloodcell.models.classifier import Classifier, build_classifier
from bloodcell.models.cost import measure_cost
from bloodcell.models.heads import build_head
from bloodcell.training.engines import EngineName, build_engine

SIZE, BATCH, MATRIX = 224, 32, 2048
BACKBONES = ("MobileNetV2", "Xception", "ResNet50")
ENGINES: tuple[EngineName, ...] = ("tensorflow", "openvino")


def main(root: Path, n_images: int = 512) -> None:
    """Measure everything and print the line."""
    files = sorted((root / "TRAIN").glob("*/*"))
    samples = some(files[:: len(files) // n_images][:n_images])
    figures: dict[str, Any] = {"images": len(samples)}
    figures["decode_and_resize_images_per_second"] = rate(lambda: sum(map(len, batches(samples))), len(samples))
    images = np.concatenate(list(batches(samples)))
    peak, flops, found = peak_flops(), {}, {}
    for name in BACKBONES:
        classifier = build(name)
        flops[name] = measure_cost(classifier.core).flops
        found[name] = rates(classifier.frozen_part(None), samples, images)
        peak = max(peak, peak_flops())  # the best of several, because the machine may be shared
        print(json.dumps(found), file=sys.stderr)
    figures["peak_gflops"] = peak / 1e9
    for name, speeds in found.items():
        figures[name] = {
            "gflop_per_image": flops[name] / 1e9,
            **{f"{key}_images_per_second": value for key, value in speeds.items()},
            **{f"{key}_share_of_peak": value * flops[name] / peak for key, value in speeds.items()},
            "ratio": speeds["openvino"] / speeds["keras_predict"],
        }
    print(json.dumps(figures))


def rates(model: Any, samples: Samples, images: NDArray[np.float32]) -> dict[str, float]:
    """Return images per second of Keras's `predict`, and of each engine from files."""
    model.predict(images[:BATCH], verbose=0)  # compiles
    found = {"keras_predict": rate(lambda: model.predict(images, batch_size=BATCH, verbose=0), len(samples))}
    for name in ENGINES:
        engine = build_engine(name, model, examples=images[:4])
        engine(images[:BATCH])  # compiles
        started = time.perf_counter()
        for batch in batches(samples):
            engine(batch)
        found[name] = len(samples) / (time.perf_counter() - started)
    return found


def some(files: list[Path]) -> Samples:
    """Return samples of image files."""
    return Samples(
        files=files,
        digests=[hashlib.sha256(file.read_bytes()).hexdigest() for file in files],
        labels=np.zeros(len(files), np.int64),
        n_classes=1,
        input_size=SIZE,
        interpolation="bilinear",
    )


def batches(samples: Samples) -> Any:
    """Return the images as the feature store reads them."""
    return view_batches(
        samples,
        indices=np.arange(len(samples)),
        views=np.zeros(len(samples), np.int64),
        augmentation=Augmentation(),
        seed=0,
        batch_size=BATCH,
    ).as_numpy_iterator()


def build(name: str) -> Classifier:
    """Build a backbone under a head."""
    return build_classifier(build_backbone(name=name, input_size=SIZE, weights=None), build_head(n_classes=4))


def peak_flops() -> float:
    """Return the operations a second of NumPy's product of two float32 matrices, the best of ten."""
    left, right = np.random.default_rng(0).random((2, MATRIX, MATRIX), np.float32)
    left @ right
    return max(rate(lambda: left @ right, 1) for _ in range(10)) * 2 * MATRIX**3


def rate(work: Callable[[], Any], n: int) -> float:
    """Return n divided by the seconds of a function."""
    started = time.perf_counter()
    work()
    return n / (time.perf_counter() - started)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
