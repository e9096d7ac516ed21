"""What every study is compared with: classifiers without a network, trained on the same images."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from bloodcell.config.composition import read_choice
from bloodcell.config.training import TrainConfig
from bloodcell.console.logs import logging_to
from bloodcell.experiment.outcome import Outcome
from bloodcell.jobs.train import train
from bloodcell.tracking.run import BASELINE
from bloodcell.tracking.study import surviving

CHOICES = {
    "head": "probe",
    "crop": "none",
    "augmentation": "none",
    "finetune": "none",
    "hyperparameters": "default",
}
"""What a baseline is composed of, but for its backbone: nothing that a network is trained with does it any good."""


def train_baselines(configs: Sequence[TrainConfig], *, folder: Path) -> Mapping[str, Outcome]:
    """Train the baselines that configurations ask for, once on each images and split that they have.

    What fails is said, and a failed run of the study; it takes no other down.

    Parameters
    ----------
    configs
        Those of a study's runs, with the study's parent run.
    folder
        Where the baselines' folders are made.

    Returns
    -------
    dict
        What came out, by the runs' names.
    """
    distinct: dict[Any, tuple[int, TrainConfig]] = {}
    for number, config in enumerate(configs):
        distinct.setdefault(_trained_on(config), (number, config))
    splits = [config.split.name for _, config in distinct.values()]
    there = {(_trained_on(config), config.backbone.name) for config in configs if not config.head.extra_features}
    outcomes: dict[str, Outcome] = {}
    for number, config in distinct.values():
        for name in config.baselines:
            if (_trained_on(config), name) in there:
                continue
            of_split = f", {config.split.name}" if len(distinct) > 1 else ""
            of_run = f" of run {number}" if splits.count(config.split.name) > 1 else ""
            called = f"{BASELINE}{name}{of_split}{of_run}"
            tracking = replace(config.tracking, run_name=called, sweep_job=None, run_id=None)
            chosen = replace(baseline(config, name), tracking=tracking)
            output_dir = folder / f"{number}-{name}"
            with logging_to(output_dir / "train.log"):
                outcome = surviving(partial(train, chosen, output_dir=output_dir, quiet=True), chosen)
            if isinstance(outcome, Outcome):
                outcomes[called] = outcome
    return outcomes


def _trained_on(config: TrainConfig) -> Any:
    return config.data, config.split, config.debug


def baseline(config: TrainConfig, name: str) -> TrainConfig:
    """Return the configuration of a baseline on the images of another configuration, with its seed."""
    types = TrainConfig.__annotations__
    groups = {"backbone": name, **CHOICES}
    parts = {
        group: TypeAdapter(types[group]).validate_python(read_choice(group, choice)) for group, choice in groups.items()
    }
    seed = config.hyperparameters.seed
    return replace(config, **parts | {"hyperparameters": replace(parts["hyperparameters"], seed=seed)})
