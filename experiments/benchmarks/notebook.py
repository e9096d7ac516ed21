"""The published notebook's job as in the notebook, and by `bloodcell train experiment=notebook_mobilenetv2`.

    uv run python experiments/benchmarks/notebook.py path/to/blood-cells mobilenetv2.weights.h5

The notebook: Keras's `ImageDataGenerator` and `fit`, a frozen MobileNetV2 at 224 pixels with its head, 15 epochs, then
TEST. Two epochs are timed; the other 13 are assumed to take as long as the second. bloodcell: the whole command, with
an empty cache, so that it also finds the photographs; then with photographs known, but without features; then with
features. Both sides are measured in turn, twice, in processes of their own. One JSON line has all numbers, ratios as
the smallest and the largest.
"""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import command

EPOCHS, TIMED, ROUNDS = 15, 2, 2
SIZE, BATCH = 224, 32
STATES = ("empty", "photographs", "features")


def main(root: Path, weights: Path, rounds: int = ROUNDS) -> None:
    """Measure both and print the line."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)

        def ours(state: str) -> Mapping[str, float]:
            return bloodcell(root, weights, state, scratch)

        sides = {"notebook": lambda: notebook_in_a_process(root, weights, scratch)}
        sides |= {state: lambda state=state: ours(state) for state in STATES}  # type: ignore[misc]
        figures = command.in_turn(sides, rounds=rounds)
    for state in STATES:
        figures[f"{state}_ratio"] = command.ratios(figures["notebook_seconds"], figures[f"{state}_seconds"])
    figures["notebook_extrapolated_from"] = f"{TIMED} of {EPOCHS} epochs"
    print(json.dumps(figures))


def notebook_in_a_process(root: Path, weights: Path, scratch: Path) -> dict[str, float]:
    """Run `notebook` in a process of its own."""
    result = scratch / "notebook.json"
    # Started from another folder, so with absolute paths.
    paths = [str(each.resolve()) for each in (Path(__file__), root, weights)]
    command.cost_of([sys.executable, *paths, "notebook", str(result)], folder=scratch, cache=scratch / "none")
    figures: dict[str, float] = json.loads(result.read_text(encoding="utf-8"))
    return figures


def notebook(root: Path, weights: Path) -> dict[str, float]:
    """Train for two epochs as in the notebook, and evaluate on TEST."""
    started, cpu_started = time.perf_counter(), time.process_time()
    training, validation, test = generators(root)
    import keras

    model = keras.Sequential([frozen_backbone(weights), *head(4)])
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="categorical_crossentropy", metrics=["accuracy"])
    until_fit = time.perf_counter() - started
    ends, cpu_ends = [time.perf_counter()], [time.process_time()]

    def on_end(*_: Any) -> None:
        ends.append(time.perf_counter())
        cpu_ends.append(time.process_time())

    callback = keras.callbacks.LambdaCallback(on_epoch_end=on_end)
    history = model.fit(training, validation_data=validation, epochs=TIMED, verbose=0, callbacks=[callback]).history
    before_test = time.perf_counter()
    _, accuracy = model.evaluate(test, verbose=0)
    first, second = ends[1] - ends[0], ends[2] - ends[1]
    others = (EPOCHS - TIMED) * (cpu_ends[2] - cpu_ends[1])
    return {
        "seconds": until_fit + first + (EPOCHS - 1) * second + time.perf_counter() - before_test,
        "cpu_seconds": time.process_time() - cpu_started + others,
        "epoch_seconds": second,
        "test_accuracy_after_2": float(accuracy),
        "val_accuracy_after_2": float(history["val_accuracy"][-1]),
    }


def generators(root: Path) -> tuple[Any, Any, Any]:
    """Return the notebook's training, validation and TEST batches."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    preprocess = tf.keras.applications.mobilenet_v2.preprocess_input
    make = tf.keras.preprocessing.image.ImageDataGenerator(preprocessing_function=preprocess, validation_split=0.2)
    asked = {"target_size": (SIZE, SIZE), "batch_size": BATCH, "class_mode": "categorical"}
    training = make.flow_from_directory(root / "TRAIN", subset="training", seed=0, **asked)
    validation = make.flow_from_directory(root / "TRAIN", subset="validation", shuffle=False, **asked)
    return training, validation, make.flow_from_directory(root / "TEST", shuffle=False, **asked)


def frozen_backbone(weights: Path) -> Any:
    """Return the notebook's MobileNetV2, frozen."""
    import keras

    application = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    application.load_weights(weights)
    application.trainable = False
    return application


def head(n_classes: int) -> list[Any]:
    """Return the notebook's layers on top."""
    import keras

    return [
        keras.layers.GlobalMaxPooling2D(),
        keras.layers.Dense(256, activation="relu"),
        keras.layers.Dense(n_classes, activation="softmax"),
    ]


def bloodcell(root: Path, weights: Path, state: str, scratch: Path) -> dict[str, float]:
    """Run the command with the cache in a state; the states of a round are measured in the order of `STATES`."""
    job = ["train", "experiment=notebook_mobilenetv2", "data=bccd", f"data.root={root.resolve()}"]
    cache = scratch / "cache"
    if state == "empty":
        shutil.rmtree(cache, ignore_errors=True)
    if state == "photographs":
        shutil.rmtree(cache / "bloodcell" / "features")
    cost = command.bloodcell(*job, f"backbone.weights={weights.resolve()}", folder=scratch, cache=cache)
    metrics = command.newest("outputs/*/*/artifacts/metrics.json", scratch)
    accuracies = {f"{split}_accuracy": metrics[split]["accuracy"] for split in ("val", "test")}
    return {"seconds": cost.seconds, "cpu_seconds": cost.cpu_seconds, "gib": cost.gib, **accuracies}


if __name__ == "__main__":
    if sys.argv[3:4] == ["notebook"]:
        Path(sys.argv[4]).write_text(json.dumps(notebook(Path(sys.argv[1]), Path(sys.argv[2]))), encoding="utf-8")
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
