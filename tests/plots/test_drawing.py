import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from bloodcell.plots.drawing import Pictures, save_figure
from bloodcell.plots.training import confusion_matrix

COUNTS = np.array([[5, 1], [2, 7]])
SETTINGS = {"classes": ("a", "b"), "title": "Confusion"}


def killing(folder: Path) -> Figure:
    """End the process that draws, the first time."""
    if not (folder / "tried").exists():
        (folder / "tried").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return confusion_matrix(COUNTS, **SETTINGS)


def test_another_process_draws_the_same_bytes(tmp_path):
    with Pictures(tmp_path / "background") as pictures:
        pictures.draw("confusion", confusion_matrix, COUNTS, **SETTINGS)
    save_figure(confusion_matrix(COUNTS, **SETTINGS), tmp_path / "here", "confusion")
    background, here = (tmp_path / place / "plots" / "confusion.png" for place in ("background", "here"))
    assert background.read_bytes() == here.read_bytes()


def test_an_error_of_drawing_is_raised_at_the_end(tmp_path):
    pictures = Pictures(tmp_path)
    pictures.draw("confusion", confusion_matrix, COUNTS, classes=("a",), title="Confusion")
    with pytest.raises(ValueError, match="matrix has shape"), pictures:
        pass


def test_an_error_of_drawing_does_not_hide_an_earlier_error(tmp_path):
    def training() -> None:
        with Pictures(tmp_path) as pictures:
            pictures.draw("confusion", confusion_matrix, COUNTS, classes=("a",), title="Confusion")
            raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        training()


def test_all_plots_are_drawn_if_the_process_is_killed(tmp_path):
    with Pictures(tmp_path) as pictures:
        pictures.draw("first", killing, tmp_path)
        pictures.draw("second", confusion_matrix, COUNTS, **SETTINGS)
    assert (tmp_path / "tried").exists()
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {"first.png", "second.png"}


SCRIPT = """
import sys, time
import numpy as np
from pathlib import Path
from bloodcell.plots.drawing import Pictures, _process
from bloodcell.plots.training import confusion_matrix

with Pictures(Path(sys.argv[1])) as pictures:
    pictures.draw("confusion", confusion_matrix, np.eye(2, dtype=int), classes=("a", "b"), title="Confusion")
print(*_process()._processes, flush=True)
time.sleep(60)
"""


def test_a_script_needs_no_guard_and_leaves_no_process_behind_when_it_is_killed(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    script = subprocess.Popen([sys.executable, tmp_path / "script.py", tmp_path], stdout=subprocess.PIPE, text=True)
    (drawing,) = map(int, script.stdout.readline().split())
    script.kill()
    script.communicate()
    deadline = time.monotonic() + 30
    while is_there(drawing):
        assert time.monotonic() < deadline, "a process was left behind"
        time.sleep(0.1)


def is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "zombie" not in Path(f"/proc/{process}/status").read_text()
