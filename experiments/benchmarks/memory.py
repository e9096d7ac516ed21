"""The peak memory of a run, by the number of images.

    uv run python experiments/benchmarks/memory.py path/to/blood-cells mobilenetv2.weights.h5 1000 12444 100000

Trains MobileNetV2 at 224 pixels for two epochs, with the whole command in a new process with an empty cache for each
count. Counts above the set's size use copies with a few bytes appended, which the store treats as different images.
Sources are not recovered (experiments/benchmarks/groups.py measures that). One JSON line has all numbers.

Estimate. Resident for each image: its row of the manifest (about 1 kB as Python objects, with some copies while tables
are joined), its record in the feature store's index (41 bytes on disk, about 250 as a dictionary's entry), its
predictions (about 100 bytes). Features are memory-mapped: MobileNetV2's row is 10 kB, so 12,444 images are 127 MB of a
file that the system can drop from memory at any time, although it counts as resident; 100,000 images are 1 GB. At most
a few batches of 32 images at 224 x 224 x 3 float32, 19 MB each, are in memory.
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
    """Link images of TRAIN and TEST into a folder, stratified by class, with copies if there are too few."""
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
