"""Pooling runs of one configuration with several seeds for a comparison."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bloodcell.evaluation.evidence import SINGLE, ordered
from bloodcell.models.feature_sets import MAJORITY
from bloodcell.tracking.comparisons import ComparedRun
from bloodcell.tracking.experiment_page import BASELINE
from bloodcell.tracking.runs import StoredRun


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """The runs of one configuration, at least one."""

    runs: tuple[ComparedRun, ...]

    @property
    def stored(self) -> list[StoredRun]:
        """The runs of the store, without files."""
        return [each.run for each in self.runs if each.run is not None]

    @property
    def evidence(self) -> tuple[str, ...]:
        """The names of what limits the runs, see `bloodcell.evaluation.evidence`; of several seeds none is single."""
        names = [name for run in self.stored for name in run.tags.evidence if len(self.runs) == 1 or name != SINGLE]
        return ordered(names)

    @property
    def is_majority(self) -> bool:
        """Whether these are a study's baseline of the majority class."""
        return any(
            each.name.startswith(BASELINE) and each.parameters.get("backbone.name") == MAJORITY for each in self.stored
        )

    @property
    def configuration(self) -> Mapping[str, str]:
        """The settings of the runs by their dotted names; all values of seeds."""
        names = dict.fromkeys(name for run in self.stored for name in run.parameters)
        values = {name: list(dict.fromkeys(run.parameters.get(name, "") for run in self.stored)) for name in names}
        return {name: ", ".join(each) for name, each in values.items()}


def pool(runs: Sequence[ComparedRun]) -> dict[str, Pooled]:
    """Pool runs whose settings differ in seeds only.

    Returns
    -------
    dict
        By name, in the order of the runs.
    """
    alike: dict[object, list[ComparedRun]] = {}
    for each in runs:
        settings = frozenset(_parameters(each, seeds=False).items())
        alike.setdefault(settings or each.name, []).append(each)
    pooled: dict[str, Pooled] = {}
    for several in alike.values():
        seeds = {frozenset(_parameters(each, seeds=True).items()) for each in several}
        if len(several) > 1 and len(seeds) == len(several):
            name = f"{_without_seed(several[0])} ({len(several)} seeds)"
            pooled[name if name not in pooled else several[0].name] = Pooled(runs=tuple(several))
        else:
            pooled |= {each.name: Pooled(runs=(each,)) for each in several}
    return pooled


def _parameters(compared: ComparedRun, *, seeds: bool) -> dict[str, str]:
    """Return the parameters of a run that are seeds, or all others; none of a file."""
    parameters = compared.run.parameters if compared.run else {}
    return {name: value for name, value in parameters.items() if (name.rpartition(".")[2] == "seed") == seeds}


def _without_seed(compared: ComparedRun) -> str:
    if compared.name.startswith(BASELINE):  # each split of a study has its own
        return compared.name.partition(",")[0]
    rest = re.sub(r"(,\s*)?(\w+\.)*seed[= ]\d+|\s*\[\w{8}\]$", "", compared.name).strip(" ,")
    config = compared.run.config if compared.run else None
    return rest or (config.backbone.name if config else compared.name)
