"""Settings of how the runs of a sweep are started: one after the other, or in other processes and on other machines."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from bloodcell.config.value_types import STRICT, NonEmpty, PositiveInt, Seed


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SequentialLauncher:
    """One run after the other, in this process."""

    name: Literal["sequential"] = "sequential"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class JoblibLauncher:
    """Several runs at a time, in processes of this machine."""

    name: Literal["joblib"] = "joblib"
    jobs: PositiveInt | Literal[-1] = -1


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RayLauncher:
    """Each run is a task of a Ray cluster."""

    name: Literal["ray"] = "ray"
    address: NonEmpty | None = None
    cpus: Annotated[float, Field(gt=0)] = 1
    gpus: Annotated[float, Field(ge=0)] | None = None
    retries: Annotated[int, Field(ge=0)] = 1
    environment: tuple[NonEmpty, ...] = ()


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SlurmLauncher:
    """Each run is a job of a Slurm cluster."""

    name: Literal["slurm"] = "slurm"
    local: bool = False
    jobs: PositiveInt | None = None
    partition: NonEmpty | None = None
    account: NonEmpty | None = None
    cpus: PositiveInt = 1
    gpus: Annotated[int, Field(ge=0)] = 0
    gigabytes: Annotated[float, Field(gt=0)] | None = None
    minutes: PositiveInt = 240
    setup: tuple[NonEmpty, ...] = ()
    options: tuple[Annotated[str, Field(pattern=r"^[a-z][a-z-]*(=.+)?$")], ...] = ()


LauncherConfig = Annotated[
    SequentialLauncher | JoblibLauncher | RayLauncher | SlurmLauncher, Field(discriminator="name")
]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LauncherSettings:
    """The part of a job's configuration that does not change a run's result."""

    launcher: LauncherConfig = SequentialLauncher()


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OptunaConfig:
    """A sweeper that chooses the values of each run by the results of the runs before it."""

    n_trials: PositiveInt = 20
    n_jobs: PositiveInt = 1
    seed: Seed | None = 0
