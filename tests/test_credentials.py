"""Secrets in the address of a store: nothing that a command writes or prints has them."""

from pathlib import Path

import pytest
from commands import run, small, small_network, start
from stores import runs_at

SECRETS = ("hunter2", "t0ken-of-anna", "s3cret-of-anna", "k3y-of-anna", "us3r-anna")
QUERY = "password=hunter2&token=t0ken-of-anna&client_secret=s3cret-of-anna&api_key=k3y-of-anna"


def written_below(folder: Path) -> bytes:
    """Return the names and the bytes of all files."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return b"\n".join(bytes(path.relative_to(folder)) + b"\n" + path.read_bytes() for path in files)


def found_in(content: bytes) -> list[str]:
    return [secret for secret in SECRETS if secret.encode() in content]


@pytest.mark.parametrize("named_by", ["setting", "environment", pytest.param("sweep", marks=pytest.mark.slow)])
def test_a_run_has_no_secret_of_its_stores_address(bccd, tmp_path, monkeypatch, named_by):
    uri = f"sqlite:///file:{tmp_path}/kept.db?uri=true&{QUERY}"
    words = ["train", *small_network(bccd), f"tracking.dir={tmp_path}/kept"]
    if named_by == "environment":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    else:
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        words.append(f'tracking.uri="{uri}"')
    if named_by == "sweep":
        words += ["-m", "hyperparameters.seed=0,1"]
    completed = run(words, cwd=tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert completed.returncode == 0, completed.stderr
    assert runs_at(uri)
    assert (tmp_path / "kept.db").stat().st_size
    assert found_in(written_below(tmp_path)) == []
    assert found_in((completed.stdout + completed.stderr).encode()) == []


@pytest.mark.parametrize(
    "uri",
    [
        f"sqlite:///kept.db?{QUERY}",
        "http://us3r-anna:hunter2@127.0.0.1:9/path?token=t0ken-of-anna",
        f"postgresql://us3r-anna:hunter2@127.0.0.1:9/db?{QUERY}",
        "foo://us3r-anna:hunter2@host?token=t0ken-of-anna",
        "us3r-anna:hunter2@host",
    ],
)
@pytest.mark.parametrize("job", ["train", "compare"])
def test_the_message_about_an_address_has_no_secret_of_it(bccd, tmp_path, monkeypatch, uri, job):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    words = small(bccd) if job == "train" else ["runs=[a,b]"]
    completed = run([job, *words, f'tracking.uri="{uri}"'], cwd=tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert completed.returncode == 2
    assert completed.stderr.splitlines()[-1].startswith("bloodcell: ")
    assert "Traceback" not in completed.stderr
    assert found_in((completed.stdout + completed.stderr).encode()) == []
    assert found_in(written_below(tmp_path)) == []


def test_the_traceback_of_a_fault_has_no_secret(bccd, tmp_path, tmp_path_factory):
    """A fault of the program, which keeps its traceback: one in a dependency, whose message has the address."""
    planted = tmp_path_factory.mktemp("planted")
    (planted / "sitecustomize.py").write_text(
        "import sys, importlib.abc\n"
        "class Finder(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'bloodcell.experiment.fold':\n"
        "            raise RuntimeError('postgresql://us3r-anna:hunter2@host/db?token=t0ken-of-anna does not answer')\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    process = start(["train", *small_network(bccd)], cwd=tmp_path, PYTHONPATH=str(planted))
    stdout, stderr = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "RuntimeError" in stderr
    assert found_in((stdout + stderr).encode()) == []
    assert found_in(written_below(tmp_path)) == []
