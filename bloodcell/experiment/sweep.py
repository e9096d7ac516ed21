"""Several trainings one after the other, and their comparison, without MLflow or Hydra."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from itertools import product
from pathlib import Path
from typing import Any

from bloodcell.cards.comparison_report import COSTS, known_costs
from bloodcell.comparison.comparing import Comparison, compare
from bloodcell.config.keywords import train_config
from bloodcell.config.parameters import as_plain
from bloodcell.console.progress import print_status, track
from bloodcell.errors import UserError, one_line, reason_of
from bloodcell.experiment.result import Result
from bloodcell.experiment.training import new_folder, train
from bloodcell.wording import counted

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, repr=False)
class Study:
    """The results of a sweep.

    Attributes
    ----------
    results
        By the name of what differs, the results, in order.
    failed
        By name, why a training failed, as one line.
    folder
        The folder with a folder for each training.
    """

    results: Mapping[str, Result]
    failed: Mapping[str, str]
    folder: Path

    @cached_property
    def comparison(self) -> Comparison:
        """The comparison by validation accuracy; see `compare`."""
        return self.compare()

    def compare(self, **arguments: Any) -> Comparison:
        """Compare the results.

        Parameters
        ----------
        **arguments
            As for `bloodcell.compare`, such as ``metrics=["macro_f1"]`` or ``split="test"``.

        Raises
        ------
        UserError
            If no training succeeded, an argument is invalid, or the results are of different images.
        """
        if not self.results:
            raise UserError(f"{self.folder}: all trainings failed; see .failed for the reasons")
        outcomes = {name: result.outcome for name, result in self.results.items()}
        costs = {name: known_costs(result.cost) for name, result in self.results.items()}
        given = {
            "evidence": {name: outcome.evidence for name, outcome in outcomes.items()},
            "group_name": next(iter(outcomes.values())).leakage.group_name,
            "costs": {
                label: {name: known[cost] for name, known in costs.items() if cost in known}
                for cost, label in COSTS.items()
            },
        }
        return compare({name: outcome.predictions for name, outcome in outcomes.items()}, **given | arguments)

    def __getitem__(self, name: str) -> Result:
        """Return the result of a name."""
        return self.results[name]

    def __repr__(self) -> str:
        """Return the decision, the ranking, what failed, and the folder as text."""
        failed = (f"failed: {name} ({reason})" for name, reason in self.failed.items())
        return "\n".join([self._title, self._compared(as_html=False), *failed, str(self.folder)])

    def _repr_html_(self) -> str:
        """Return the decision, the ranking with 95 % intervals and baseline, what failed, and the folder."""
        failed = "".join(f"<li>{escape(name)} failed: {escape(reason)}</li>" for name, reason in self.failed.items())
        return (
            f"<h4>{escape(self._title)}</h4>{self._compared(as_html=True)}{f'<ul>{failed}</ul>' if failed else ''}"
            f"<p><code>{escape(str(self.folder))}</code></p>"
        )

    @property
    def _title(self) -> str:
        n = len(self.results) + len(self.failed)
        return f"Sweep of {counted(n, 'training')}" + (f", {len(self.failed)} failed" if self.failed else "")

    def _compared(self, *, as_html: bool) -> str:
        """Return the comparison, or the results alone if they cannot be compared."""
        if not self.results:
            return ""
        try:
            return self.comparison._repr_html_() if as_html else repr(self.comparison)
        except UserError as error:
            lines = [f"The results cannot be compared: {error}", *map(repr, self.results.values())]
            return "".join(f"<pre>{escape(line)}</pre>" for line in lines) if as_html else "\n".join(lines)


def sweep(
    vary: Mapping[str, Sequence[Any]], *, folder: str | Path | None = None, quiet: bool = False, **settings: Any
) -> Study:
    """Train every combination of some settings, one after the other.

    A training that fails does not stop the others.

    Parameters
    ----------
    vary
        By the name of a setting of `bloodcell.train`, its values.
    folder
        A new output folder, with a folder for each training; None: a folder in ``outputs``, named after the time.
    quiet
        Print no notes.
    **settings
        All other settings, as for `bloodcell.train`. With ``backbone={"input_size": 96}`` all varied backbones have
        this input size.

    Returns
    -------
    Study
        The results by the name of what differs: ``"xception"``, or ``"xception, seed=1"`` if a number varies, too. A
        notebook displays the ranking with 95 % intervals and the baseline.

    Raises
    ------
    UserError
        If a setting cannot be used, before anything is trained.

    Examples
    --------
    >>> import bloodcell
    >>> study = bloodcell.sweep(
    ...     {"backbone": ["morphology", "mobilenetv2"], "seed": [0, 1]},
    ...     data={"source": "folder", "train_dir": "cells"},
    ... )  # doctest: +SKIP
    >>> print(study["morphology, seed=0"], study.compare(metrics=["macro_f1"]).best)  # doctest: +SKIP
    """
    configs = {
        name: train_config(**settings | _merged(combination, settings))
        for name, combination in combinations(vary, settings).items()
    }
    place = new_folder(folder)
    results: dict[str, Result] = {}
    failed: dict[str, str] = {}
    for number, (name, config) in enumerate(track(configs.items(), "training", total=len(configs))):
        if not quiet:
            print_status(f"training {number + 1} of {len(configs)}: {name}")
        within = place / f"{number}-{re.sub(r'[^A-Za-z0-9_.=-]+', '-', name)[:80]}"
        try:
            results[name] = train(config, folder=within, quiet=True)
        except UserError as error:
            failed[name] = one_line(error)
        except Exception as error:
            log.debug("training of %s", name, exc_info=True)
            failed[name] = reason_of(error)
        if name in failed and not quiet:
            print_status(f"{name} failed: {failed[name]}")
    return Study(results=results, failed=failed, folder=place)


def combinations(vary: Mapping[str, Sequence[Any]], settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return every combination of the varied settings by a short name.

    Raises
    ------
    UserError
        If nothing varies, a setting is given twice, or has no list of different values.
    """
    if not isinstance(vary, Mapping) or not vary:
        raise UserError("vary: has no setting; give settings with their values, such as {'seed': [0, 1]}")
    for setting, values in vary.items():
        if setting in settings and not isinstance(settings[setting], Mapping):
            raise UserError(f"{setting}: is in vary and also a setting; give it once")
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise UserError(f"vary: {setting}={values!r} is not a list of values; give at least one")
    found: dict[str, dict[str, Any]] = {}
    for values in product(*vary.values()):
        combination = dict(zip(vary, values, strict=True))
        name = ", ".join(_short(setting, value) for setting, value in combination.items())
        if name in found:
            raise UserError(f"vary: {name} is given twice; give every value once")
        found[name] = combination
    return found


def _merged(combination: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return varied settings, with what all of them share where it is given as a dictionary."""
    merged = dict(combination)
    for group, value in combination.items():
        if group in settings:
            own = value if isinstance(value, Mapping) else as_plain(getattr(train_config(**{group: value}), group))
            merged[group] = {**settings[group], **own} if isinstance(value, Mapping) else {**own, **settings[group]}
    return merged


def _short(setting: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={each}" for name, each in value.items()) or f"{setting}=default"
    return value if isinstance(value, str) else f"{setting}={value}"
