"""``hydra/sweeper=optuna``: a sweep that searches, with Optuna."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from pydantic import TypeAdapter, ValidationError

from bloodcell.cli.launching import require
from bloodcell.config.launcher import OptunaConfig
from bloodcell.config.messages import validation_message
from bloodcell.errors import UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

ConfigStore.instance().store(
    group="hydra/sweeper",
    name="optuna",
    node={"_target_": f"{__name__}.OptunaSweeper", "params": None, "n_trials": 20, "n_jobs": 1, "seed": 0},
    provider="bloodcell",
)


class OptunaSweeper(Sweeper):
    """Maximises what the runs return, which is the validation accuracy of `bloodcell train`.

    Parameters
    ----------
    params
        Values by setting, like those of the command line.
    n_trials, n_jobs
        The number of runs; how many of them the launcher gets at a time.
    seed
        Of the sampler; None for another search every time.
    """

    def __init__(self, *, params: Mapping[str, Any] | None, n_trials: int, n_jobs: int, seed: int | None) -> None:
        self.params, self.n_trials, self.n_jobs, self.seed = params or {}, n_trials, n_jobs, seed

    @staticmethod
    def check(config: DictConfig) -> None:
        """Raise a `UserError` if a setting is wrong or Optuna is missing."""
        given: Any = OmegaConf.to_container(config.hydra.sweeper)
        own = {key: value for key, value in given.items() if key not in ("_target_", "params")}
        try:
            TypeAdapter(OptunaConfig).validate_python(own)
        except ValidationError as error:
            raise UserError(f"hydra.sweeper.{validation_message(error, config.hydra.job.name, own)}") from error
        require("optuna", choice="hydra/sweeper=optuna", name="Optuna", extra="optuna")

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take over the sweep's configuration, and set up its launcher."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: Sequence[str]) -> None:
        """Launch runs until there are ``n_trials``, in groups of ``n_jobs``; a failed run counts, without a value."""
        import optuna

        assert self.config is not None
        assert self.launcher is not None
        assert self.hydra_context is not None
        words = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        # Of two overrides of a setting, the last counts.
        overrides = {override.get_key_element(): override for override in parser.parse_overrides(words)}
        space = {key: _distribution(override) for key, override in overrides.items() if override.is_sweep_override()}
        fixed = [
            f"{key}={override.get_value_element_as_str()}" for key, override in overrides.items() if key not in space
        ]
        Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=self.seed))
        for first in range(0, self.n_trials, self.n_jobs):
            trials = [study.ask(space) for _ in range(min(self.n_jobs, self.n_trials - first))]
            runs = [[*fixed, *(f"{key}={value}" for key, value in trial.params.items())] for trial in trials]
            self.validate_batch_is_legal(runs)
            for trial, returned in zip(trials, self.launcher.launch(runs, initial_job_idx=first), strict=True):
                value = float(returned.return_value)
                failed = None if math.isfinite(value) else optuna.trial.TrialState.FAIL
                study.tell(trial, None if failed else value, state=failed)


def _distribution(override: Override) -> "BaseDistribution":
    """Return the values of an override: ``a,b``, ``range(1,5)``, ``interval(0,1)``, ``tag(log,interval(1e-4,1))``."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    log = "log" in getattr(value, "tags", ())
    match value:
        case IntervalSweep(start=int(low), end=int(high)):
            return IntDistribution(low, high, log=log)
        case IntervalSweep():
            return FloatDistribution(float(value.start or 0), float(value.end or 0), log=log)
        case RangeSweep(start=int(low), stop=int(stop), step=int(step)) if step > 0:
            return IntDistribution(low, stop - 1, step=step)
    return CategoricalDistribution(list(override.sweep_string_iterator()))
