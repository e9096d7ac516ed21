"""The published notebook's job as in the notebook, and by `bloodcell train experiment=notebook_mobilenetv2`.

    uv run python experiments/benchmarks/notebook.py path/to/blood-cells mobilenetv2.weights.h5

The notebook: Keras's `ImageDataGenerator` and `fit`, a frozen MobileNetV2 at 224 pixels with its head, 15 epochs, then
TEST. Two epochs are timed; the other 13 are assumed to take as long as the second. bloodcell: the whole command, first
without cached features, then with them. Sources are already recovered (experiments/benchmarks/groups.py measures that),
because the notebook does not need them. One JSON line has all numbers.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import command

EPOCHS, TIMED = 15, 2
SIZE, BATCH = 224, 32


def main(root: Path, weights: Path) -> None:
    """Measure both and print the line."""
    ours = bloodcell(root, weights)
    theirs = notebook(root, weights)
    figures = {
        "notebook_seconds": theirs["seconds"],
        "cold_seconds": ours["cold_seconds"],
        "warm_seconds": ours["warm_seconds"],
        "cold_ratio": theirs["seconds"] / ours["cold_seconds"],
        "warm_ratio": theirs["seconds"] / ours["warm_seconds"],
        "notebook_extrapolated_from": f"{TIMED} of {EPOCHS} epochs",
        **{name: value for name, value in (ours | theirs).items() if not name.endswith("seconds")},
        "epoch_seconds": theirs["epoch_seconds"],
    }
    print(json.dumps(figures))


def notebook(root: Path, weights: Path) -> dict[str, float]:
    """Train for two epochs as in the notebook, and evaluate on TEST."""
    started = time.perf_counter()
    training, validation, test = generators(root)
    import keras

    model = keras.Sequential([frozen_backbone(weights), *head(4)])
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="categorical_crossentropy", metrics=["accuracy"])
    until_fit = time.perf_counter() - started
    ends = [time.perf_counter()]
    on_end = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: ends.append(time.perf_counter()))
    history = model.fit(training, validation_data=validation, epochs=TIMED, verbose=0, callbacks=[on_end]).history
    before_test = time.perf_counter()
    _, accuracy = model.evaluate(test, verbose=0)
    first, second = ends[1] - ends[0], ends[2] - ends[1]
    return {
        "seconds": until_fit + first + (EPOCHS - 1) * second + time.perf_counter() - before_test,
        "epoch_seconds": second,
        "notebook_test_accuracy_after_2": float(accuracy),
        "notebook_val_accuracy_after_2": float(history["val_accuracy"][-1]),
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


def bloodcell(root: Path, weights: Path) -> dict[str, float]:
    """Run the command twice, first with a cache without features."""
    job = ["train", "experiment=notebook_mobilenetv2", "data=bccd", f"data.root={root.resolve()}"]
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        command.copy_cache(scratch / "cache")
        for kind in ("cold", "warm"):
            cost = command.bloodcell(
                *job, f"backbone.weights={weights.resolve()}", folder=scratch, cache=scratch / "cache"
            )
            figures = command.newest("outputs/*/*/artifacts/metrics.json", scratch)
            found[f"{kind}_seconds"] = cost.seconds
            found |= {f"{kind}_{split}_accuracy": figures[split]["accuracy"] for split in ("val", "test")}
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
