from typing import Any

import pytest

from bloodcell.config.keywords import train_config
from bloodcell.experiment import identity
from bloodcell.experiment.identity import experiment_digest

BCCD = {"source": "bccd", "root": "cells"}


def digest(*, data_digest: str = "d", weights_digest: str = "w", **settings: Any) -> str:
    config = train_config(**{"data": BCCD} | settings)
    return experiment_digest(config, data_digest=data_digest, weights_digest=weights_digest)


def test_a_digest_is_the_same_for_the_same_experiment():
    assert digest() == digest()
    assert len(digest()) == 16


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 3},
        {"seed": 1},
        {"backbone": "xception"},
        {"log_model": False},
        {"split": {"name": "random"}},
        {"data_digest": "of other images"},
        {"weights_digest": "of other weights"},
    ],
    ids=str,
)
def test_it_changes_with_what_a_result_depends_on(settings):
    assert digest(**settings) != digest()


def test_it_changes_with_the_version_of_a_package(monkeypatch):
    before = digest()
    monkeypatch.setattr(identity, "version", lambda name: "9" if name == "keras" else "1")
    one = digest()
    monkeypatch.setattr(identity, "version", lambda name: "10" if name == "keras" else "1")
    assert len({before, one, digest()}) == 3


@pytest.mark.parametrize(
    "settings",
    [
        {"data": {"source": "bccd", "root": "elsewhere"}},
        {"baselines": ()},
        {"ensemble": "soft"},
        {"features": {"name": "stored", "dir": "elsewhere"}},
        {"tracking": {"run_name": "mine"}},
    ],
    ids=str,
)
def test_it_does_not_change_with_what_a_result_does_not_depend_on(settings):
    assert digest(**settings) == digest()
