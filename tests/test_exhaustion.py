"""A full disk and too little memory: one line, exit code 1, and no run that looks as if it still ran."""

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import small, small_network, start
from stores import runs_in

from bloodcell.cli.exits import exhausted
from bloodcell.errors import UserError


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def finished(words: list[str], cwd: Path, **environment: str) -> tuple[int, list[str]]:
    process = start(words, cwd=cwd, **environment)
    _, stderr = process.communicate(timeout=250)
    return process.returncode, stderr.splitlines()


def messages(lines: list[str]) -> list[str]:
    """Return the lines that are not of the training's progress."""
    return [line for line in lines if "epoch" not in line and not line.startswith(("rendering", "reading", "features"))]


@pytest.mark.slow
def test_a_full_disk_under_the_store(bccd, small_disk, tmp_path):
    code, lines = finished(["train", *small(bccd), f"tracking.dir={small_disk}/mlruns"], tmp_path)
    assert code == 1
    (line,) = messages(lines)
    assert line.startswith(f"bloodcell: {small_disk}/mlruns/mlflow.db: ")


def test_a_full_disk_under_the_output(bccd, small_disk, tmp_path):
    code, lines = finished(["train", *small_network(bccd), f"hydra.run.dir={small_disk}/run"], tmp_path)
    assert code == 1
    (line,) = messages(lines)
    assert line.startswith(f"bloodcell: {small_disk}/run/")
    assert [run.info.status for run in runs_in(tmp_path)] == ["FAILED"]


@pytest.mark.slow
def test_a_full_disk_under_the_caches_costs_only_time(bccd, small_disk, tmp_path):
    (small_disk / "filled").write_bytes(bytes(290_000))
    words = ["train", *small(bccd), "features=on_the_fly"]
    code, lines = finished(words, tmp_path, XDG_CACHE_HOME=str(small_disk))
    assert code == 0, lines
    assert [run.info.status for run in runs_in(tmp_path)] == ["FINISHED"]


@pytest.mark.parametrize("gigabytes", [1, 3])
def test_too_little_memory(bccd, tmp_path, gigabytes):
    limit = int(gigabytes * 1e9)
    completed = subprocess.run(
        [sys.executable, "-m", "bloodcell", "train", *small_network(bccd)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert completed.returncode == 1
    (line,) = messages(completed.stderr.splitlines())
    assert line.startswith("bloodcell: too little memory (")


class SomeLibraryError(Exception):
    pass


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("can't start new thread"),
        SomeLibraryError("std::bad_alloc"),
        SomeLibraryError("OOM when allocating tensor with shape[64,112,112,64]"),
        ImportError("libtensorflow_cc.so.2: failed to map segment from shared object"),
    ],
)
def test_too_little_memory_is_recognised_in_errors_of_any_library(error):
    assert str(exhausted(error)).startswith("too little memory (")


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device", "/full/file"),
        OSError(122, "Disk quota exceeded", "/full/file"),
        OSError("Unable to flush (file write failed: filename = '/full/file', errno = 28)"),
        SomeLibraryError("(sqlite3.OperationalError) database or disk is full: filename = '/full/file'"),
    ],
)
def test_a_full_disk_is_recognised_in_errors_of_any_library(error):
    assert str(exhausted(error)).startswith("/full/file: the disk is full")


def test_other_errors_are_none_of_these():
    assert exhausted(ValueError("shapes differ")) is None
    assert exhausted(UserError("data.root=std::bad_alloc: no such folder")) is None
    first, second = ValueError("a"), ValueError("b")
    first.__context__, second.__context__ = second, first
    assert exhausted(first) is None
