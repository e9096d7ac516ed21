"""The cost of a study by its number of runs: delivery, store, leaderboard, comparison, sync, doctor.

    uv run python experiments/benchmarks/scale.py --runs 1000
    uv run python experiments/benchmarks/scale.py --runs 300 --server
    uv run python experiments/benchmarks/scale.py --runs 300 --server --database postgresql://USER:PASSWORD@HOST/NAME

Fills a store with the runs of one sweep as trainings record and deliver them, without a model: about 100 parameters, 60
metrics, 6 metrics of 20 epochs, 35 tags, predictions and manifest of 300 images, and three plots of 20 kB. Then
measures each step of a study on them. Without ``--server`` the store is the embedded one; with it an MLflow server on
this machine, whose requests are counted in its log.

Prints one JSON line: for each step ``seconds``, ``cpu_seconds`` (of this program, not of a server) and ``requests``,
and bytes a run in the database and in artifacts. ``--keep FOLDER`` keeps the store, or measures one that was kept.
"""

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import command
import numpy as np
import pandas as pd
import yaml
from PIL import Image

from bloodcell.comparison.leaderboard import METRICS
from bloodcell.config.keywords import train_config
from bloodcell.config.parameters import as_plain, parameters_of
from bloodcell.config.tracking import TrackingConfig
from bloodcell.console.progress import track
from bloodcell.evaluation.predictions import predictions_table, write_predictions
from bloodcell.experiment.environment import environment_tags
from bloodcell.experiment.recorder import FINISHED, read_run
from bloodcell.tracking.resuming import folder_to_resume
from bloodcell.tracking.run import SWEEP_JOB_TAG, TrackedRun
from bloodcell.tracking.store import existing_store
from bloodcell.tracking.study import Study, start_study
from bloodcell.tracking.study_report import show_study

CLASSES = ("EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL")
IMAGES, IMAGES_A_PHOTOGRAPH = 300, 3
EPOCHS, METRICS_A_RUN, PLOTS, PIXELS = 20, 60, 3, 80
SWEEP = "multirun/2026-01-01/00-00-00"
"""The folder of the sweep."""


@dataclass
class Epoch:
    """The metrics of an epoch, as those of `bloodcell.training.trainer`, which loads TensorFlow."""

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    seconds: float


@dataclass
class Measured:
    """The cost of each step, and the log of the server, if there is one."""

    log: Path | None
    costs: dict[str, dict[str, float]] = field(default_factory=dict)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a step in this process."""
        wall, cpu, requests = time.perf_counter(), time.process_time(), self.requests()
        yield
        self.note(name, time.perf_counter() - wall, time.process_time() - cpu, requests)

    def command(self, name: str, *arguments: str, folder: Path) -> None:
        """Measure a command, from its start to its exit."""
        requests = self.requests()
        cost = command.bloodcell(*arguments, folder=folder, cache=folder / "cache")
        self.note(name, cost.seconds, cost.cpu_seconds, requests)
        self.costs[name]["gib"] = round(cost.gib, 2)

    def note(self, name: str, seconds: float, cpu_seconds: float, requests: int) -> None:
        """Keep the cost of a step that began after a number of requests."""
        self.costs[name] = {"seconds": round(seconds, 2), "cpu_seconds": round(cpu_seconds, 2)}
        if self.log is not None:
            time.sleep(0.5)  # the server writes its log a little later
            self.costs[name]["requests"] = self.requests() - requests
        print(name, self.costs[name], file=sys.stderr)

    def requests(self) -> int:
        """Return the number of requests that the server has answered."""
        return 0 if self.log is None else self.log.read_text(encoding="utf-8").count("HTTP/1.1")


def main() -> None:
    """Measure everything and print the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2, help="processes that fill the store")
    parser.add_argument("--server", action="store_true", help="use an MLflow server rather than the embedded store")
    parser.add_argument("--database", help="the server's database; by default SQLite")
    parser.add_argument("--keep", type=Path, help="keep the store in this folder, or measure the one that is there")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        measured = Measured(log=folder / "server.log" if given.server else None)
        if given.server:
            address = stack.enter_context(server(folder, database=given.database))
            os.environ["MLFLOW_TRACKING_URI"] = address  # also of the commands
        os.chdir(folder)
        tracking = TrackingConfig()
        if not (folder / SWEEP).is_dir():
            fill(folder, tracking, measured, runs=given.runs, workers=given.workers)
        measure(folder, tracking, measured)
        print(json.dumps({"runs": given.runs, "load": os.getloadavg()[0], **measured.costs, **sizes(folder, given)}))


def fill(folder: Path, tracking: TrackingConfig, measured: Measured, *, runs: int, workers: int) -> None:
    """Record and deliver the runs of a sweep; the cost is that of all processes."""
    study = start_study(tracking=tracking, overrides=[f"hyperparameters.seed=range({runs})"], folder=folder / SWEEP)
    requests, wall = measured.requests(), time.perf_counter()
    tracking = TrackingConfig(parent_run=study.run_id)
    with ProcessPoolExecutor(workers) as pool:
        given = [(folder / SWEEP / str(number), number, runs, tracking) for number in range(runs)]
        cpu = list(track(pool.map(deliver, given, chunksize=5), "delivering runs", total=runs))
    measured.note("delivery", time.perf_counter() - wall, sum(cpu), requests)


