"""A search of 50 trials over head and optimizer: keras-tuner, and `bloodcell search`.

    uv run python experiments/benchmarks/search.py path/to/blood-cells mobilenetv2.weights.h5

Both choose pooling, hidden units, dropout, optimizer and learning rate of a head on a frozen MobileNetV2 at 224 pixels,
on the published notebook's images and split, with 15 epochs per trial. keras-tuner: `keras_tuner.RandomSearch` with a
model that reads the images. One epoch of each of two trials is timed, including building and tracing the model (about
1 %); all other epochs and trials are assumed to take as long. bloodcell: the whole command with features stored, with
every trial's predictions and metrics in MLflow, as it is and with `head.projection=512`. Both sides are measured in
turn, twice, in processes of their own. One JSON line has all numbers, ratios as the smallest and the largest.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import command
import notebook

TRIALS, TIMED, EPOCHS, ROUNDS = 50, 2, 15, 2


def main(root: Path, weights: Path, n_trials: int = TRIALS, rounds: int = ROUNDS) -> None:
    """Measure both and print the line."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        command.copy_cache(scratch / "cache")
        bloodcell(root, weights, 1, scratch)  # stores the features
        sides = {
            "keras_tuner": lambda: plainly_in_a_process(root, weights, scratch),
            "bloodcell": lambda: bloodcell(root, weights, n_trials, scratch),
            "projected": lambda: bloodcell(root, weights, n_trials, scratch, "head.projection=512"),
        }
        figures = command.in_turn(sides, rounds=rounds)
    plain = [epoch * EPOCHS * n_trials for epoch in figures["keras_tuner_epoch_seconds"]]
    figures |= {"keras_tuner_seconds": plain, "trials": n_trials}
    figures["keras_tuner_extrapolated_from"] = f"1 of {EPOCHS} epochs of {TIMED} of {n_trials} trials"
    for side in ("bloodcell", "projected"):
        figures[f"{side}_ratio"] = command.ratios(plain, figures[f"{side}_seconds"])
    print(json.dumps(figures))


def plainly_in_a_process(root: Path, weights: Path, scratch: Path) -> dict[str, float]:
    """Run `plainly` in a process of its own."""
    result = scratch / "plainly.json"
    paths = [str(each.resolve()) for each in (Path(__file__), root, weights)]
    cost = command.cost_of([sys.executable, *paths, "plainly", str(result)], folder=scratch, cache=scratch / "none")
    seconds = json.loads(result.read_text(encoding="utf-8"))
    return {"epoch_seconds": seconds, "cpu_seconds_of_two_epochs": cost.cpu_seconds}


def plainly(root: Path, weights: Path) -> float:
    """Search as in keras-tuner's guide; return the seconds of an epoch with its validation."""
    training, validation, _ = notebook.generators(root)
    import keras
    import keras_tuner

    def build(choose: keras_tuner.HyperParameters) -> Any:
        pooling = choose.Choice("pooling", ["average", "max"])
        kind = keras.layers.GlobalMaxPooling2D if pooling == "max" else keras.layers.GlobalAveragePooling2D
        layers = [notebook.frozen_backbone(weights), kind()]
        if units := choose.Choice("units", [0, 64, 256]):
            layers.append(keras.layers.Dense(units, activation="relu"))
        layers.append(keras.layers.Dropout(choose.Float("dropout", 0.0, 0.6, step=0.1)))
        model = keras.Sequential([*layers, keras.layers.Dense(4, activation="softmax")])
        optimizer = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}[choose.Choice("kind", ["adam", "sgd"])]
        rate = choose.Float("learning_rate", 1e-4, 3e-2, sampling="log")
        model.compile(optimizer=optimizer(rate), loss="categorical_crossentropy", metrics=["accuracy"])
        return model

    with tempfile.TemporaryDirectory() as folder:
        tuner = keras_tuner.RandomSearch(build, objective="val_accuracy", max_trials=TIMED, seed=1, directory=folder)
        started = time.perf_counter()
        tuner.search(training, validation_data=validation, epochs=1, verbose=0)
        return (time.perf_counter() - started) / TIMED


def bloodcell(root: Path, weights: Path, n_trials: int, scratch: Path, *overrides: str) -> dict[str, float]:
    """Run the command in a new folder."""
    job = ["search", "tuner=random", f"tuner.max_trials={n_trials}", "experiment=notebook_mobilenetv2"]
    job += ["data=bccd", f"data.root={root.resolve()}", f"backbone.weights={weights.resolve()}"]
    job += [f"hyperparameters.epochs={EPOCHS}", "hyperparameters.early_stopping.patience=null", *overrides]
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        folder = Path(name)
        cost = command.bloodcell(*job, folder=folder, cache=scratch / "cache")
        files = folder.glob("searches/*/trial_*/trial.json")
        scores = [json.loads(file.read_text(encoding="utf-8"))["score"] for file in files]
    finished = [score for score in scores if score is not None]
    return {
        "seconds": cost.seconds,
        "cpu_seconds": cost.cpu_seconds,
        "gib": cost.gib,
        "finished_trials": len(finished),
        "best_val_accuracy": max(finished),
    }


if __name__ == "__main__":
    if sys.argv[3:4] == ["plainly"]:
        Path(sys.argv[4]).write_text(json.dumps(plainly(Path(sys.argv[1]), Path(sys.argv[2]))), encoding="utf-8")
    else:
        main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
