"""Say what is wrong with the store, the runs and the searches on this machine, and repair it.

Look, and repair what is harmless; repair everything that can be repaired:

  bloodcell doctor
  bloodcell doctor repair=true

Every command makes the harmless repairs when it starts a run: it upgrades the database to this version of MLflow,
corrects its places of artifacts if the folder was moved, and ends runs whose process is gone. With repair=true, broken
files are moved away, left-over files are removed, and runs of other machines are ended after 15 minutes without a sign
of life. The exit code is 1 if something is left to do.
"""

from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bloodcell.config.schemas import DoctorConfig
from bloodcell.console.json_output import set_json_result
from bloodcell.data.smears import smears_dir
from bloodcell.errors import FindingsError
from bloodcell.files import existing_folder, left_over_files
from bloodcell.search.folder import damaged_searches
from bloodcell.tracking.dead_runs import end_dead_runs
from bloodcell.tracking.health import Problem, broken_database, undelivered_runs
from bloodcell.tracking.run import deliver_all
from bloodcell.tracking.store import find_store, open_store
from bloodcell.training.feature_store import features_dir


def run(config: DoctorConfig, *, output_dir: Path) -> None:  # noqa: ARG001 - nothing is written
    """Look for problems, repair them, and show them.

    Raises
    ------
    UserError
        If the folder does not exist, or a server cannot be reached.
    FindingsError
        If a problem is left.
    """
    root = existing_folder(config.folder)
    problems = [*_of_store(config), *_of_files(root, repair=config.repair), *undelivered_runs(root)]
    console = Console(highlight=False, soft_wrap=True)
    console.print(_table(problems) if problems else "Nothing is wrong.")
    left = [problem for problem in problems if not problem.repaired]
    set_json_result(store=find_store(config.tracking).label, problems=[asdict(problem) for problem in problems])
    if left:
        raise FindingsError(f"{len(left)} of {len(problems)} problems are left: see the last column")


def _of_store(config: DoctorConfig) -> list[Problem]:
    store = find_store(config.tracking)
    if store.database is not None and not store.database.exists():
        return []
    problems = broken_database(store.database, repair=config.repair) if store.database is not None else []
    if problems:
        return problems
    open_store(config.tracking)
    names = end_dead_runs(store, elsewhere=config.repair)
    deliver_all(patience=config.tracking.wait_seconds)
    return [Problem(name, "was running, but its process is gone", "ended", repaired=True) for name in names]


def _of_files(root: Path, *, repair: bool) -> list[Problem]:
    problems = []
    for file in damaged_searches(root):
        moved = file.with_name(f"{file.name}.damaged")
        if repair:
            file.replace(moved)
        advice = f"moved to {moved.name}" if repair else "repair=true moves it away"
        problems.append(Problem(str(file), "cannot be read; the search cannot resume", advice, repaired=repair))
    for file in left_over_files([root, features_dir(None), smears_dir()]):
        if repair:
            file.unlink(missing_ok=True)
        advice = "removed" if repair else "repair=true removes it"
        problems.append(Problem(str(file), "is left over from a process that was killed", advice, repaired=repair))
    return problems


def _table(problems: list[Problem]) -> Table:
    table = Table(title="Problems", title_justify="left")
    for heading in ("what", "problem", "repair"):
        table.add_column(heading, overflow="fold")
    for each in problems:
        table.add_row(*map(escape, (each.what, each.problem, each.repair)))
    return table
