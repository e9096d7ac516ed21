"""Finding interrupted runs and sweeps by their command, and continuing them in their folders."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from bloodcell.config.tracking import TrackingConfig
from bloodcell.errors import UserError
from bloodcell.experiment.recorder import FINISHED, read_run, write_run
from bloodcell.tracking.courier import courier
from bloodcell.tracking.delivery import SENT_FILE, read_sent, recorded_delivery
from bloodcell.tracking.experiment_page import EXCLUDED_TAG
from bloodcell.tracking.local_runs import is_written
from bloodcell.tracking.run import FOLD_TAG
from bloodcell.tracking.runs import run_or_none
from bloodcell.tracking.store import existing_store, named_if_lost

COMMAND_TAG = "command_digest"
"""The tag with the digest of the command that started a run."""
DIGEST_TAG = "experiment_digest"
"""The tag of `bloodcell.experiment.identity.experiment_digest`."""
WITHOUT_EFFECT = ("resume", "tracking", "hydra", "launcher")
"""Settings that may differ between a command and the one that resumes it; also what is below them."""


def command_digest(job: str, overrides: Sequence[str]) -> str:
    """Return 16 hexadecimal digits that are equal for commands that do the same.

    Parameters
    ----------
    job
        The job, with ``-m`` for a sweep.
    overrides
        The overrides of the command; their order matters, because the last of a setting counts.
    """
    kept = [text for text in overrides if text.lstrip("+~").partition("=")[0].partition(".")[0] not in WITHOUT_EFFECT]
    return hashlib.sha256("\n".join([job, *kept]).encode()).hexdigest()[:16]


def folder_to_resume(
    resume: str | bool, *, digest: str, roots: Iterable[Path], tracking: TrackingConfig
) -> Path | None:
    """Return the folder of the run or sweep to resume; None if there is none, so it starts anew.

    Parameters
    ----------
    resume
        The setting ``resume``: true for the newest with this command, or an MLflow id.
    digest
        That of the command.
    roots
        Where output folders are: the folder of this command, or folders with folders of dates.
    tracking
        The store, which knows the output folder of an id.

    Raises
    ------
    UserError
        If another process writes it, or an id is unknown or of another command.
    """
    paths = [path for root in roots for pattern in (".", "*/*") for path in root.glob(f"{pattern}/run.json")]
    found = {path.parent: run for path in paths if (run := read_run(path.parent)) is not None}
    if isinstance(resume, str):
        folder = next((each for each in found if read_sent(each).get("run_id") == resume), None)
        folder = folder or _folder_in_store(resume, tracking)
        if (read_run(folder) or {"tags": {}})["tags"].get(COMMAND_TAG) != digest:
            raise UserError(f"resume={resume}: is of another command; give the same settings")
    else:
        same = [each for each, run in found.items() if run["tags"].get(COMMAND_TAG) == digest]
        folder = max(same, key=lambda each: found[each]["started"], default=None)
    if folder is not None and is_written(folder):
        raise UserError(f"resume={resume}: another process writes {folder}; wait for it, or start without resume")
    return folder


def belongs_to(folder: Path, *, parent_run: str | None) -> bool:
    """Return whether a folder has a run of this parent."""
    run = read_run(folder)
    return run is not None and parent_run is not None and run["parent"] == parent_run


def finished_metric(folder: Path, *, digest: str, name: str) -> float | None:
    """Return a final metric of the finished run in a folder; None unless it has this ``experiment_digest``."""
    run = read_run(folder)
    if run is None or run["status"] != FINISHED or run["tags"].get(DIGEST_TAG) != digest:
        return None
    value: float | None = run["metrics"].get(name)
    return value


def can_continue(folder: Path, *, digest: str) -> bool:
    """Return whether a folder has a run with this ``experiment_digest``."""
    run = read_run(folder)
    return run is not None and run["tags"].get(DIGEST_TAG) == digest


def exclude_earlier(folder: Path) -> None:
    """Exclude the run in a folder from its study, because a new run will take its place there.

    Raises
    ------
    StoreLostError
        If the store, which will be the only place that has it, does not take it.
    """
    run = read_run(folder)
    if run is None:
        return
    write_run(folder, run | {"tags": run["tags"] | {EXCLUDED_TAG: "repeated with other settings, data or versions"}})
    delivery = recorded_delivery(folder)
    with named_if_lost(delivery.store, folder):
        delivery.deliver()
    (folder / SENT_FILE).unlink()


def adopt_fold(folder: Path, *, parent: Path, number: int) -> None:
    """Make the run in a folder a fold of the cross-validation in another folder."""
    run, above = read_run(folder) or {}, read_run(parent) or {}
    tags = run["tags"] | {FOLD_TAG: str(number)}
    place = os.path.relpath(parent, folder)
    write_run(folder, run | {"tags": tags, "parent": place, "parent_key": above["key"]})


def deliver_again(folder: Path) -> None:
    """Deliver what the store does not have yet of the run in a folder."""
    delivery = recorded_delivery(folder)
    if not delivery.complete:
        courier().add(delivery)


def _folder_in_store(run_id: str, tracking: TrackingConfig) -> Path:
    existing_store(tracking)
    run = run_or_none(run_id)
    folder = None if run is None else run.output_dir
    if folder is None or read_run(folder) is None:
        raise UserError(f"resume={run_id}: has no folder on this machine; give the id of another, or resume=true")
    return folder