def deliver(given: tuple[Path, int, int, TrackingConfig]) -> float:
    """Record a run in its folder and deliver it; return the processor seconds of the delivery."""
    folder, number, runs, tracking = given
    rng = np.random.default_rng(number)
    config = train_config(
        data={"source": "bccd", "root": "cells"}, hyperparameters={"learning_rate": 1e-4 * 1.001**number}
    )
    tags = environment_tags() | {
        "data_digest": "many",
        "leaky": "false",
        "groups": "pattern",
        SWEEP_JOB_TAG: str(number),
    }
    name = f"learning_rate={config.hyperparameters.learning_rate:.6g}"
    run = TrackedRun(folder, name=f"{number}: {name}", tags=environment_tags() | tags, tracking=tracking)
    run.log_parameters(parameters_of(config))
    manifest, probabilities = predicted(rng, better=0.7 * number / runs)
    names = dict.fromkeys([*METRICS.values(), "cost/flops", "cost/images_per_second"])
    names |= dict.fromkeys(f"test/metric_{each}" for each in range(METRICS_A_RUN - len(names)))
    right = float((probabilities.argmax(axis=1) == np.arange(IMAGES) // IMAGES_A_PHOTOGRAPH % len(CLASSES)).mean())
    values = {name: right if "accuracy" in name else 1e6 + number for name in names}
    run.log_metrics(values, prefix="")
    for epoch in range(EPOCHS):
        run.log_epoch(Epoch(epoch, *map(float, rng.random(6))))
    run.artifacts.mkdir(parents=True, exist_ok=True)
    (run.artifacts / "config.yaml").write_text(yaml.safe_dump(as_plain(config), sort_keys=False), encoding="utf-8")
    manifest.to_parquet(run.artifacts / "manifest.parquet")
    write_predictions(
        predictions_table(manifest=manifest, probabilities=probabilities, classes=CLASSES),
        run.artifacts / "predictions.parquet",
    )
    (run.artifacts / "plots").mkdir(exist_ok=True)
    for plot in range(PLOTS):
        pixels = rng.integers(0, 255, size=(PIXELS, PIXELS, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(run.artifacts / "plots" / f"{plot}.png")
    run.log_dataset(manifest, name="many", source="many", digest="many")
    run.describe("A run of the benchmark.")
    run.log_artifacts()
    run.close(FINISHED)
    start = time.process_time()
    run.delivery.deliver()
    return time.process_time() - start


def predicted(rng: np.random.Generator, *, better: float) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a manifest and predictions of 70 to 90 % accuracy, more for a larger ``better``."""
    photograph = np.arange(IMAGES) // IMAGES_A_PHOTOGRAPH
    label = photograph % len(CLASSES)
    hardness = np.random.default_rng(0).normal(size=photograph.max() + 1)[photograph]
    logits = rng.normal(size=(IMAGES, len(CLASSES)))
    logits[np.arange(IMAGES), label] += 1.5 + better + hardness
    manifest = pd.DataFrame(
        {
            "path": [f"TEST/{CLASSES[each]}/{number:05}.jpeg" for number, each in enumerate(label)],
            "label": np.array(CLASSES)[label],
            "source": [f"photograph {each:05}" for each in photograph],
            "group": [f"photograph {each:05}" for each in photograph],
            "split": "test",
            "sha256": [f"{number:064x}" for number in range(IMAGES)],
        }
    )
    return manifest, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def measure(folder: Path, tracking: TrackingConfig, measured: Measured) -> None:
    """Measure the steps on a filled store."""
    with measured.step("open the store"):
        existing_store(tracking)
    record = read_run(folder / SWEEP) or {}
    run = TrackedRun(folder / SWEEP, name=record["name"], tags=record["tags"], tracking=tracking, resume=True)
    study = Study(run)
    with measured.step("close the runs"):
        entries = study.close_runs(expected=None, interrupted=False)
    with measured.step("keep the leaderboard"):
        table = study.end(entries, interrupted=False)
    with measured.step("print the leaderboard"), contextlib.redirect_stdout(sys.stderr):
        show_study(study, entries, table)
    with measured.step("find what to resume"):
        folder_to_resume(True, digest="none", roots=[folder / "multirun"], tracking=tracking)
    measured.command("compare", "compare", f"study={study.run_id}", folder=folder)
    measured.command("compare again", "compare", f"study={study.run_id}", folder=folder)
    measured.command("sync", "sync", folder=folder)
    measured.command("doctor", "doctor", folder=folder)


def sizes(folder: Path, given: argparse.Namespace) -> dict[str, float]:
    """Return the bytes a run in an SQLite database and in artifacts, and the megabytes of the report."""
    database, kept = (
        folder / each for each in (("server.db", "kept") if given.server else ("mlruns/mlflow.db", "mlruns/artifacts"))
    )
    pages = [path.stat().st_size for path in folder.glob("outputs/*/*/artifacts/comparison/report.html")]
    found = {
        "artifact_bytes_a_run": sum(path.stat().st_size for path in kept.rglob("*") if path.is_file()) / given.runs,
        "report_mb": max(pages, default=0) / 1e6,
    }
    return found | ({"database_bytes_a_run": database.stat().st_size / given.runs} if database.exists() else {})


@contextlib.contextmanager
def server(folder: Path, *, database: str | None) -> Iterator[str]:
    """Run an MLflow server with its store in a folder, or another database; give its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"),
                *("--backend-store-uri", database or f"sqlite:///{folder / 'server.db'}"),
                *("--artifacts-destination", str(folder / "kept")),
            ],
            cwd=folder,
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(600):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"{address}/health", timeout=5).close()
                    break
                time.sleep(0.2)
            yield address
        finally:
            os.killpg(process.pid, 15)
            process.wait()


if __name__ == "__main__":
    main()
