"""Run a small study on rendered blood smears and open its report.

It trains two backbones and their baselines, compares them, and needs no data. It shows the two commands that it runs:

  bloodcell demo
  bloodcell demo open=false
  bloodcell demo backbones=[mobilenetv2,xception] photographs=640
"""

import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console

from bloodcell.config.quoting import for_shell, override
from bloodcell.config.schemas import DemoConfig
from bloodcell.config.tracking import TrackingConfig
from bloodcell.console.json_output import set_json_result
from bloodcell.console.progress import print_status
from bloodcell.console.screen import open_in_browser
from bloodcell.signals import Terminated
from bloodcell.tracking.store import open_store
from bloodcell.tracking.study import run_named
from bloodcell.tracking.where import mlflow_ui


def run(config: DemoConfig, *, output_dir: Path) -> None:
    """Train a sweep, compare its runs, show the report.

    Raises
    ------
    UserError
        If the store cannot be opened.
    SystemExit
        If one of the two commands fails, with its exit code; it has printed the reason.
    """
    store, _ = open_store(config.tracking)
    report = output_dir / "report"
    name = f"demo of {datetime.now():%Y-%m-%d %H:%M:%S}"
    where = _where(config.tracking)
    sweep = [
        f"backbone={','.join(config.backbones)}",
        f"data.train_photographs={config.photographs}",
        f"data.copies={config.copies}",
        f"split.folds={config.folds}",
    ]
    _command(["train", "-m", "experiment=demo", *sweep, override("tracking.run_name", name), *where])
    study = run_named(name, config.tracking)
    _command(["compare", f"study={study}", override("output", report), *where])
    console = Console(highlight=False, soft_wrap=True)
    page = report / "report.html"
    opened = config.open and open_in_browser(page.resolve().as_uri())
    set_json_result(study=study, report=page, opened=bool(opened), tracking=store.label)
    console.print(f"{'Opened' if opened else 'Report':11} {page}", markup=False)
    console.print(f"MLflow UI   {mlflow_ui(config.tracking, store)}", markup=False)
    console.print("Next        bloodcell init path/to/your/images", markup=False)


def _where(tracking: TrackingConfig) -> list[str]:
    """Return the overrides that make another command use the same store."""
    settings = {"dir": tracking.dir, "uri": tracking.uri, "experiment_name": tracking.experiment_name}
    given = [override(f"tracking.{name}", value) for name, value in settings.items() if value is not None]
    return [f"tracking={tracking.store}", *given]


def _command(words: Sequence[str]) -> None:
    """Run a bloodcell command as the user would, and exit if it fails."""
    print_status(f"bloodcell {for_shell(words)}")
    process = subprocess.Popen([sys.executable, "-m", "bloodcell", *words])
    try:
        code = process.wait()
    except Terminated:
        process.terminate()  # the command closes files and runs first
        process.wait()
        raise
    except KeyboardInterrupt:
        process.wait()  # the command was also interrupted
        raise
    if code:
        raise SystemExit(code)
