"""Tags, inputs and combination of an ensemble's run."""

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
import yaml

from bloodcell.comparison.combination import Combination
from bloodcell.comparison.members import Joint
from bloodcell.comparison.run_tags import ENSEMBLE
from bloodcell.config.parameters import as_plain, parameters_of
from bloodcell.config.schemas import EnsembleConfig
from bloodcell.evaluation.evidence import BELOW_BASELINE, DEBUG, SINGLE, ordered
from bloodcell.evaluation.outcome import metric_name
from bloodcell.experiment.environment import environment_tags
from bloodcell.experiment.images import Prepared
from bloodcell.files import atomic_write
from bloodcell.tracking.members import digest_of, groups_of
from bloodcell.tracking.run import JOB_TAG, TrackedRun
from bloodcell.tracking.runs import StoredRun

OF_MEMBERS = (SINGLE, BELOW_BASELINE)
"""Limits of members that their ensemble need not have."""


def tags_of(config: EnsembleConfig, runs: Sequence[StoredRun], prepared: Prepared) -> dict[str, str]:
    """Return the tags of an ensemble of these runs."""
    return environment_tags() | {
        JOB_TAG: ENSEMBLE,
        "method": config.method,
        "members": ", ".join(each.id for each in runs),
        "data_digest": digest_of(runs, prepared),
        "groups": groups_of(runs),
        "group_name": prepared.leakage.group_name,
        "leaky": prepared.leakage.leaky,
        "seed": str(config.seed),
        "debug": str(any(DEBUG in each.tags.evidence for each in runs)).lower(),
    }


def evidence_of(runs: Sequence[StoredRun]) -> tuple[str, ...]:
    """Return the names of the limits that an ensemble has because its members have them."""
    return ordered(name for each in runs for name in each.tags.evidence if name not in OF_MEMBERS)


def keep_combination(tracked: TrackedRun, config: EnsembleConfig, combination: Combination, joint: Joint) -> None:
    """Write the configuration and the combination."""
    tracked.artifacts.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(as_plain(config), sort_keys=False, allow_unicode=True)
    (tracked.artifacts / "config.yaml").write_text(text, encoding="utf-8")
    parameters = {name: np.asarray(value).tolist() for name, value in combination.parameters.items()}
    values = {"method": config.method, "members": [each.run_id for each in joint.members]} | parameters
    with atomic_write(tracked.artifacts / "combination.json") as partial:
        partial.write_text(json.dumps(values, indent=2), encoding="utf-8")


def keep_inputs(
    tracked: TrackedRun, config: EnsembleConfig, runs: Sequence[StoredRun], prepared: Prepared, table: pd.DataFrame
) -> None:
    """Log parameters, images, members with their weights, and the cost of their trainings."""
    manifest = prepared.images.manifest
    tracked.log_parameters(parameters_of(config))
    tracked.log_dataset(manifest, name="members", source=str(prepared.images.root), digest=digest_of(runs, prepared))
    tracked.log_table(table, "members.json")
    weights = zip(table["run_id"][:-1], table["weight"][:-1], strict=True)
    tracked.log_metrics({metric_name(run): weight for run, weight in weights}, prefix="weight")
    seconds = [each.metrics["cost/train_seconds"] for each in runs if "cost/train_seconds" in each.metrics]
    if len(seconds) == len(runs):
        tracked.log_metrics({"train_seconds": sum(seconds)}, prefix="cost")
