"""Problems of the embedded store and of the runs on this machine."""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bloodcell.errors import UserError
from bloodcell.tracking.database import prepare_database
from bloodcell.tracking.delivery import recorded_delivery
from bloodcell.tracking.local_runs import is_written, run_folders
from bloodcell.wording import counted


@dataclass(frozen=True)
class Problem:
    """A problem, and what repairs it.

    Attributes
    ----------
    what
        A file, a folder or a run.
    problem, repair
        What is wrong; what was done, or is to do.
    repaired
        Whether it was done.
    """

    what: str
    problem: str
    repair: str
    repaired: bool


def broken_database(path: Path, *, repair: bool) -> list[Problem]:
    """Prepare a database, and return its problem if it cannot be used; ``repair`` moves it away."""
    try:
        prepare_database(path)
    except UserError as error:
        moved = path.with_name(f"{path.name}.broken-{time.strftime('%Y%m%d-%H%M%S')}")
        if repair:
            path.replace(moved)
        advice = (
            f"moved to {moved.name}; `bloodcell sync again=true` delivers the runs again"
            if repair
            else "repair=true moves it"
        )
        return [Problem(str(path), str(error).partition(": ")[2].partition(";")[0], advice, repaired=repair)]
    return []


def undelivered_runs(root: Path) -> list[Problem]:
    """Return a problem for each store that does not have all results of the runs in a folder."""
    problems, counts = [], Counter[str]()
    for folder in run_folders(root):
        if is_written(folder):
            continue
        try:
            delivery = recorded_delivery(folder)
        except UserError as error:
            problems.append(Problem(str(folder), str(error), "see there", repaired=False))
            continue
        counts[delivery.store.label] += not delivery.complete
    for label, count in counts.items():
        if count:
            what = f"{label} does not have all results of {counted(count, 'run')}"
            problems.append(Problem(str(root), what, f"bloodcell sync {root}", repaired=False))
    return problems
