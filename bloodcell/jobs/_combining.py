"""What a sweep can end with: an ensemble of its runs."""

import sys
from dataclasses import replace
from pathlib import Path

from bloodcell.composition import compose_config
from bloodcell.config import TrainConfig
from bloodcell.jobs import ensemble
from bloodcell.tracking.run import reason_of


def combine_runs(config: TrainConfig, *, folder: Path) -> None:
    """Combine the finished runs of a study, as `bloodcell ensemble study=` does, in a run of the study.

    What fails is said; the study is there without it.

    Parameters
    ----------
    config
        Of any of the study's runs.
    folder
        The ensemble's.
    """
    tracking = replace(config.tracking, run_name=f"ensemble: {config.ensemble}", sweep_job=None, run_id=None)
    try:
        chosen = compose_config("ensemble", [f"study={tracking.parent_run}", f"method={config.ensemble}"])
        chosen = replace(chosen, tracking=tracking, evaluate_test=config.evaluate_test, log_model=config.log_model)
        folder.mkdir(parents=True, exist_ok=True)
        ensemble.run(chosen, output_dir=folder)
    except Exception as error:  # whatever a run may raise; the study is there without it
        print(f"bloodcell: {tracking.run_name} failed: {reason_of(error)}", file=sys.stderr, flush=True)
