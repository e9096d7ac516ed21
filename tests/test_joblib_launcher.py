"""The launcher of sweeps in several processes: hydra_plugins/bloodcell_joblib.py."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAM = """
import os, sys, time, warnings
import hydra

def run(config):
    sys.memory = [*getattr(sys, "memory", []), bytearray(b"x") * 350_000_000]
    time.sleep(1.1)
    open(config.file + str(config.x), "w").write(os.environ["LAUNCH"])

if __name__ == "__main__":
    warnings.filterwarnings("error", "A worker stopped")
    for launch, values in (("first", "x=range(2)"), ("second", "x=range(5)")):
        os.environ["LAUNCH"] = launch
        sys.argv[2] = values
        hydra.main(config_path=".", config_name="config", version_base="1.3")(run)()
"""


def sweep_of(program: str, values: str, *, folder: Path) -> list[str]:
    """Write a program, and return the command that sweeps over values of ``x`` in two worker processes."""
    (folder / "program.py").write_text(program)
    (folder / "config.yaml").write_text(f"x: 0\nfile: {folder}/ran\n")
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"hydra.sweep.dir={folder}/out"]
    return [sys.executable, "program.py", "-m", values, *launcher]


@pytest.mark.slow
def test_workers_that_grow_are_replaced_and_each_sweep_has_its_own_environment(tmp_path: Path) -> None:
    command = sweep_of(PROGRAM, "x=0", folder=tmp_path)
    ended = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=60)

    assert ended.returncode == 0, ended.stderr
    assert "Warning" not in ended.stderr
    assert {(tmp_path / f"ran{x}").read_text() for x in range(5)} == {"second"}


WAITING = """
import os, time
import hydra

def run(config):
    open(config.file + str(os.getpid()), "w").close()
    time.sleep(100)

if __name__ == "__main__":
    hydra.main(config_path=".", config_name="config", version_base="1.3")(run)()
"""


@pytest.mark.slow
def test_workers_end_with_a_sweep_that_is_killed(tmp_path: Path) -> None:
    sweep = subprocess.Popen(sweep_of(WAITING, "x=range(2)", folder=tmp_path), cwd=tmp_path)
    _wait_until(lambda: len(list(tmp_path.glob("ran*"))) == 2)
    sweep.kill()
    sweep.wait()
    workers = [int(path.name.removeprefix("ran")) for path in tmp_path.glob("ran*")]
    _wait_until(lambda: not any(Path(f"/proc/{worker}/exe").exists() for worker in workers))


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
