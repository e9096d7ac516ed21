"""The time of a comparison, by the numbers of runs and images.

    uv run python experiments/benchmarks/compare.py 60x12444

For every given number of runs and images, logs runs with predictions (36 images per photograph) to an embedded MLflow
store, and times ``bloodcell compare experiment=…`` with its six metrics, from the command to its exit.

For comparison, times the usual method for one metric: scikit-learn's accuracy on 10,000 bootstrap samples of
photographs for every run and pair; 20 samples are timed. One JSON line has all numbers.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import command
import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from sklearn.metrics import accuracy_score

from bloodcell.evaluation.predictions import predictions_table, write_predictions

CLASSES = ("EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL")
IMAGES_A_PHOTOGRAPH = 36
N_RESAMPLES = 10_000
TIMED = 20


def main(sizes: list[tuple[int, int]]) -> None:
    """Measure every size and print the line."""
    figures: dict[str, float] = {}
    for runs, images in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            tables = fill(folder, runs=runs, images=images)
            cost = command.bloodcell("compare", "experiment=many", folder=folder, cache=folder / "cache")
            report = next(folder.glob("outputs/*/*/artifacts/comparison/report.html"))
            by_hand = otherwise(tables)
            size = f"{runs}x{images}"
            figures |= {
                f"seconds_{size}": cost.seconds,
                f"cpu_seconds_{size}": cost.cpu_seconds,
                f"gib_{size}": cost.gib,
                f"report_mb_{size}": report.stat().st_size / 1e6,
                f"by_hand_seconds_{size}": by_hand,
                f"ratio_{size}": by_hand / cost.seconds,
            }
        print(json.dumps(figures), file=sys.stderr)
    print(json.dumps(figures))


def fill(folder: Path, *, runs: int, images: int) -> list[pd.DataFrame]:
    """Log runs with predictions of 70 to 90 % accuracy to a store."""
    rng = np.random.default_rng(0)
    photograph = np.arange(images) // IMAGES_A_PHOTOGRAPH
    label = photograph % len(CLASSES)
    manifest = pd.DataFrame(
        {
            "path": [f"TEST/{CLASSES[each]}/{number}.jpeg" for number, each in enumerate(label)],
            "label": np.array(CLASSES)[label],
            "group": [f"{each:06}" for each in photograph],
            "split": "test",
        }
    )
    (folder / "mlruns").mkdir()
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}")
    client = MlflowClient()
    experiment = client.create_experiment("many", artifact_location=(folder / "mlruns" / "artifacts").as_uri())
    tables = []
    for number in range(runs):
        logits = rng.normal(size=(images, len(CLASSES)))
        hardness = rng.normal(size=photograph.max() + 1)[photograph]
        logits[np.arange(images), label] += 1.5 + 0.7 * number / runs + hardness
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        table = predictions_table(manifest=manifest, probabilities=probabilities, classes=CLASSES)
        write_predictions(table, folder / "predictions.parquet")
        run = client.create_run(experiment, run_name=f"run {number}", tags={"data_digest": "many", "leaky": "false"})
        client.log_param(run.info.run_id, "hyperparameters.learning_rate", 0.1**number)
        client.log_metric(run.info.run_id, "cost/parameters", 1e6 + 1e5 * number)
        client.log_artifact(run.info.run_id, str(folder / "predictions.parquet"))
        client.set_terminated(run.info.run_id)
        tables.append(table)
    return tables


def otherwise(tables: list[pd.DataFrame]) -> float:
    """Return the estimated seconds of a bootstrap with pandas and scikit-learn."""
    table = tables[0]
    columns = [f"p_{name}" for name in CLASSES]
    predicted = np.array(CLASSES)[table[columns].to_numpy().argmax(axis=1)]
    rows = table.groupby("group").indices
    groups = np.array(list(rows))
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    for _ in range(TIMED):
        chosen = np.concatenate([rows[group] for group in rng.choice(groups, groups.size)])
        accuracy_score(table["label"].to_numpy()[chosen], predicted[chosen])
    once = (time.perf_counter() - start) / TIMED
    return once * N_RESAMPLES * (len(tables) + len(tables) * (len(tables) - 1) / 2)


if __name__ == "__main__":
    main([(int(runs), int(images)) for runs, _, images in (size.partition("x") for size in sys.argv[1:])])
