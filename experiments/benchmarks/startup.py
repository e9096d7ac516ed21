"""Start-up: the help, and the time from a command to its first training steps with a full cache.

    uv run python experiments/benchmarks/startup.py path/to/blood-cells mobilenetv2.weights.h5

`bloodcell --help` and `bloodcell train --help`, and for comparison importing TensorFlow: the best of five. Then
`bloodcell train experiment=notebook_mobilenetv2` on all images until the first steps, first with an empty cache, then
with a full one; and for comparison a Keras script that reads the same images, until its first step. One JSON line has
all numbers.
"""

import json
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import command

TIMES = 5


def main(root: Path, weights: Path) -> None:
    """Measure everything and print the line."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        command.copy_cache(scratch / "cache")
        ways = {
            "help": ["-m", "bloodcell", "--help"],
            "train_help": ["-m", "bloodcell", "train", "--help"],
            "import_tensorflow": ["-c", "import tensorflow"],
        }
        figures = {
            f"{way}_seconds": min(python(arguments, scratch).seconds for _ in range(TIMES))
            for way, arguments in ways.items()
        }
        figures |= {f"{kind}_first_steps_seconds": first_steps(root, weights, scratch) for kind in ("cold", "warm")}
        one = [__file__, "--script", str(root.resolve()), str(weights.resolve())]
        figures["script_first_step_seconds"] = python(one, scratch).seconds
    figures["help_ratio"] = figures["import_tensorflow_seconds"] / figures["help_seconds"]
    figures["ratio"] = figures["script_first_step_seconds"] / figures["warm_first_steps_seconds"]
    print(json.dumps(figures))


def python(arguments: list[str], scratch: Path) -> command.Cost:
    """Run Python."""
    return command.cost_of([sys.executable, *arguments], folder=scratch, cache=scratch / "cache")


def first_steps(root: Path, weights: Path, scratch: Path) -> float:
    """Train, and return the seconds until the log reports the first steps."""
    started = time.time()
    job = [
        "train",
        "experiment=notebook_mobilenetv2",
        "data=bccd",
        f"data.root={root.resolve()}",
        "hyperparameters.epochs=1",
    ]
    command.bloodcell(*job, f"backbone.weights={weights.resolve()}", folder=scratch, cache=scratch / "cache")
    newest = max(scratch.glob("outputs/*/*/train.log"))
    line = next(line for line in newest.read_text(encoding="utf-8").splitlines() if "first steps done" in line)
    return datetime.strptime(" ".join(line.split()[:2]), "%Y-%m-%d %H:%M:%S,%f").timestamp() - started


def script(root: Path, weights: Path) -> None:
    """Train for a step as in the notebook."""
    import notebook

    training, _, _ = notebook.generators(root)
    import keras

    model = keras.Sequential([notebook.frozen_backbone(weights), *notebook.head(4)])
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    model.fit(training, steps_per_epoch=1, epochs=1, verbose=0)


if __name__ == "__main__":
    if sys.argv[1] == "--script":
        script(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
