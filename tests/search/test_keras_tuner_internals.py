"""The internals of keras-tuner that `bloodcell.search.tuner` overrides or sets: of version 1.4.8."""

from importlib.metadata import version

import keras_tuner
import pytest
from keras_tuner.engine.base_tuner import BaseTuner

INTERNALS = {
    BaseTuner: ["_is_worker", "_get_tuner_fname", "_try_run_and_update_trial", "_run_and_update_trial"],
    keras_tuner.Oracle: ["_get_oracle_fname", "_save_trial", "_get_trial_dir"],
    keras_tuner.oracles.GridSearchOracle: ["_compare"],
}


def test_the_internals_are_those_of_the_version_that_they_were_read_in():
    """With another version: read its source, then change the number here."""
    assert version("keras-tuner") == "1.4.8"


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in INTERNALS.items() for name in names])
def test_a_method_that_is_overridden_or_called_exists(kind, name):
    assert callable(getattr(kind, name))


def test_the_attributes_that_are_set_after_a_crash_exist():
    grid = keras_tuner.oracles.GridSearchOracle(objective=keras_tuner.Objective("val/accuracy", "max"))
    assert all(hasattr(grid, name) for name in ("_retry_queue", "_ordered_ids", "_populate_next"))
