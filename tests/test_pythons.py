"""The package on the other Pythons that it supports, each with an environment of its own."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from commands import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSIONS = [words.split()[-1] for words in PROJECT["classifiers"] if words.startswith("Programming Language :: Python")]
OTHERS = [version for version in VERSIONS if version != f"{sys.version_info.major}.{sys.version_info.minor}"]

TRAIN = [
    *("train", "debug=one_batch", "data.train_photographs=20", "data.test_photographs=20", "data.copies=2"),
    *("backbone.weights=null", "backbone.input_size=75", "explain=none", "log_model=false"),
]
COMPARE = """
import json, pathlib, sys
import pandas
from bloodcell.comparison import compare

(table,) = pathlib.Path().glob("outputs/*/*/artifacts/predictions.parquet")
one = pandas.read_parquet(table)
columns = [column for column in one if column.startswith("p_")]
other = one.assign(**{column: 1 / len(columns) for column in columns})
found = compare({"one": one, "other": other}, metrics=["accuracy"], n_resamples=200, seed=0)
print(json.dumps([list(sys.version_info[:2]), sorted(set(found.estimates["run"])), len(found.verdicts)]))
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("version", OTHERS)
def test_the_package_is_installed_trains_and_compares(version: str, tmp_path: Path) -> None:
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed")
    made = subprocess.run([uv, "venv", "--python", version, "env"], cwd=tmp_path, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"uv found no Python {version}: {made.stderr.strip().splitlines()[-1]}")
    python = tmp_path / "env" / "bin" / "python"

    def do(*command: str | Path) -> str:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    locked = ["export", "--quiet", "--frozen", "--no-default-groups", "--no-emit-project", "-o", "locked.txt"]
    do(uv, *locked, "--project", REPOSITORY)
    do(uv, "pip", "install", "--quiet", "--python", python, "-r", "locked.txt", REPOSITORY)
    do(python, "-m", "bloodcell", *TRAIN)
    running, runs, n_verdicts = json.loads(do(python, "-c", COMPARE))
    assert ".".join(map(str, running)) == version
    assert {"one", "other"} <= set(runs)
    assert n_verdicts >= 1
