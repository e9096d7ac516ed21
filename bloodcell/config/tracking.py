"""Settings of the MLflow store."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from bloodcell.config.value_types import STRICT, NonEmpty


@dataclass(frozen=True, config=STRICT)
class TrackingConfig:
    """Where MLflow keeps the runs."""

    store: Literal["local", "server"]
    dir: NonEmpty
    uri: NonEmpty | None
    experiment_name: NonEmpty
    run_name: NonEmpty | None
    parent_run: NonEmpty | None
    run_id: NonEmpty | None
    sweep_job: Annotated[int, Field(ge=0)] | None
