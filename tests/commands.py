"""Running the command line as a user would: in this process, which is faster, or in one of its own."""

import contextlib
import io
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from undrawn import PIXEL, one_pixel

from bloodcell.audit import page
from bloodcell.cli.main import main
from bloodcell.plots.drawing import Pictures

REPOSITORY = Path(__file__).resolve().parents[1]


class Completed(NamedTuple):
    """Exit code and output of a command."""

    returncode: int
    stdout: str
    stderr: str


def run(arguments: Sequence[str], *, cwd: Path, drawn: bool = False) -> Completed:
    """Run ``bloodcell`` with these arguments in a folder, in this process.

    Unless ``drawn``, the pictures of a run or an audit are one pixel each: to draw them takes longer than a small
    training.
    """
    stdout, stderr = io.StringIO(), io.StringIO()
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    code = 0
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
        pytest.MonkeyPatch.context() as patch,
    ):
        if not drawn:
            patch.setattr(Pictures, "draw", one_pixel)
            patch.setattr(page, "_png", lambda _: PIXEL)
        try:
            main(arguments)
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            for handler in set(root.handlers) - set(handlers):  # Hydra sets up logging for itself
                handler.close()
            root.handlers[:], root.level = handlers, level
    return Completed(code, stdout.getvalue(), stderr.getvalue())


UNDRAWN = f"""
import sys
sys.path.append({str(REPOSITORY / "tests")!r})
from undrawn import one_pixel
from bloodcell.cli.main import main
from bloodcell.plots.drawing import Pictures
Pictures.draw = one_pixel
main()
"""


def start(arguments: Sequence[str], *, cwd: Path, drawn: bool = False, **environment: str) -> "subprocess.Popen[str]":
    """Start ``bloodcell`` with these arguments in a folder, in a process of its own.

    Unless ``drawn``, a run's pictures are one pixel each, but for those of processes that it starts.
    """
    return subprocess.Popen(
        [sys.executable, *(["-m", "bloodcell"] if drawn else ["-c", UNDRAWN]), *arguments],
        cwd=cwd,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def small(data: Path) -> list[str]:
    """Return overrides that make a run as small as it can be: no network, for which TensorFlow would be prepared."""
    return [
        *("data=bccd", f"data.root={data}", "backbone=colour_histogram", "head=probe", "finetune=none"),
        *("hyperparameters.epochs=1", "hyperparameters.batch_size=16", "baselines=[]", "explain=none"),
        "log_model=false",
        # Every image its own photograph.
        *("data.groups=pattern", "data.groups_pattern='(.+)'", "data.group_name=photograph"),
    ]


def small_network(data: Path) -> list[str]:
    """Return overrides of a run with a network that has few layers, so that TensorFlow is soon done."""
    network = ["backbone=application", "backbone.name=VGG16", "backbone.weights=null", "backbone.input_size=32"]
    return [*small(data), *network, "head=dense", "log_model=true"]
