"""Deliver results that the MLflow store does not have yet, because it was away.

The results of all runs below this folder; of one sweep; to a store that has another address now; also of runs that a
store has lost, such as one with a new database:

  bloodcell sync
  bloodcell sync multirun/2026-01-31/09-00-00
  bloodcell sync outputs uri=http://tracking.example:5000
  bloodcell sync again=true

Every run is delivered once and completely, however often the command is repeated. Runs whose process was killed are
ended. A run that another process still writes is left to it.
"""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bloodcell.config.schemas import SyncConfig
from bloodcell.config.tracking import TrackingConfig
from bloodcell.console.json_output import set_json_result
from bloodcell.errors import StoreLostError
from bloodcell.experiment.recorder import FAILED, read_run
from bloodcell.files import existing_folder
from bloodcell.tracking.courier import courier
from bloodcell.tracking.delivery import Delivery, recorded_delivery
from bloodcell.tracking.local_runs import close_abandoned, is_written, run_folders
from bloodcell.tracking.store import Store, find_store, named_if_lost, prepare_store, quiet_mlflow
from bloodcell.tracking.study import replace_keys


@dataclass(frozen=True)
class Row:
    """A run, and what happened to it."""

    folder: str
    run: str
    state: str


def run(config: SyncConfig, *, output_dir: Path) -> None:  # noqa: ARG001 - nothing is written
    """Deliver the runs in a folder.

    Raises
    ------
    UserError
        If the folder does not exist, or a store is not known.
    StoreLostError
        If a store did not take all results.
    """
    root = existing_folder(config.folder)
    quiet_mlflow()
    given = None if config.uri is None else find_store(TrackingConfig(uri=config.uri))
    prepared: set[Store] = set()
    rows, deliveries = [], []
    for folder in run_folders(root):
        record = read_run(folder) or {}
        if is_written(folder):
            rows.append(Row(str(folder), record["name"], "running"))
            continue
        close_abandoned(folder, status=FAILED)
        delivery = Delivery(folder, store=given) if given is not None else recorded_delivery(folder)
        if delivery.store not in prepared:
            prepare_store(delivery.store)
            prepared.add(delivery.store)
        if config.again or given is not None:
            with named_if_lost(delivery.store, folder):
                delivery.forget_if_lost()
        if not delivery.complete:
            deliveries.append(delivery)
    for delivery in deliveries:
        courier().add(delivery)
    waiting = {each.folder for each in courier().flush(patience=config.wait_seconds)}
    for delivery in deliveries:
        if replace_keys(delivery.folder):
            courier().add(delivery)
    waiting |= {each.folder for each in courier().flush(patience=config.wait_seconds)}
    for each in deliveries:
        record = read_run(each.folder) or {}
        rows.append(Row(str(each.folder), record["name"], "waits" if each.folder in waiting else "delivered"))
    console = Console(highlight=False, soft_wrap=True)
    console.print(_table(rows) if rows else f"{root}: every run is delivered", markup=bool(rows))
    set_json_result(folder=root.absolute(), runs=[vars(row) for row in rows])
    if waiting:
        label = deliveries[0].store.label
        raise StoreLostError(f"{label}: did not take {len(waiting)} runs ({courier().error}); run bloodcell sync again")


def _table(rows: list[Row]) -> Table:
    table = Table(title="Runs", title_justify="left")
    for heading in ("folder", "run", "state"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(escape(row.folder), escape(row.run), row.state)
    return table
