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


@pytest.mark.slow
def test_workers_that_grow_are_replaced_and_each_sweep_has_its_own_environment(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "config.yaml").write_text(f"x: 0\nfile: {tmp_path}/ran \n")
    words = ["-m", "x=0", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"hydra.sweep.dir={tmp_path}/out"]

    ended = subprocess.run(
        [sys.executable, "program.py", *words], cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=60
    )

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
    (tmp_path / "program.py").write_text(WAITING)
    (tmp_path / "config.yaml").write_text(f"x: 0\nfile: {tmp_path}/worker\n")
    words = ["-m", "x=range(2)", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"hydra.sweep.dir={tmp_path}/out"]
    sweep = subprocess.Popen([sys.executable, "program.py", *words], cwd=tmp_path)
    _wait_until(lambda: len(list(tmp_path.glob("worker*"))) == 2)
    sweep.kill()
    sweep.wait()
    workers = [int(path.name.removeprefix("worker")) for path in tmp_path.glob("worker*")]
    _wait_until(lambda: not any(Path(f"/proc/{worker}/exe").exists() for worker in workers))


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
