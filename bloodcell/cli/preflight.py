"""Check a configuration, or those of a sweep, before Hydra creates a folder."""

import itertools
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.experimental.callback import Callback
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf, open_dict

from bloodcell.cli.exits import fail
from bloodcell.config.composition import composition_message, is_composition_error, parse_config
from bloodcell.config.jobs import command_name
from bloodcell.errors import UserError
from bloodcell.files import require_writable

SEQUENTIAL = "sequential"
"""The launcher that a single run has, too."""
SWEPT = ("train",)
"""Jobs that can be swept."""


class CheckConfig(Callback):
    """Exits with a one-line error if a configuration, or any of a sweep, is wrong.

    Hydra turns errors of callbacks into warnings, so this callback exits by itself.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ARG002
        """Check the configuration of a single run, and that its folder can be created."""
        HydraConfig.instance().set_config(config)
        _end_unless_valid(config)
        if config.hydra.job.name in SWEPT and config.ensemble != "none":
            fail(f"ensemble={config.ensemble}: combines the runs of a sweep; add -m, or remove it", code=2)
        if OmegaConf.select(config, "launcher.name", default=SEQUENTIAL) != SEQUENTIAL:
            fail(f"launcher={config.launcher.name}: runs a sweep; add -m, or remove it", code=2)
        _end_unless_writable("hydra.run.dir", Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ARG002
        """Check every configuration of a sweep, and that the job can be swept."""
        if config.hydra.job.name not in SWEPT:
            job = command_name(config.hydra.job.name)
            fail(f"-m: is only for train; run bloodcell {job} once for each choice", code=2)
        try:
            swept = {text.partition("=")[0] for text in swept_overrides(config)}
            if launcher := sorted(key for key in swept if key.partition(".")[0] == "launcher"):
                fail(f"{launcher[0]}: runs the whole sweep; give one value", code=2)
            for run, combination in _runs(config):
                _end_unless_valid(run, combination, swept)
        except Exception as error:
            if not is_composition_error(error):
                raise
            fail(composition_message(error, config.hydra.job.name, _arguments(config)), code=2)
        _end_unless_writable("hydra.sweep.dir", Path(config.hydra.sweep.dir))
        for plugin in (config.hydra.sweeper, config.hydra.launcher):
            if check := getattr(get_class(plugin._target_), "check", None):
                try:
                    check(config)
                except UserError as error:
                    fail(str(error), code=error.exit_code)


def swept_overrides(config: DictConfig) -> list[str]:
    """Return the overrides that vary in a sweep, as written."""
    # If an experiment and the command line both set a key, sweepers use the last, which is the command line's.
    last = {override.get_key_element(): override for override in _overrides(config)}
    return [str(override.input_line) for override in last.values() if override.is_sweep_override()]


def count_runs(config: DictConfig) -> int | None:
    """Return the number of runs of a sweep; None if its sweeper decides while it runs."""
    if (n_trials := OmegaConf.select(config, "hydra.sweeper.n_trials")) is not None:
        return int(n_trials)
    if not config.hydra.sweeper._target_.endswith(".BasicSweeper"):
        return None
    return len(list(_combinations(config, _overrides(config))))


def swept_configs(config: DictConfig) -> list[Any]:
    """Return the checked configuration of each run, or of some possible runs if the sweeper searches."""
    return [parse_config(config.hydra.job.name, run) for run, _ in _runs(config)]


def _end_unless_writable(setting: str, folder: Path) -> None:
    try:
        require_writable(folder)
    except OSError as error:
        message = f"{setting}={folder}: cannot be created ({error.strerror}); give another, or run in another folder"
        fail(message, code=2)


def _overrides(config: DictConfig) -> list[Override]:
    loader = GlobalHydra.instance().config_loader()
    return OverridesParser.create(config_loader=loader).parse_overrides(_arguments(config))


def _arguments(config: DictConfig) -> list[str]:
    """Return the overrides of a sweep: those in the sweeper's parameters, then those of the command line."""
    # Not resolved: an interpolation in an override may have a value only in its run.
    params: Any = OmegaConf.to_container(OmegaConf.create(OmegaConf.select(config, "hydra.sweeper.params") or {}))
    task: Any = OmegaConf.to_container(config.hydra.overrides.task)
    return [*(f"{key}={value}" for key, value in params.items()), *task]


def _runs(config: DictConfig) -> Iterator[tuple[DictConfig, Sequence[str]]]:
    """Yield the composed configuration of each run of a sweep, and its overrides.

    ``${hydra:...}`` has the values of this run until the next is yielded; Hydra sets them only when a job starts.
    """
    loader = GlobalHydra.instance().config_loader()
    for number, combination in enumerate(_combinations(config, _overrides(config))):
        run = loader.load_sweep_config(config, list(combination))
        with open_dict(run):
            run.hydra.job.num = number
            run.hydra.job.id = str(number)
        HydraConfig.instance().set_config(run)
        yield run, combination


def _combinations(config: DictConfig, overrides: list[Override]) -> Iterator[Sequence[str]]:
    """Yield the overrides of each run, or of enough runs to check every value if the sweeper searches."""
    if config.hydra.sweeper._target_.endswith(".BasicSweeper"):
        yield from itertools.chain.from_iterable(BasicSweeper.split_arguments(overrides, None))
        return
    # The combinations of a sweeper that searches are unknown: check each value once, with the first of all others.
    values = {override.get_key_element(): _values(override) for override in overrides}
    first = {key: choices[0] for key, choices in values.items() if choices}
    yield [f"{key}={value}" for key, value in first.items()]
    for key, choices in values.items():
        for value in choices[1:]:
            yield [f"{other}={chosen}" for other, chosen in {**first, key: value}.items()]


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    if override.is_discrete_sweep():
        return list(override.sweep_string_iterator())
    interval = override.value()
    return [str(interval.start), str(interval.end)] if isinstance(interval, IntervalSweep) else []


def _end_unless_valid(config: DictConfig, combination: Sequence[str] = (), swept: Collection[str] = ()) -> None:
    try:
        parse_config(config.hydra.job.name, config)
    except UserError as error:
        varied = [override for override in combination if override.partition("=")[0] in swept]
        # If the message names a varied value, the run needs no mention.
        named = any(override in str(error) for override in combination)
        where = f" (in the run with {' '.join(varied)})" if varied and not named else ""
        fail(f"{error}{where}", code=error.exit_code)
