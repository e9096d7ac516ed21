"""Runs of one configuration with several seeds, which count as one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bloodcell.tracking.compared import ComparedRun
from bloodcell.tracking.run import BASELINE


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """The runs of one configuration, at least one."""

    runs: tuple[ComparedRun, ...]

    @property
    def configuration(self) -> Mapping[str, str]:
        """Return what the runs were asked for; of seeds that differ, all."""
        names = dict.fromkeys(name for run in self.runs for name in run.parameters)
        values = {name: list(dict.fromkeys(run.parameters.get(name, "") for run in self.runs)) for name in names}
        return {name: ", ".join(each) for name, each in values.items()}

    def tagged(self, tag: str, value: str) -> bool:
        """Say whether any run has a tag of some value."""
        return any(run.tags.get(tag) == value for run in self.runs)


def pool(runs: Sequence[ComparedRun]) -> dict[str, Pooled]:
    """Put runs together whose settings differ in seeds only, no two in the same seeds.

    Returns
    -------
    dict
        By name, in the order of the runs.
    """
    alike: dict[object, list[ComparedRun]] = {}
    for run in runs:
        settings = frozenset((name, value) for name, value in run.parameters.items() if not _is_seed(name))
        alike.setdefault(settings if run.parameters else run.run_id or run.name, []).append(run)
    pooled: dict[str, Pooled] = {}
    for several in alike.values():
        seeds = [
            frozenset((name, value) for name, value in run.parameters.items() if _is_seed(name)) for run in several
        ]
        if len(several) > 1 and len(set(seeds)) == len(several):
            name = f"{_without_seed(several[0])} ({len(several)} seeds)"
            pooled[name if name not in pooled else several[0].name] = Pooled(runs=tuple(several))
        else:
            pooled |= {run.name: Pooled(runs=(run,)) for run in several}
    return pooled


def _is_seed(name: str) -> bool:
    return name.rpartition(".")[2] == "seed"


def _without_seed(run: ComparedRun) -> str:
    if run.name.startswith(BASELINE):  # of which each split of a study has its own
        return run.name.partition(",")[0]
    rest = re.sub(r"(,\s*)?(\w+\.)*seed[= ]\d+|\s*\[\w{8}\]$", "", run.name).strip(" ,")
    return rest or run.parameters.get("backbone.name", run.name)
