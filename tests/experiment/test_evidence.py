"""The limits that show in a training's configuration."""

import pytest

from bloodcell.config.keywords import train_config
from bloodcell.experiment.evidence import evidence_of

SMEARS, FOLDER = {"source": "smears"}, {"source": "folder", "train_dir": "cells"}


@pytest.mark.parametrize(
    ("settings", "fold", "limits"),
    [
        ({"data": SMEARS}, None, {"chosen on these images", "single training", "only rendered cells"}),
        ({"data": FOLDER, "head": "probe"}, None, {"single training"}),
        ({"data": FOLDER, "head": "probe", "split": "group_kfold"}, 2, {"one fold", "single training"}),
        ({"data": FOLDER, "head": "probe", "split": {"name": "group_kfold", "repeats": 2}}, None, set()),
        ({"data": FOLDER, "head": "probe", "debug": {"steps_per_epoch": 2}}, None, {"debug", "single training"}),
    ],
)
def test_the_limits_of_a_configuration(settings, fold, limits):
    assert set(evidence_of(train_config(**settings), fold=fold)) == limits
