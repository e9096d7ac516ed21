"""Settings of the MLflow store."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from bloodcell.config.value_types import STRICT, NonEmpty


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrackingConfig:
    """Where MLflow keeps the runs."""

    store: Literal["local", "server"] = "local"
    dir: NonEmpty = "mlruns"
    uri: NonEmpty | None = None
    experiment_name: NonEmpty = "bloodcell"
    run_name: NonEmpty | None = None
    parent_run: NonEmpty | None = None
    sweep_job: Annotated[int, Field(ge=0)] | None = None
    wait_seconds: Annotated[float, Field(ge=0)] = 60.0
