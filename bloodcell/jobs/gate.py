"""Keep a candidate, reject it, or say that the data cannot tell; a ledger counts every candidate of a long search.

Runs or files of predictions; several trainings of one configuration; the best run of a sweep or a search:

  bloodcell gate incumbent=ID candidate=other.csv ledger=project.ledger
  bloodcell gate incumbent=[ID,ID] candidate=[ID,ID,ID] ledger=project.ledger
  bloodcell gate incumbent=ID study=ID ledger=project.ledger

The exit code is 0 for keep, 3 for reject and 4 for cannot tell; --json gives the numbers. With `predictions=test` the
candidate gets an answer on the test set, of which the ledger has few. Only predictions are read.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from bloodcell.comparison.gate import CANDIDATE, CANNOT_TELL, INCUMBENT, KEEP, REJECT, Answer, Gate, TestAnswer
from bloodcell.comparison.run_tags import common_group_name
from bloodcell.config.schemas import GateConfig
from bloodcell.console.json_output import set_json_result
from bloodcell.data.csv_files import groups_by_path
from bloodcell.tracking.comparisons import ComparedRun, best_of_study, read_compared
from bloodcell.tracking.pooling import Pooled

EXIT_CODES = {KEEP: 0, REJECT: 3, CANNOT_TELL: 4}


def run(config: GateConfig, *, output_dir: Path) -> None:  # noqa: ARG001 - nothing is written but the ledger
    """Ask the gate, print its answer, and exit with its code.

    Raises
    ------
    UserError
        If a run, a file or the ledger cannot be used, or the answers on the test set are spent.
    SystemExit
        With the code of the answer, if it is not `KEEP`.
    """
    among = 1
    if config.study is not None:
        best, among = best_of_study(config.study, tracking=config.tracking)
        candidate = _read(config, [best])
    else:
        candidate = _read(config, _several(config.candidate))
    reading: dict[str, Any] = {
        "columns": config.columns,
        "classes": config.classes,
        "groups": None if config.groups_file is None else groups_by_path(config.groups_file, setting="groups_file"),
    }
    name = candidate[0].name if len(candidate) == 1 else CANDIDATE
    tables = [each.predictions for each in candidate]
    incumbent = _read(config, _several(config.incumbent)) if config.incumbent is not None else []
    gate = Gate(
        config.ledger,
        metric=config.metric,
        alpha=config.alpha,
        max_trainings=config.max_trainings,
        expected=config.expected,
        test_budget=config.test_budget,
    )
    if config.predictions == "test":
        told = gate.ask_test(tables, name=name, **reading)
        _tell(told, code=0 if told.improved else EXIT_CODES[REJECT])
        return
    both = {INCUMBENT: Pooled(runs=tuple(incumbent)), CANDIDATE: Pooled(runs=tuple(candidate))}
    answer = gate.ask(
        incumbent=[each.predictions for each in incumbent],
        candidate=tables,
        name=name,
        among=among,
        evidence={of: runs.evidence for of, runs in both.items()},
        split=config.predictions,
        group_name=common_group_name(each.run.tags for each in (*incumbent, *candidate) if each.run),
        **reading,
    )
    _tell(answer, code=EXIT_CODES[answer.verdict])


def _several(given: str | Sequence[str] | None) -> list[str]:
    return [] if given is None else [given] if isinstance(given, str) else list(given)


def _read(config: GateConfig, runs: Sequence[str]) -> list[ComparedRun]:
    return read_compared(tracking=config.tracking, runs=runs, study=None, experiment=None)


def _tell(answer: Answer | TestAnswer, *, code: int) -> None:
    Console(highlight=False, soft_wrap=True).print(answer.sentence, markup=False)
    set_json_result(**asdict(answer))
    if code:
        raise SystemExit(code)
