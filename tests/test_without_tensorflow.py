"""What works where TensorFlow is not installed: all that reads tables of predictions and runs of a store."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from stores import runs_in

WITHOUT = """
import importlib.metadata
import sys

for name in ("tensorflow", "keras", "keras_tuner"):
    sys.modules[name] = None  # importing it raises ImportError
installed = importlib.metadata.version


def version(name):
    if name in ("tensorflow", "keras", "keras-tuner"):
        raise importlib.metadata.PackageNotFoundError(name)
    return installed(name)


importlib.metadata.version = version
"""
CLASSES = ("EOSINOPHIL", "NEUTROPHIL")


def without_tensorflow(code: str, *, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"{WITHOUT}\n{code}"], cwd=cwd, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def predictions(*, correct: float) -> pd.DataFrame:
    random = np.random.default_rng(0)
    labels = np.repeat(CLASSES, 40)
    of_label = np.where(random.random(len(labels)) < correct, 0.9, 0.2)
    first = np.where(labels == CLASSES[0], of_label, 1 - of_label)
    names = [f"{number}.png" for number in range(len(labels))]
    return pd.DataFrame(
        {"path": names, "label": labels, "group": names, "split": "test", "fold": pd.NA, "p_EOSINOPHIL": first}
    ).assign(p_NEUTROPHIL=1 - first, fold=lambda table: table["fold"].astype("Int64"))


@pytest.fixture
def folder(tmp_path):
    for name, correct in (("good", 0.95), ("bad", 0.6)):
        predictions(correct=correct).to_parquet(tmp_path / f"{name}.parquet")
    return tmp_path


def test_reading_tables_needs_no_tensorflow(folder):
    code = """
import pandas as pd
import bloodcell.jobs.audit, bloodcell.jobs.register, bloodcell.tracking.card_facts
from bloodcell.cli.main import main
from bloodcell.comparison import compare

main(["--help"])
print(list(compare({name: pd.read_parquet(f"{name}.parquet") for name in ("good", "bad")}, n_resamples=200).verdicts))
"""
    said = without_tensorflow(code, cwd=folder)
    assert "bloodcell JOB" in said
    assert "verdict" in said


def test_files_and_runs_of_a_store_are_compared_on_the_command_line(folder):
    store = folder / "mlruns" / "mlflow.db"
    store.parent.mkdir()
    client, ids = MlflowClient(f"sqlite:///{store}"), []
    experiment = client.create_experiment("bloodcell", artifact_location=str(folder / "mlruns" / "artifacts"))
    for name in ("good", "bad"):
        run = client.create_run(experiment, run_name=name, tags={"data_digest": "0", "leaky": "false"})
        pd.read_parquet(folder / f"{name}.parquet").to_parquet(folder / "predictions.parquet")
        client.log_artifact(run.info.run_id, str(folder / "predictions.parquet"))
        client.set_terminated(run.info.run_id)
        ids.append(run.info.run_id)
    code = "from bloodcell.cli.main import main\n"
    for runs in ("good.parquet,bad.parquet", ",".join(ids)):
        code += f"main(['compare', 'runs=[{runs}]', 'n_resamples=200'])\n"
    assert without_tensorflow(code, cwd=folder).count("good is better than bad") == 2
    comparisons = runs_in(folder)[2:]
    assert len(comparisons) == 2
    assert all("tensorflow" not in comparison.data.tags["versions"] for comparison in comparisons)
