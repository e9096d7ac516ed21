"""The non-neural baselines that every study is compared with: their configurations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bloodcell.config.keywords import train_config
from bloodcell.config.training import TrainConfig

CHOICES = {
    "head": "probe",
    "crop": "none",
    "augmentation": "none",
    "finetune": "none",
    "hyperparameters": "default",
}
"""The choices of a baseline besides its backbone."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A baseline that a study needs.

    Attributes
    ----------
    name
        The name of its run, without a prefix.
    backbone
        The name of its choice of a backbone.
    folder
        The name of its folder.
    config
        Its configuration.
    """

    name: str
    backbone: str
    folder: str
    config: TrainConfig


def needed_baselines(configs: Sequence[TrainConfig]) -> Iterator[Baseline]:
    """Yield the baselines of configurations, once for all runs on the same images and the same split.

    Parameters
    ----------
    configs
        The configurations of a study's runs. A baseline among them is not trained again.
    """
    distinct: dict[str, tuple[int, TrainConfig]] = {}
    for number, config in enumerate(configs):
        distinct.setdefault(_trained_on(config), (number, config))
    splits = [config.split.name for _, config in distinct.values()]
    there = {(_trained_on(config), config.backbone.name) for config in configs if not config.head.extra_features}
    for number, config in distinct.values():
        for name in config.baselines:
            if (_trained_on(config), name) in there:
                continue
            of_split = f", {config.split.name}" if len(distinct) > 1 else ""
            of_run = f" of run {number}" if splits.count(config.split.name) > 1 else ""
            yield Baseline(
                name=f"{name}{of_split}{of_run}",
                backbone=name,
                folder=f"{number}-{name}",
                config=baseline_config(config, name),
            )


def baseline_config(config: TrainConfig, name: str) -> TrainConfig:
    """Return the configuration of a baseline on the images of another configuration, with its seed."""
    chosen = train_config(backbone=name, **CHOICES)
    parts = {group: getattr(chosen, group) for group in ("backbone", *CHOICES)}
    seed = config.hyperparameters.seed
    return replace(config, **parts | {"hyperparameters": replace(chosen.hyperparameters, seed=seed)})


def _trained_on(config: TrainConfig) -> str:
    return repr((config.data, config.split, config.debug))  # folders of several test sets have no hash
