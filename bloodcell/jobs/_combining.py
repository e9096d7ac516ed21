"""What a sweep can end with: an ensemble of its runs."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from bloodcell.config.composition import compose_config
from bloodcell.config.training import TrainConfig
from bloodcell.console.logs import logging_to
from bloodcell.jobs import ensemble
from bloodcell.tracking.study import surviving


def combine_runs(config: TrainConfig, *, folder: Path) -> None:
    """Combine the finished runs of a study, as `bloodcell ensemble study=` does, in a run of the study.

    What fails is said, and a failed run of the study.

    Parameters
    ----------
    config
        Of any of the study's runs.
    folder
        The ensemble's.
    """
    tracking = replace(config.tracking, run_name=f"ensemble: {config.ensemble}", sweep_job=None, run_id=None)
    chosen = compose_config("ensemble", [f"study={tracking.parent_run}", f"method={config.ensemble}"])
    chosen = replace(chosen, tracking=tracking, evaluate_test=config.evaluate_test, log_model=config.log_model)
    with logging_to(folder / "ensemble.log"):
        surviving(partial(ensemble.run, chosen, output_dir=folder), chosen)
