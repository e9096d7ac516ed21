"""Running commands in separate processes, and measuring their cost."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of a process.

    Attributes
    ----------
    seconds
        Time from start to exit.
    cpu_seconds
        Processor time of all cores.
    gib
        Peak resident memory, in GiB.
    """

    seconds: float
    cpu_seconds: float
    gib: float


def bloodcell(*arguments: str, folder: Path, cache: Path) -> Cost:
    """Run the command in a folder, with its own cache; its output goes to standard error."""
    return cost_of([sys.executable, "-m", "bloodcell", *arguments], folder=folder, cache=cache)


def cost_of(command: Sequence[str], *, folder: Path, cache: Path) -> Cost:
    """Run any command; exit if it fails."""
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    started = time.perf_counter()
    process = os.posix_spawn(
        "/usr/bin/env",
        ["env", "-C", str(folder), *command],
        environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)],
    )
    _, status, used = os.wait4(process, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"{' '.join(command)}: failed, see above")
    return Cost(seconds=seconds, cpu_seconds=used.ru_utime + used.ru_stime, gib=used.ru_maxrss / 2**20)


def in_turn(sides: Mapping[str, Callable[[], Mapping[str, float]]], *, rounds: int) -> dict[str, Any]:
    """Measure several sides one after the other, several times.

    Parameters
    ----------
    sides
        By name, what measures a side, and returns figures by name.
    rounds
        How often each is measured.

    Returns
    -------
    dict
        For each side and figure ``side_figure``, the list of its values in order, and ``loads``, the system's load
        before each measurement.
    """
    found: dict[str, Any] = {"loads": []}
    for number in range(rounds):
        for name, measure in sides.items():
            found["loads"].append(round(os.getloadavg()[0], 1))
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
            for figure, value in measure().items():
                found.setdefault(f"{name}_{figure}", []).append(value)
    return found


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Return the smallest and the largest ratio of the rounds, each of one round."""
    found = [above / below for above, below in zip(numerators, denominators, strict=True)]
    return [min(found), max(found)]


def copy_cache(into: Path) -> None:
    """Copy the cache of images (sources, sizes, digests), without features."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bloodcell"
    if usual.is_dir():
        shutil.copytree(usual, into / "bloodcell", ignore=shutil.ignore_patterns("features"))


def newest(pattern: str, folder: Path) -> Any:
    """Return the content of the newest JSON file that matches a pattern."""
    return json.loads(max(folder.glob(pattern), key=os.path.getmtime).read_text(encoding="utf-8"))
