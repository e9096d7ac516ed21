"""Memory: the most that a run has resident, and how that grows with the number of images.

    uv run python experiments/benchmarks/memory.py path/to/blood-cells mobilenetv2.weights.h5 1000 12444 100000

Trains MobileNetV2 at 224 pixels for two epochs on so many images, each count by the whole command in a process of its
own with nothing in the cache: images are decoded, features computed and stored, a head trained, everything evaluated
and kept. Counts beyond the set's own are copies with a few bytes appended, so that each is another image to the store;
which photograph an image was made from is not looked for (experiments/benchmarks/groups.py measures that). One JSON
line has all figures.

On paper. What is resident for each image: its row of the manifest with path, digest and label (about 1 kB as Python
objects, some copies of it while tables are joined), its place in the feature store's index (41 bytes on disk, about 250
as a dictionary's entry), its predictions (some 100 bytes). Features are memory-mapped: MobileNetV2's row is 10 kB, so
12,444 images are 127 MB of file that the system may drop from memory at any time, though it counts as resident while
there is room; 100,000 images are 1 GB of it. Images in memory are never more than a few batches of 32 at 224 x 224 x 3
float32, 19 MB each.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import command


def main(root: Path, weights: Path, counts: list[int]) -> None:
    """Measure every count and print the line."""
    figures: dict[str, float] = {}
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            scratch = Path(name)
            fill(scratch / "images", root, count)
            cost = command.bloodcell(*job(scratch, weights), folder=scratch, cache=scratch / "cache")
        figures |= {f"gib_{count}": cost.gib, f"seconds_{count}": cost.seconds}
        print(json.dumps(figures), file=sys.stderr)
    first, *others = counts
    figures |= {f"gib_more_{count}": figures[f"gib_{count}"] - figures[f"gib_{first}"] for count in others}
    figures |= {f"ratio_{count}": figures[f"gib_{count}"] / figures[f"gib_{first}"] for count in others}
    print(json.dumps(figures))


def job(scratch: Path, weights: Path) -> list[str]:
    """Return the command's arguments."""
    return [
        "train",
        "data=bccd",
        f"data.root={scratch / 'images'}",
        f"backbone.weights={weights.resolve()}",
        "backbone.input_size=224",
        "data.groups=none",
        "split=random",
        "augmentation=none",
        "finetune=none",
        "hyperparameters.epochs=2",
    ]


def fill(folder: Path, root: Path, count: int) -> None:
    """Put so many images of TRAIN and TEST into a folder, the same share of each class; what is missing as copies."""
    files = sorted(path for split in ("TRAIN", "TEST") for path in (root / split).glob("*/*"))
    for number in range(count):
        file = files[number * len(files) // count] if count <= len(files) else files[number % len(files)]
        copy = folder / file.relative_to(root).with_stem(f"{file.stem}_{number // len(files)}")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        if number >= len(files):
            with copy.open("ab") as stream:
                stream.write(number.to_bytes(4, "big"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [int(count) for count in sys.argv[3:]])
